# SPDX-License-Identifier: Apache-2.0
"""The descriptions of an x86 processor: ``cpu_common`` and ``cpu``. QEMU: `hw/core/cpu-common.c`, `target/i386/machine.c`.

1. The registers that every guest has are fields, in the order in which they came to be; the rest is subsections.
2. Names with an index in them (``env.cr[0]``) are one register each, named so by QEMU.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from migmatrix.emulator.devices.state import any_set
from migmatrix.emulator.devices.system.x86_msrs import SUBSECTIONS
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import boolean, int32, struct, uint8, uint16, uint32, uint64, with_tmp

__all__ = ["VMSTATE_CPU", "VMSTATE_CPU_COMMON"]

_POLL_EXIT: Final = 0x01  # an interrupt request bit that no longer exists
_FPU_REGISTERS: Final = 8
_XMM: Final = 16
_MTRRS: Final = 8
_MCE_BANKS: Final = 10
_NO_EXCEPTION: Final = -1
_CR0_PE: Final = 1
_DPL_SHIFT, _DPL_MASK = 13, 3
_HFLAGS_CPL: Final = 3
_CS, _SS = 1, 2


def _exception_index_needed(cpu: Any) -> bool:
    return bool(cpu.exception_index != _NO_EXCEPTION)


def _common_before_load(cpu: Any) -> None:
    cpu.exception_index, cpu.crash_occurred = _NO_EXCEPTION, False


def _common_after_load(cpu: Any, _version: int) -> None:
    cpu.interrupt_request &= ~_POLL_EXIT


VMSTATE_CPU_COMMON = VMState(
    "cpu_common",
    (uint32("halted"), uint32("interrupt_request")),
    version_id=1,
    minimum_version_id=1,
    pre_load=_common_before_load,
    post_load=_common_after_load,
    subsections=(
        VMState(
            "cpu_common/exception_index", (int32("exception_index"),), 1, 1, needed=_exception_index_needed
        ),
        VMState(
            "cpu_common/crash_occurred", (boolean("crash_occurred"),), 1, 1, needed=any_set("crash_occurred")
        ),
    ),
)

VMSTATE_FPREG_TMP = VMState(
    "fpreg_tmp", (uint64("tmp_mant", attr="mantissa"), uint16("tmp_exp", attr="exponent"))
)
VMSTATE_FPREG = VMState("fpreg", (with_tmp(VMSTATE_FPREG_TMP, lambda register: register),))
VMSTATE_SEGMENT = VMState(
    "segment", (uint32("selector"), uint64("base"), uint32("limit"), uint32("flags")), 1, 1
)
VMSTATE_XMM = VMState("xmm_reg", tuple(uint64(f"_q_ZMMReg[{n}]", attr=f"q{n}") for n in (0, 1)), 1, 1)
VMSTATE_YMM_HIGH = VMState("ymmh_reg", tuple(uint64(f"_q_ZMMReg[{n}]", attr=f"q{n}") for n in (2, 3)), 1, 1)
VMSTATE_MTRR = VMState("mtrr_var", (uint64("base"), uint64("mask")), 1, 1)


def _real_mode_privilege(env: Any) -> None:
    """In real mode segments have privilege 0; old KVM said otherwise."""
    if not env.cr0 & _CR0_PE and env.segs[_CS].flags >> _DPL_SHIFT & _DPL_MASK:
        for segment in env.segs:
            segment.flags &= ~(_DPL_MASK << _DPL_SHIFT)


def _before_save(cpu: Any) -> None:
    env = cpu.env
    env.fpregs_format_vmstate = 0
    _real_mode_privilege(env)
    if env.exception_pending and not env.hflags & 1 << 21:  # not in a nested guest
        env.exception_pending, env.exception_injected = 0, 1


def _after_load(cpu: Any, _version: int) -> None:
    env = cpu.env
    if env.tsc_khz and cpu.user_tsc_khz and env.tsc_khz != cpu.user_tsc_khz:
        raise HookError(
            "Mismatch between user-specified TSC frequency and migrated TSC frequency", errno.EINVAL
        )
    if env.fpregs_format_vmstate:
        raise HookError("Unsupported old non-softfloat CPU state", errno.EINVAL)
    _real_mode_privilege(env)
    env.hflags = env.hflags & ~_HFLAGS_CPL | env.segs[_SS].flags >> _DPL_SHIFT & _HFLAGS_CPL
    if env.exception_nr != _NO_EXCEPTION and not env.exception_pending:
        env.exception_injected = 1
    cpu.check_features()


VMSTATE_CPU = VMState(
    "cpu",
    (
        uint64("env.regs", count=16),
        uint64("env.eip"),
        uint64("env.eflags"),
        uint32("env.hflags"),
        uint16("env.fpuc"),
        uint16("env.fpus_vmstate"),
        uint16("env.fptag_vmstate"),
        uint16("env.fpregs_format_vmstate"),
        struct("env.fpregs", VMSTATE_FPREG, count=_FPU_REGISTERS),
        struct("env.segs", VMSTATE_SEGMENT, count=6),
        struct("env.ldt", VMSTATE_SEGMENT),
        struct("env.tr", VMSTATE_SEGMENT),
        struct("env.gdt", VMSTATE_SEGMENT),
        struct("env.idt", VMSTATE_SEGMENT),
        uint32("env.sysenter_cs"),
        uint64("env.sysenter_esp"),
        uint64("env.sysenter_eip"),
        uint64("env.cr[0]", attr="env.cr0"),
        uint64("env.cr[2]", attr="env.cr2"),
        uint64("env.cr[3]", attr="env.cr3"),
        uint64("env.cr[4]", attr="env.cr4"),
        uint64("env.dr", count=8),
        int32("env.a20_mask"),
        uint32("env.mxcsr"),
        struct("env.xmm_regs", VMSTATE_XMM, count=_XMM),
        uint64("env.efer"),
        uint64("env.star"),
        uint64("env.lstar"),
        uint64("env.cstar"),
        uint64("env.fmask"),
        uint64("env.kernelgsbase"),
        uint32("env.smbase"),
        uint64("env.pat"),
        uint32("env.hflags2"),
        uint64("env.vm_hsave"),
        uint64("env.vm_vmcb"),
        uint64("env.tsc_offset"),
        uint64("env.intercept"),
        uint16("env.intercept_cr_read"),
        uint16("env.intercept_cr_write"),
        uint16("env.intercept_dr_read"),
        uint16("env.intercept_dr_write"),
        uint32("env.intercept_exceptions"),
        uint8("env.v_tpr"),
        uint64("env.mtrr_fixed", count=11),
        uint64("env.mtrr_deftype"),
        struct("env.mtrr_var", VMSTATE_MTRR, count=_MTRRS, version=8),
        int32("env.interrupt_injected"),
        uint32("env.mp_state"),
        uint64("env.tsc"),
        int32("env.exception_nr"),
        uint8("env.soft_interrupt"),
        uint8("env.nmi_injected"),
        uint8("env.nmi_pending"),
        uint8("env.has_error_code"),
        uint32("env.sipi_vector"),
        uint64("env.mcg_cap"),
        uint64("env.mcg_status"),
        uint64("env.mcg_ctl"),
        uint64("env.mce_banks", count=_MCE_BANKS * 4),
        uint64("env.tsc_aux"),
        uint64("env.system_time_msr"),
        uint64("env.wall_clock_msr"),
        uint64("env.xcr0", version=12),
        uint64("env.xstate_bv", version=12),
        struct("env.xmm_regs", VMSTATE_YMM_HIGH, count=_XMM, version=12),
    ),
    version_id=12,
    minimum_version_id=11,
    pre_save=_before_save,
    post_load=_after_load,
    subsections=SUBSECTIONS,
)

# SPDX-License-Identifier: Apache-2.0
"""Subsections of an x86 processor: registers that are only sent when a guest set them.

1. The order is QEMU's, so that a stream with several is the same; life-times were seen in the binaries of 5.2.0, 7.2.22,
   10.0.2, 10.0.13 and 11.1.3, the releases between are those in which QEMU's history has the change.
2. A destination that does not know one refuses the stream: a guest that uses a newer feature cannot go back.
3. KVM's nested state, the vCPU's part of Xen's, and what 11.x added for Intel APX, CET and pending error codes are
   not here: TCG never sends them.

Source: QEMU `target/i386/machine.c`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.devices.state import any_set
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int64, struct, uint8, uint16, uint32, uint64

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.device.description import Field

__all__ = ["SUBSECTIONS"]

_MISC_ENABLE_DEFAULT: Final = 1
_POLL_CONTROL_DEFAULT: Final = 1
_HFLAGS_GUEST: Final = 1 << 21
_HFLAGS2_NPT: Final = 1 << 5

VMSTATE_BOUND = VMState("bnd_regs", (uint64("lb"), uint64("ub")), 1, 1)
VMSTATE_ZMM_HIGH = VMState(
    "zmmh_reg", tuple(uint64(f"_q_ZMMReg[{n}]", attr=f"q{n}") for n in range(4, 8)), 1, 1
)
VMSTATE_ZMM = VMState("hi16_zmm_reg", tuple(uint64(f"_q_ZMMReg[{n}]", attr=f"q{n}") for n in range(8)), 1, 1)


def _env(names: str) -> tuple[Field, ...]:
    return tuple(uint64(f"env.{name}") for name in names.split())


def _sub(
    name: str, fields: tuple[Field, ...], needed: Callable[[Any], bool] | None = None, since: str = ""
) -> VMState:
    test = needed or any_set(*(field.attr for field in fields))
    return VMState(f"cpu/{name}", fields, 1, 1, needed=test, since=since)


def _exception_info(cpu: Any) -> bool:
    return bool(cpu.env.exception_pending and cpu.env.hflags & _HFLAGS_GUEST)


def _poll_control(cpu: Any) -> bool:
    return bool(cpu.env.poll_control_msr != _POLL_CONTROL_DEFAULT)


def _misc_enable(cpu: Any) -> bool:
    return bool(cpu.env.msr_ia32_misc_enable != _MISC_ENABLE_DEFAULT)


def _nested_paging(cpu: Any) -> bool:
    return bool(cpu.env.hflags2 & _HFLAGS2_NPT)


def _feature(name: str) -> Callable[[Any], bool]:
    return lambda cpu: name in cpu.features


def _high_zmm(cpu: Any) -> bool:
    env = cpu.env
    low = any(getattr(register, f"q{n}") for register in env.xmm_regs[:16] for n in range(4, 8))
    return low or any_set("env.opmask_regs")(cpu) or any(any(vars(r).values()) for r in env.xmm_regs[16:])


SUBSECTIONS: Final[tuple[VMState, ...]] = (
    _sub(
        "exception_info",
        (
            uint8("env.exception_pending"),
            uint8("env.exception_injected"),
            uint8("env.exception_has_payload"),
            uint64("env.exception_payload"),
        ),
        _exception_info,
    ),
    _sub("async_pf_msr", _env("async_pf_en_msr")),
    _sub("async_pf_int_msr", _env("async_pf_int_msr")),
    _sub("async_pv_eoi_msr", _env("pv_eoi_en_msr")),
    _sub("steal_time_msr", _env("steal_time_msr")),
    _sub("poll_control_msr", _env("poll_control_msr"), _poll_control),
    _sub("fpop_ip_dp", (uint16("env.fpop"), *_env("fpip fpdp"))),
    _sub("msr_tsc_adjust", _env("tsc_adjust")),
    _sub("msr_tscdeadline", _env("tsc_deadline")),
    _sub("msr_ia32_misc_enable", _env("msr_ia32_misc_enable"), _misc_enable),
    _sub("msr_ia32_feature_control", _env("msr_ia32_feature_control")),
    _sub(
        "msr_architectural_pmu",
        (
            *_env("msr_fixed_ctr_ctrl msr_global_ctrl msr_global_status msr_global_ovf_ctrl"),
            uint64("env.msr_fixed_counters", count=3),
            uint64("env.msr_gp_counters", count=18),
            uint64("env.msr_gp_evtsel", count=18),
        ),
    ),
    _sub(
        "mpx",
        (struct("env.bnd_regs", VMSTATE_BOUND, count=4), *_env("bndcs_regs.cfgu bndcs_regs.sts msr_bndcfgs")),
    ),
    _sub("msr_hyperv_hypercall", _env("msr_hv_guest_os_id msr_hv_hypercall")),
    _sub("msr_hyperv_vapic", _env("msr_hv_vapic")),
    _sub("msr_hyperv_time", _env("msr_hv_tsc")),
    _sub("msr_hyperv_crash", (uint64("env.msr_hv_crash_params", count=5),)),
    _sub("msr_hyperv_runtime", _env("msr_hv_runtime")),
    _sub(
        "msr_hyperv_synic",
        (
            *_env("msr_hv_synic_control msr_hv_synic_evt_page msr_hv_synic_msg_page"),
            uint64("env.msr_hv_synic_sint", count=16),
        ),
    ),
    _sub(
        "msr_hyperv_stimer",
        (uint64("env.msr_hv_stimer_config", count=4), uint64("env.msr_hv_stimer_count", count=4)),
    ),
    _sub(
        "msr_hyperv_reenlightenment",
        _env("msr_hv_reenlightenment_control msr_hv_tsc_emulation_control msr_hv_tsc_emulation_status"),
    ),
    _sub(
        "avx512",
        (
            uint64("env.opmask_regs", count=8),
            struct("env.xmm_regs", VMSTATE_ZMM_HIGH, count=16),
            struct("env.xmm_regs", VMSTATE_ZMM, count=16, start=16),
        ),
        _high_zmm,
    ),
    _sub("xss", _env("xss")),
    _sub("umwait", (uint32("env.umwait"),)),
    _sub("tsc_khz", (int64("env.tsc_khz"),), lambda cpu: bool(cpu.save_tsc_khz and cpu.env.tsc_khz)),
    _sub("msr_smi_count", _env("msr_smi_count")),
    _sub("pkru", (uint32("env.pkru"),)),
    _sub("pkrs", (uint32("env.pkrs"),), since="6.0"),
    _sub("spec_ctrl", _env("spec_ctrl")),
    _sub("amd_tsc_scale_msr", _env("amd_tsc_scale_msr"), _feature("tsc-scale"), since="6.2"),
    _sub("mcg_ext_ctl", _env("mcg_ext_ctl")),
    _sub(
        "intel_pt",
        (
            *_env(
                "msr_rtit_ctrl msr_rtit_status msr_rtit_output_base msr_rtit_output_mask msr_rtit_cr3_match"
            ),
            uint64("env.msr_rtit_addrs", count=8),
        ),
    ),
    _sub("virt_ssbd", _env("virt_ssbd")),
    _sub("svn_npt", (uint64("env.nested_cr3"), uint32("env.nested_pg_mode")), _nested_paging),
    _sub("svm_guest", (uint32("env.int_ctl"),), since="6.2"),
    _sub("msr_tsx_ctrl", (uint32("env.tsx_ctrl"),), _feature("tsx-ctrl")),
    _sub("intel_sgx", (uint64("env.msr_ia32_sgxlepubkeyhash", count=4),), _feature("sgxlc"), since="6.2"),
    _sub("pdptrs", (uint64("env.pdptrs", count=4),), lambda cpu: bool(cpu.env.pdptrs_valid), since="6.2"),
    _sub("msr_xfd", _env("msr_xfd msr_xfd_err"), since="7.0"),
    _sub("msr_hwcr", _env("msr_hwcr"), since="9.2"),
    _sub(
        "fred",
        _env(
            "fred_rsp0 fred_rsp1 fred_rsp2 fred_rsp3 fred_stklvls fred_ssp1 fred_ssp2 fred_ssp3 fred_config"
        ),
        _feature("fred"),
        since="9.1",
    ),
    _sub("triple_fault", (uint8("env.triple_fault_pending"),), since="7.2"),
)

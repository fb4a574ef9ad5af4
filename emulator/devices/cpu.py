# SPDX-License-Identifier: Apache-2.0
"""x86 processors: models, feature flags, and the state after reset.

1. A model is a class; its features are the defaults of its flags, and ``-cpu MODEL,flag=off`` sets the flags.
2. TCG, which the emulator stands for, loads the state of any other model: QEMU never compares models (seen on 5.2
   to 11.1). Only ``host`` refuses: like KVM, it does not set a register bit that its host lacks.
3. Only flags that change a stream, or that the migration document speaks of, are modelled.

Reset values: paused guests of QEMU 5.2.0 to 11.1.3. Flags of models: QEMU `target/i386/cpu.c`.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.devices.state import Part, Timeline, clear
from migmatrix.emulator.devices.system.ioapic import Apic
from migmatrix.emulator.devices.system.x86_state import VMSTATE_CPU, VMSTATE_CPU_COMMON
from migmatrix.emulator.properties import BOOL, INT64, STRING, UINT32, Property
from migmatrix.vmstate.device.description import HookError

__all__ = ["FEATURES", "X86Cpu"]

FEATURES: Final = (
    "apic", "x2apic", "mce", "mca", "pcid", "spec-ctrl", "stibp", "ssbd", "taa-no", "tsx-ctrl", "sgxlc", "tsc-scale",
    "fred", "pku", "pks", "xsaves", "avx512f", "hypervisor",
)  # fmt: skip
_NO_NUMBER: Final = 0xFFFFFFFF

_EXCEPTION_NONE: Final = -1
_ADDR_MASK_ALL: Final = -1
_CODE, _DATA, _LDT, _TASK = 0x9B00, 0x9300, 0x8200, 0x8B00  # segment flags
_LIMIT: Final = 0xFFFF
_FIRST_INSTRUCTION: Final = 0xFFF0
_CR4_PCIDE: Final = 1 << 17
_SPEC_CTRL: Final = {"spec-ctrl": 1 << 0, "stibp": 1 << 1, "ssbd": 1 << 2}
_MCG_CAP: Final = 0x100010A  # ten banks, recovery of software errors
_ALL_ONES: Final = 2**64 - 1
_HFLAGS2: Final = Timeline(0x001, ("6.2", 0x101))  # global interrupts; from 6.2 on also the virtual ones

_FIXED: Final[dict[str, int]] = {
    "eip": _FIRST_INSTRUCTION, "eflags": 0x2, "hflags": 0x40, "fpuc": 0x37F, "cr0": 0x60000010,
    "a20_mask": _ADDR_MASK_ALL, "mxcsr": 0x1F80, "smbase": 0x30000, "pat": 0x0007040600070406, "xcr0": 1,
    "interrupt_injected": -1, "exception_nr": _EXCEPTION_NONE, "msr_ia32_misc_enable": 1, "pdptrs_valid": 0,
    "poll_control_msr": 1,
}  # fmt: skip


class Cpu(StatefulDevice):
    """Abstract parent of all processors."""

    type_name = "cpu"
    abstract = True


class X86Cpu(Cpu):
    """A processor; the index is the instance id of its two sections."""

    type_name = "x86_64-cpu"
    abstract = True
    properties = (
        *(Property(name, BOOL, False) for name in FEATURES),
        Property("tsc-frequency", INT64, 0),
        Property("apic-id", UINT32, _NO_NUMBER),
    )
    signature = 0x663  # family, model, stepping: what EDX has after reset
    features: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        """A model's flags are the defaults of its properties."""
        super().__init_subclass__()
        if "features" in cls.__dict__:
            flags = (Property(name, BOOL, name in cls.features) for name in FEATURES)
            cls.properties = (*cls.__dict__.get("properties", ()), *flags)

    def init(self) -> None:
        """Number the processor: they are counted as they are made."""
        super().init()
        self.index = sum(isinstance(device, X86Cpu) for device in self.machine.devices)
        self.common = Part()

    def realize(self) -> None:
        """Register ``cpu_common``, ``cpu`` and, if there is one, the local APIC."""
        self.register(VMSTATE_CPU_COMMON, self.common, instance_id=self.index)
        self.register(VMSTATE_CPU, self.state, instance_id=self.index)
        if self.props["apic"]:
            apic = Apic(self.machine)
            apic.props["id"] = self.index if self.props["apic-id"] == _NO_NUMBER else self.props["apic-id"]
            self.add_child(apic, "lapic").realize()
        super().realize()

    def reset(self) -> None:
        """The state before the first instruction, at 16 bytes below 4 GiB."""
        super().reset()
        clear(VMSTATE_CPU_COMMON, self.common)
        self.common.exception_index = _EXCEPTION_NONE
        self.common.halted = int(self.index > 0)
        clear(VMSTATE_CPU, self.state)
        state = self.state
        state.features = frozenset(name for name in FEATURES if self.props.get(name))
        state.user_tsc_khz = self.props["tsc-frequency"] // 1000
        state.save_tsc_khz = True
        state.check_features = self.check_features
        _reset_registers(state.env, self.signature)
        state.env.hflags2 = _HFLAGS2.at(self.machine.release.name)
        # KVM's default of this register is 1; TCG has none, and 0 is sent as a subsection (seen on all releases)
        state.env.poll_control_msr = 0
        if {"mce", "mca"} <= state.features:
            _reset_machine_checks(state.env)

    def check_features(self) -> None:
        """Refuse state that this processor cannot hold; TCG holds any."""


def _reset_registers(env: Any, signature: int) -> None:
    vars(env).update(_FIXED)
    env.exception_pending = env.exception_injected = 0
    env.regs[2] = signature  # EDX
    env.dr[6:8] = [0xFFFF0FF0, 0x400]
    for segment in env.segs:
        segment.limit, segment.flags = _LIMIT, _DATA
    code = env.segs[1]
    code.selector, code.base, code.flags = 0xF000, 0xFFFF0000, _CODE
    for table, flags in ((env.ldt, _LDT), (env.tr, _TASK), (env.gdt, 0), (env.idt, 0)):
        table.limit, table.flags = _LIMIT, flags


def _reset_machine_checks(env: Any) -> None:
    env.mcg_cap, env.mcg_ctl = _MCG_CAP, _ALL_ONES
    env.mce_banks = [0 if n % 4 else _ALL_ONES for n in range(len(env.mce_banks))]


class Cpu486(X86Cpu):
    """The default of ``isapc``: no APIC."""

    type_name = "486-x86_64-cpu"
    signature = 0x480
    features = ()


class Qemu32Cpu(X86Cpu):
    """The default of 32-bit PCs."""

    type_name = "qemu32-x86_64-cpu"
    features = ("apic", "hypervisor", "mca", "mce")


class Qemu64Cpu(X86Cpu):
    """The default of PCs."""

    type_name = "qemu64-x86_64-cpu"
    signature = 0x663
    features = ("apic", "hypervisor", "mca", "mce")


class MaxCpu(X86Cpu):
    """Everything that TCG has."""

    type_name = "max-x86_64-cpu"
    features = ("apic", "x2apic", "hypervisor", "mca", "mce", "pku", "pks")


class HostCpu(X86Cpu):
    """The host's processor. `x-host-features` says which flags the host has, joined by ``+``; flags switch off.

    Its guest is one whose kernel uses every flag that it was given, as kernels do: a paused guest has set the
    registers already. So a destination with fewer flags refuses it, one with more does not.
    """

    type_name = "host-x86_64-cpu"
    features = FEATURES
    properties = (Property("x-host-features", STRING, "+".join(FEATURES)),)

    def reset(self) -> None:
        """Set the registers of a kernel that uses every feature of the model."""
        super().reset()
        given = self._given()
        env = self.state.env
        env.cr4 = _CR4_PCIDE if "pcid" in given else 0
        env.spec_ctrl = sum(bit for name, bit in _SPEC_CTRL.items() if name in given)

    def check_features(self) -> None:
        """HookError when the guest uses what this host or the command line does not have."""
        given, env = self._given(), self.state.env
        if env.cr4 & _CR4_PCIDE and "pcid" not in given:
            raise HookError("guest uses pcid, which this processor has not")
        for name, bit in _SPEC_CTRL.items():
            if env.spec_ctrl & bit and name not in given:
                raise HookError(f"guest uses {name}, which this processor has not")

    def get(self, name: str) -> Any:
        """A property; a flag that the host has not is off, as QEMU expands this model."""
        return name in self._given() if name in FEATURES else super().get(name)

    def _given(self) -> frozenset[str]:
        host = self.props["x-host-features"].split("+")
        return frozenset(name for name in host if self.props.get(name))

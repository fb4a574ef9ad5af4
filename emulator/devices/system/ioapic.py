# SPDX-License-Identifier: Apache-2.0
"""Interrupt controllers of a PC with an APIC. QEMU: `hw/intc/apic_common.c`, `hw/intc/ioapic_common.c`.

The local APIC shows migration priority: from 11.0 on it is sent before everything else, since other devices ask it
when they are loaded (seen: not in 10.0.13, in 11.1.3).
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.devices.state import Timeline
from migmatrix.emulator.properties import BOOL, UINT8, UINT32, Property
from migmatrix.vmstate.device.description import MigrationPriority, VMState
from migmatrix.vmstate.device.fields import int32, int64, uint8, uint32, uint64, unused

__all__ = ["VMSTATE_APIC", "VMSTATE_IOAPIC", "Apic", "IoApic"]

_BASE: Final = 0xFEE00000
_ENABLED, _BOOT_PROCESSOR = 0x800, 0x100
_MASKED: Final = 1 << 16
_LVT_ENTRIES: Final = 6
_FLAT: Final = 0xF
_SPURIOUS: Final = 0xFF
_PINS: Final = 24


def _waits(state: Any) -> bool:
    return bool(state.wait_for_sipi)


def _before_load(state: Any) -> None:
    state.wait_for_sipi = 0  # what a stream without the subsection means


_REGISTERS: Final = (
    uint32("apicbase"),
    uint8("id"),
    uint8("arb_id"),
    uint8("tpr"),
    uint32("spurious_vec"),
    uint8("log_dest"),
    uint8("dest_mode"),
    uint32("isr", count=8),
    uint32("tmr", count=8),
    uint32("irr", count=8),
    uint32("lvt", count=_LVT_ENTRIES),
    uint32("esr"),
    uint32("icr", count=2),
    uint32("divide_conf"),
    int32("count_shift"),
    uint32("initial_count"),
    int64("initial_count_load_time"),
    int64("next_time"),
    int64("timer_expiry"),
)


def _apic(priority: MigrationPriority) -> VMState:
    return VMState(
        "apic",
        _REGISTERS,
        version_id=3,
        minimum_version_id=3,
        pre_load=_before_load,
        priority=priority,
        subsections=(
            VMState("apic_sipi", (int32("sipi_vector"), int32("wait_for_sipi")), 1, 1, needed=_waits),
        ),
    )


VMSTATE_APIC = _apic(MigrationPriority.DEFAULT)
_DESCRIPTION: Final = Timeline(VMSTATE_APIC, ("11.0", _apic(MigrationPriority.APIC)))


class Apic(StatefulDevice):
    """A local APIC; its number is its instance id."""

    type_name = "apic"
    user_creatable = False
    properties = (
        Property("id", UINT32, 0xFFFFFFFF),
        Property("version", UINT8, 0x14),
        Property("legacy-instance-id", BOOL, False),
    )

    def describe(self) -> VMState:
        """With priority from 11.0 on."""
        described: VMState = _DESCRIPTION.at(self.machine.release.name)
        return described

    def realize(self) -> None:
        """Register under the number of the APIC, unless the machine type is from before that.

        The first one makes the device that helps guests with their task priority, whose section comes before its own.
        """
        if not any(device.type_name == "kvmvapic" for device in self.machine.devices):
            self.machine.create("kvmvapic")
        self.instance_id = None if self.props["legacy-instance-id"] else self.props["id"]
        super().realize()

    def reset(self) -> None:
        """Enabled, everything masked; all but the first processor wait to be started."""
        super().reset()
        number = self.props["id"]
        state = self.state
        state.id = state.arb_id = number & 0xFF
        state.apicbase = _BASE | _ENABLED | (0 if number else _BOOT_PROCESSOR)
        state.spurious_vec = _SPURIOUS
        state.dest_mode = _FLAT
        state.lvt = [_MASKED] * _LVT_ENTRIES
        state.timer_expiry = -1
        state.wait_for_sipi = int(number != 0)


VMSTATE_IOAPIC = VMState(
    "ioapic",
    (
        uint8("id"),
        uint8("ioregsel"),
        unused(8, version=2),
        uint32("irr", version=2),
        uint64("ioredtbl", count=_PINS),
    ),
    version_id=3,
    minimum_version_id=1,
)


class IoApic(StatefulDevice):
    """The I/O APIC with 24 pins."""

    type_name = "ioapic"
    user_creatable = False
    properties = (Property("version", UINT8, 0x20),)
    vmstate = VMSTATE_IOAPIC

    def reset(self) -> None:
        """All pins masked."""
        super().reset()
        self.state.ioredtbl = [_MASKED] * _PINS

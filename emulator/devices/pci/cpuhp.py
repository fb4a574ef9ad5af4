# SPDX-License-Identifier: Apache-2.0
"""ACPI's CPU hotplug registers, as both power management controllers send them in a subsection.

A machine starts with the old registers, which have no state; a guest's ACPI tables switch to the new ones, and so
does a stream that has them. From 11.0 on there are only the new ones, which are always sent.

Source: `ich9_pm/cpuhp` and `piix4_pm/cpuhp` in streams of QEMU 11.1.3; not in those of paused guests of 5.2 to 10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.devices.state import Part, Timeline, clear, made
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import boolean, struct, uint8, uint32

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine

__all__ = ["cpu_hotplug", "start_cpu_hotplug"]

_NEW_REGISTERS: Final = Timeline(False, ("11.0", True))
_PROCESSOR: Final = VMState(
    "CPU hotplug device state",
    (boolean("is_inserting"), boolean("is_removing"), uint32("ost_event"), uint32("ost_status")),
    version_id=1,
    minimum_version_id=1,
)
_STATE: Final = VMState(
    "CPU hotplug state",
    (uint32("selector"), uint8("command"), struct("devs", _PROCESSOR, count="dev_count")),
    version_id=1,
    minimum_version_id=1,
)


def _switch(holder: Any) -> None:
    holder.cpuhp_state.new_registers = True


def cpu_hotplug(name: str) -> VMState:
    """The subsection `name`, of a state that has `cpuhp_state`."""
    return VMState(
        name,
        (struct("cpuhp_state", _STATE),),
        version_id=1,
        minimum_version_id=1,
        needed=lambda holder: holder.cpuhp_state.new_registers,
        pre_load=_switch,
    )


def start_cpu_hotplug(machine: Machine) -> Part:
    """The registers after power-on: one row for each processor that may be there."""
    state = Part(dev_count=machine.smp.maxcpus)
    clear(_STATE, state)
    state.devs = [made(_PROCESSOR) for _ in range(state.dev_count)]
    state.new_registers = _NEW_REGISTERS.at(machine.release.name)
    return state

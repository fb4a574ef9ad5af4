# SPDX-License-Identifier: Apache-2.0
"""The virtual machine's clocks as a section (``timer``). QEMU: `softmmu/cpu-timers.c`, `system/cpu-timers.c`.

The guest is stopped when it is saved, so the clock's offset is the virtual time itself, `machine.clock`.
"""

from __future__ import annotations

from typing import Any

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.devices.state import any_set
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int64, timer, unused

__all__ = ["VMSTATE_TIMERS", "Timers"]


def _icount_needed(state: Any) -> bool:
    return bool(state.icount)


def _save_clock(state: Any) -> None:
    state.cpu_clock_offset = state.clock.now()


def _load_clock(state: Any, _version: int) -> None:
    state.clock.set(state.cpu_clock_offset)


VMSTATE_TIMERS = VMState(
    "timer",
    (int64("cpu_ticks_offset"), unused(8), int64("cpu_clock_offset", version=2)),
    version_id=2,
    minimum_version_id=1,
    pre_save=_save_clock,
    post_load=_load_clock,
    subsections=(
        VMState(
            "timer/icount",
            (int64("qemu_icount_bias"), int64("qemu_icount")),
            1, 1, needed=_icount_needed,
            subsections=(
                VMState(
                    "timer/icount/warp_timer",
                    (int64("vm_clock_warp_start"), timer("icount_warp_timer")), 1, 1,
                    needed=any_set("vm_clock_warp_start"),
                ),
            ),
        ),
    ),
)  # fmt: skip


class Timers(StatefulDevice):
    """The section of `machine.clock`; every machine has it first."""

    type_name = "cpu-timers"
    user_creatable = False
    in_tree = False
    vmstate = VMSTATE_TIMERS

    def reset(self) -> None:
        """The clock goes on through a reset of the machine."""
        ticks = vars(self.state).get("cpu_ticks_offset", 0)
        super().reset()
        self.state.clock = self.machine.clock
        self.state.icount = False
        self.state.cpu_ticks_offset = ticks

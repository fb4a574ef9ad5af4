# SPDX-License-Identifier: Apache-2.0
"""The high precision event timer. QEMU: `hw/timer/hpet.c`; hooks around a save and a load.

`pre_save` puts the counter's value of this moment into the state; `post_load` makes the offset of the clock from
it, unless the subsection ``hpet/offset`` brought the offset itself. Up to 9.2 a destination takes over the number
of timers that a stream has; from 10.0 on the number must be its own, and is sent by another name.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.devices.state import any_set, made
from migmatrix.emulator.properties import BOOL, UINT8, UINT32, Property
from migmatrix.vmstate.device.description import Bump, VMState
from migmatrix.vmstate.device.fields import struct, timer, uint8, uint64, validate

__all__ = ["VMSTATE_HPET", "Hpet"]

_NS_PER_TICK: Final = 10
_ENABLED: Final = 0x01
_MIN_TIMERS, _MAX_TIMERS = 3, 32
_MUST_MATCH: Final = "10.0"
_TIMER_CONFIG: Final = 0x30  # periodic, 64 bits; the upper half is the lines that it can use
_NEVER: Final = 2**64 - 1


def _running(state: Any) -> bool:
    return bool(state.config & _ENABLED)


def _offset_needed(state: Any) -> bool:
    return _running(state) and bool(state.hpet_offset_saved)


def _before_save(state: Any) -> None:
    if _running(state):
        state.hpet_counter = (state.clock.now() + state.hpet_offset) // _NS_PER_TICK
    state.num_timers_save = state.num_timers


def _after_load(state: Any, _version: int) -> None:
    if not state.hpet_offset_saved:
        state.hpet_offset = state.hpet_counter * _NS_PER_TICK - state.clock.now()


def _possible(state: Any, _version: int) -> bool:
    return bool(_MIN_TIMERS <= state.num_timers <= _MAX_TIMERS)


def _equal(state: Any, _version: int) -> bool:
    return bool(state.num_timers == state.num_timers_save)


VMSTATE_TIMER = VMState(
    "hpet_timer",
    (
        uint8("tn"),
        uint64("config"),
        uint64("cmp"),
        uint64("fsb"),
        uint64("period"),
        uint8("wrap_flag"),
        timer("qemu_timer"),
    ),
    version_id=1,
    minimum_version_id=1,
)

VMSTATE_HPET = VMState(
    "hpet",
    (
        uint64("config"),
        uint64("isr"),
        uint64("hpet_counter"),
        uint8("num_timers", version=2, until=_MUST_MATCH),
        validate("num_timers in range", _possible, until=_MUST_MATCH),
        uint8("num_timers_save", version=2, since=_MUST_MATCH),
        validate("num_timers must match", _equal, since=_MUST_MATCH),
        struct("timer", VMSTATE_TIMER, count="num_timers", new=lambda: made(VMSTATE_TIMER)),
    ),
    version_id=2,
    minimum_version_id=1,
    bumps=(Bump("11.0", 2, 2),),  # seen: 10.0.13 reads version 1, 11.1.3 does not
    pre_save=_before_save,
    post_load=_after_load,
    subsections=(
        VMState("hpet/rtc_irq_level", (uint8("rtc_irq_level"),), 1, 1, needed=any_set("rtc_irq_level")),
        VMState("hpet/offset", (uint64("hpet_offset"),), 1, 1, needed=_offset_needed),
    ),
)


class Hpet(StatefulDevice):
    """The timer block; `timers` comparators."""

    type_name = "hpet"
    user_creatable = False
    properties = (
        Property("timers", UINT8, _MIN_TIMERS),
        Property("msi", BOOL, False),
        Property("hpet-intcap", UINT32, 0),
        Property("hpet-offset-saved", BOOL, True),
    )
    vmstate = VMSTATE_HPET

    def reset(self) -> None:
        """Stopped, nothing to fire."""
        super().reset()
        state = self.state
        state.clock = self.machine.clock
        state.hpet_offset_saved = self.props["hpet-offset-saved"]
        state.num_timers = min(max(self.props["timers"], _MIN_TIMERS), _MAX_TIMERS)
        state.timer = [made(VMSTATE_TIMER) for _ in range(_MAX_TIMERS)]  # as many as a stream may have
        for number, comparator in enumerate(state.timer[: state.num_timers]):
            comparator.tn = number
            comparator.config = _TIMER_CONFIG | self.props["hpet-intcap"] << 32
            comparator.cmp = _NEVER

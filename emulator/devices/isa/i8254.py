# SPDX-License-Identifier: Apache-2.0
"""The interval timer (i8254) and the PC speaker that its third channel drives.

QEMU: `hw/timer/i8254_common.c`, `hw/audio/pcspk.c`. `irq_disabled` and the last field belong to channel 0; the
stream has them outside the array for the sake of older streams.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, int64, struct, uint8, uint16, uint32

__all__ = ["VMSTATE_PIT", "Pit", "Speaker"]

_FREQUENCY: Final = 1_193_182  # Hz
_SQUARE_WAVE: Final = 3
_FULL_COUNT: Final = 0x10000

VMSTATE_CHANNEL = VMState(
    "pit channel",
    (
        int32("count"),
        uint16("latched_count"),
        uint8("count_latched"),
        uint8("status_latched"),
        uint8("status"),
        uint8("read_state"),
        uint8("write_state"),
        uint8("write_latch"),
        uint8("rw_mode"),
        uint8("mode"),
        uint8("bcd"),
        uint8("gate"),
        int64("count_load_time"),
        int64("next_transition_time"),
    ),
    version_id=2,
    minimum_version_id=2,
)


def _copy_out(state: Any) -> None:
    state.next_transition_time = state.channels[0].next_transition_time


def _copy_in(state: Any, _version: int) -> None:
    state.channels[0].next_transition_time = state.next_transition_time


VMSTATE_PIT = VMState(
    "i8254",
    (
        uint32("channels[0].irq_disabled", attr="irq_disabled", version=3),
        struct("channels", VMSTATE_CHANNEL, count=3, version=2),
        int64("channels[0].next_transition_time", attr="next_transition_time"),
    ),
    version_id=3,
    minimum_version_id=2,
    pre_save=_copy_out,
    post_load=_copy_in,
)


class Pit(IsaDevice):
    """The i8254: three channels, the first is the system timer."""

    type_name = "isa-pit"
    user_creatable = False
    vmstate = VMSTATE_PIT

    def reset(self) -> None:
        """Square waves of full length; the first edge of channel 0 comes after half a period."""
        super().reset()
        for number, channel in enumerate(self.state.channels):
            channel.count = _FULL_COUNT
            channel.mode = _SQUARE_WAVE
            channel.gate = int(number != 2)  # noqa: PLR2004 - the speaker's channel waits for its gate
        self.state.channels[0].next_transition_time = _FULL_COUNT // 2 * 1_000_000_000 // _FREQUENCY


VMSTATE_SPEAKER = VMState("pcspk", (uint8("data_on"), uint8("dummy_refresh_clock")), 1, 1)


class Speaker(IsaDevice):
    """The PC speaker's two bits of port 0x61."""

    type_name = "isa-pcspk"
    user_creatable = False
    vmstate = VMSTATE_SPEAKER

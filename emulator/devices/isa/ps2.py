# SPDX-License-Identifier: Apache-2.0
"""PS/2 keyboard and mouse behind the keyboard controller. QEMU: `hw/input/ps2.c`.

Until 7.0 they were no devices but parts of the controller: the base's state is the field ``common`` there and
``parent_obj`` since, with the same bytes.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import boolean, buffer, int32, struct, uint8

__all__ = ["VMSTATE_PS2_KEYBOARD", "VMSTATE_PS2_MOUSE", "Ps2Keyboard", "Ps2Mouse"]

_BUFFER: Final = 256
_SEND_QUEUE: Final = 16  # what a guest is shown of the queue
_REPLY_QUEUE: Final = 8  # room for replies to commands, ahead of the scan codes
_DEVICES: Final = "7.1"  # first release in which keyboard and mouse are devices
_REPLIES: Final = "7.0"  # first release with a queue of replies

VMSTATE_PS2_COMMON = VMState(
    "PS2 Common State",
    (
        int32("write_cmd"),
        int32("queue.rptr"),
        int32("queue.wptr"),
        int32("queue.count"),
        buffer("queue.data", _BUFFER),
    ),
    version_id=3,
    minimum_version_id=2,
)


def _ledstate_needed(state: Any) -> bool:
    return bool(state.ledstate)


def _high_bit_needed(state: Any) -> bool:
    return bool(state.need_high_bit)


def _replies_needed(state: Any) -> bool:
    return bool(state.common.queue.cwptr != -1)


def _before_load(state: Any) -> None:
    state.common.queue.cwptr = -1


def _after_load(state: Any, version: int) -> None:
    if version == 2:  # noqa: PLR2004 - the version without a scan code set
        state.scancode_set = 2
    _bound_queue(state.common.queue)


def _after_mouse_load(state: Any, _version: int) -> None:
    _bound_queue(state.common.queue)


def _bound_queue(queue: Any) -> None:
    """What a hostile stream could point outside of the buffer; honest values stay as they are."""
    replies = 0
    if queue.cwptr != -1:
        replies = min((queue.cwptr - queue.rptr) % _BUFFER, _REPLY_QUEUE)
    queue.count = min(max(queue.count, replies), replies + _SEND_QUEUE)
    queue.rptr %= _BUFFER
    queue.wptr = (queue.rptr + queue.count) % _BUFFER
    queue.cwptr = (queue.rptr + replies) % _BUFFER if replies else -1


VMSTATE_PS2_KEYBOARD = VMState(
    "ps2kbd",
    (
        struct("common", VMSTATE_PS2_COMMON, until=_DEVICES),
        struct("parent_obj", VMSTATE_PS2_COMMON, attr="common", since=_DEVICES),
        int32("scan_enabled"),
        int32("translate"),
        int32("scancode_set", version=3),
    ),
    version_id=3,
    minimum_version_id=2,
    pre_load=_before_load,
    post_load=_after_load,
    subsections=(
        VMState("ps2kbd/ledstate", (int32("ledstate"),), 3, 2, needed=_ledstate_needed),
        VMState("ps2kbd/need_high_bit", (boolean("need_high_bit"),), 1, 1, needed=_high_bit_needed),
        VMState(
            "ps2kbd/command_reply_queue",
            (
                int32("common.queue.cwptr", until=_DEVICES),
                int32("parent_obj.queue.cwptr", attr="common.queue.cwptr", since=_DEVICES),
            ),
            needed=_replies_needed,
            since=_REPLIES,
        ),
    ),
)

VMSTATE_PS2_MOUSE = VMState(
    "ps2mouse",
    (
        struct("common", VMSTATE_PS2_COMMON, until=_DEVICES),
        struct("parent_obj", VMSTATE_PS2_COMMON, attr="common", since=_DEVICES),
        uint8("mouse_status"),
        uint8("mouse_resolution"),
        uint8("mouse_sample_rate"),
        uint8("mouse_wrap"),
        uint8("mouse_type"),
        uint8("mouse_detect_state"),
        int32("mouse_dx"),
        int32("mouse_dy"),
        int32("mouse_dz"),
        uint8("mouse_buttons"),
    ),
    version_id=2,
    minimum_version_id=2,
    pre_load=_before_load,
    post_load=_after_mouse_load,
)


class Ps2Device(StatefulDevice):
    """What both have: a queue of bytes for the guest."""

    type_name = "ps2-device"
    abstract = True
    user_creatable = False

    def reset(self) -> None:
        """No command under way, no replies queued."""
        super().reset()
        self.state.common.write_cmd = -1
        self.state.common.queue.cwptr = -1


class Ps2Keyboard(Ps2Device):
    """The keyboard."""

    type_name = "ps2-kbd"
    vmstate = VMSTATE_PS2_KEYBOARD

    def reset(self) -> None:
        """Scanning, with scan code set 2."""
        super().reset()
        self.state.scan_enabled = 1
        self.state.scancode_set = 2


class Ps2Mouse(Ps2Device):
    """The mouse."""

    type_name = "ps2-mouse"
    vmstate = VMSTATE_PS2_MOUSE

# SPDX-License-Identifier: Apache-2.0
"""The keyboard controller (i8042). QEMU: `hw/input/pckbd.c`; the first example of its migration document.

Shows a field that changed its meaning behind a subsection: from 6.1 on `pending` has more bits than the stream's
byte meant before. Without ``extended-state`` (machine types up to 3.0, a property that older binaries lack) the
byte is made as old releases know it; with it, the subsection says that it is to be read with all bits.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.isa.ps2 import Ps2Keyboard, Ps2Mouse
from migmatrix.emulator.properties import BOOL, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import struct, uint8, uint32

__all__ = ["VMSTATE_PCKBD", "KeyboardController"]

_EXTENDED: Final = "6.1"  # first release with the extended state

_STATUS_OUT_FULL, _STATUS_MOUSE_OUT_FULL = 0x01, 0x20
_SOURCE_KEYBOARD, _SOURCE_MOUSE = 1, 2
_PENDING_COMPAT_KEYBOARD, _PENDING_COMPAT_MOUSE = 1, 2
_PENDING_KEYBOARD, _PENDING_MOUSE = 0x10, 0x20
_RESET_STATUS: Final = 0x18  # last write was a command; not locked
_RESET_MODE: Final = 0x03  # both interrupts enabled
_OUT_RESET, _OUT_A20, _OUT_ONES = 0x01, 0x02, 0xCC
_OUT_KEYBOARD_FULL, _OUT_MOUSE_FULL = 0x10, 0x20


def _usual_outport(state: Any) -> int:
    """What the output port has unless a guest wrote to it: a function of the status."""
    full = 0
    if state.status & _STATUS_OUT_FULL:
        full = _OUT_MOUSE_FULL if state.status & _STATUS_MOUSE_OUT_FULL else _OUT_KEYBOARD_FULL
    return _OUT_RESET | _OUT_A20 | _OUT_ONES | full


def _outport_needed(state: Any) -> bool:
    return bool(state.outport != _usual_outport(state))


def _outport_loaded(state: Any, _version: int) -> None:
    state.outport_present = True


def _extended_needed(state: Any) -> bool:
    return bool(state.extended_state)


def _extended_loaded(state: Any, _version: int) -> None:
    state.extended_state_loaded = True


def _before_save(state: Any) -> None:
    if state.extended_state:
        state.pending_sent = state.pending
        return
    keyboard = _PENDING_COMPAT_KEYBOARD if state.pending & _PENDING_KEYBOARD else 0
    mouse = _PENDING_COMPAT_MOUSE if state.pending & _PENDING_MOUSE else 0
    state.pending_sent = keyboard | mouse


def _before_load(state: Any) -> None:
    state.outport_present = state.extended_state_loaded = False


def _after_load(state: Any, _version: int) -> None:
    if not state.outport_present:
        state.outport = _usual_outport(state)
    state.pending = state.pending_sent
    if not state.extended_state_loaded:
        _derive_extended(state)


def _derive_extended(state: Any) -> None:
    full, mouse = state.status & _STATUS_OUT_FULL, state.status & _STATUS_MOUSE_OUT_FULL
    state.obsrc = (_SOURCE_MOUSE if mouse else _SOURCE_KEYBOARD) if full else 0
    if state.pending & _PENDING_COMPAT_KEYBOARD:
        state.pending |= _PENDING_KEYBOARD
    if state.pending & _PENDING_COMPAT_MOUSE:
        state.pending |= _PENDING_MOUSE
    state.pending &= ~(_PENDING_COMPAT_KEYBOARD | _PENDING_COMPAT_MOUSE)


_VMSTATE_CONTROLLER = VMState(
    "pckbd",
    (
        uint8("write_cmd"),
        uint8("status"),
        uint8("mode"),
        uint8("pending", attr="pending_sent", until=_EXTENDED),
        uint8("pending_tmp", attr="pending_sent", since=_EXTENDED),
    ),
    version_id=3,
    minimum_version_id=3,
    pre_save=_before_save,
    pre_load=_before_load,
    post_load=_after_load,
    subsections=(
        VMState(
            "pckbd_outport", (uint8("outport"),), 1, 1, needed=_outport_needed, post_load=_outport_loaded
        ),
        VMState(
            "pckbd/extended_state",
            (uint32("migration_flags"), uint32("obsrc"), uint8("obdata"), uint8("cbdata")),
            needed=_extended_needed, post_load=_extended_loaded, since=_EXTENDED,
        ),
    ),
)  # fmt: skip

VMSTATE_PCKBD = VMState("pckbd", (struct("kbd", _VMSTATE_CONTROLLER),), 3, 3)


class KeyboardController(IsaDevice):
    """The i8042 with a keyboard and a mouse of its own, which have sections of their own."""

    type_name = "i8042"
    properties = (
        Property("extended-state", BOOL, True, since=_EXTENDED),
        Property("kbd-throttle", BOOL, False, since=_EXTENDED),
    )
    vmstate = VMSTATE_PCKBD

    def init(self) -> None:
        """Make keyboard and mouse."""
        super().init()
        self.add_child(Ps2Keyboard(self.machine), "ps2kbd")
        self.add_child(Ps2Mouse(self.machine), "ps2mouse")

    def realize(self) -> None:
        """Keyboard, mouse, controller: the order of the sections."""
        for child in self.children:
            child.realize()
        super().realize()

    def reset(self) -> None:
        """Self-test passed, both interrupts on."""
        super().reset()
        kbd = self.state.kbd
        kbd.extended_state = self.props.get("extended-state", False)
        kbd.pending = 0
        kbd.status = _RESET_STATUS
        kbd.mode = _RESET_MODE
        kbd.outport = _usual_outport(kbd)

# SPDX-License-Identifier: Apache-2.0
"""The debug console: a port that firmware writes its log to. It has no state, so no section.

What is written goes to its chardev; `emulator.guest` is what writes.
"""

from __future__ import annotations

from migmatrix.emulator.device import Device
from migmatrix.emulator.errors import DeviceError, PropertyError
from migmatrix.emulator.properties import STRING, UINT32, Property

__all__ = ["DebugConsole"]


class DebugConsole(Device):
    """`isa-debugcon`; QEMU's defaults (hw/char/debugcon.c): port 0xe9, which reads back as itself."""

    type_name = "isa-debugcon"
    bus = "ISA"
    properties = (
        Property("iobase", UINT32, 0xE9),
        Property("chardev", STRING),
        Property("readback", UINT32, 0xE9),
    )

    def realize(self) -> None:
        """Look the chardev up."""
        name = self.props["chardev"]
        if not name:
            raise DeviceError("Can't create debugcon device, empty char device")
        if not any(chardev.id == name for chardev in self.machine.options.chardevs):
            raise PropertyError(f"Property 'isa-debugcon.chardev' can't find value '{name}'")
        super().realize()

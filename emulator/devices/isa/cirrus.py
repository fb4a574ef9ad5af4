# SPDX-License-Identifier: Apache-2.0
"""Cirrus VGA on the ISA bus, the default of ``isapc``. QEMU: `hw/display/cirrus_vga.c`, `cirrus_vga_isa.c`.

1. The first two graphics registers are meant to be sent as the card's shadows of them.
2. In every release up to 11.1 the ISA card's class gives the description the address of the wrong struct, so that all
   fields are read (and written by a load) a fixed number of bytes before their places: the sequencer's registers
   begin at index 0xa0 or 0xb0 of ``vga.sr``. What is where differs between releases. A load that is to leave a
   real QEMU whole must therefore bring what was there: `_BEFORE` and `_LATCH`, seen in streams of 5.2.0, 7.2.22,
   10.0.2, 10.0.13 and 11.1.3. Streams from real QEMU are kept as they are.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.isa.vga import vga_registers
from migmatrix.emulator.devices.state import Timeline
from migmatrix.emulator.properties import BOOL, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8, uint32

__all__ = ["VMSTATE_CIRRUS", "CirrusIsa"]

_MEMORY_MB: Final = 4
_SHADOWED: Final = 2
_SHADOW_MASKS: Final = (0x0F, 0x0F)  # what of a shadow is in the plain VGA register
_SEQUENCER: Final = {0x06: 0x0F, 0x0F: 0x18, 0x15: 0x03, 0x17: 0x38, 0x1F: 0x22}
_CHIP: Final = 0xA0  # CL-GD5430, what the ISA card is
_CHIP_REGISTER: Final = 0x27
_BEFORE: Final = Timeline(0xA0, ("7.2", 0xB0), ("10.0", 0xA0))  # rule 2; between these releases not seen
_LATCH: Final = Timeline(0x400000, ("10.0", 0))  # the size of the card's memory stands there


def _split_shadows(state: Any, _version: int) -> None:
    """The plain registers have the low bits of the shadows."""
    shadows = (state.cirrus_shadow_gr0, state.cirrus_shadow_gr1)
    low = bytes(value & mask for value, mask in zip(shadows, _SHADOW_MASKS, strict=True))
    state.vga.gr = low + state.vga.gr[_SHADOWED:]


VMSTATE_CIRRUS = VMState(
    "cirrus_vga",
    (
        *vga_registers(
            "vga.",
            after_gr_index=(uint8("cirrus_shadow_gr0"), uint8("cirrus_shadow_gr1")),
            gr_start=_SHADOWED,
        ),
        uint8("cirrus_hidden_dac_lockindex"),
        uint8("cirrus_hidden_dac_data"),
        uint32("vga.hw_cursor_x"),
        uint32("vga.hw_cursor_y"),
    ),
    version_id=2,
    minimum_version_id=1,
    post_load=_split_shadows,
)


class CirrusIsa(IsaDevice):
    """The card with 4 MiB of memory."""

    type_name = "isa-cirrus-vga"
    properties = (
        Property("vgamem_mb", UINT32, _MEMORY_MB),
        Property("blitter", BOOL, True),
    )
    vmstate = VMSTATE_CIRRUS

    def realize(self) -> None:
        """Bring the card's memory."""
        self.machine.add_ram("vga.vram", self.props["vgamem_mb"] << 20)
        super().realize()

    def reset(self) -> None:
        """The sequencer tells chip and memory; everything else is for the card's BIOS to set."""
        super().reset()
        release = self.machine.release.name
        vga = self.state.vga
        vga.latch = _LATCH.at(release)
        before = _BEFORE.at(release)
        vga.sr = _with(vga.sr, {before + index: value for index, value in _SEQUENCER.items()})
        vga.cr = _with(vga.cr, {before + _CHIP_REGISTER: _CHIP})


def _with(registers: bytes, values: dict[int, int]) -> bytes:
    changed = bytearray(registers)
    for index, value in values.items():
        changed[index] = value
    return bytes(changed)

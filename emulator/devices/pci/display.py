# SPDX-License-Identifier: Apache-2.0
"""Displays: `VGA`, `cirrus-vga`. Each has memory that is migrated as a RAM block named ``vga.vram``."""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.isa.cirrus import VMSTATE_CIRRUS
from migmatrix.emulator.devices.pci.config import MEM, PREFETCH
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import clear
from migmatrix.emulator.properties import BOOL, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import buffer, int32, struct, uint8, uint8_equal, uint16, uint32

__all__ = ["VGA", "CirrusVGA"]

_MIB: Final = 1 << 20
VGA_WITH_VBE: Final = VMState(
    "vga",
    (
        uint32("latch"),
        uint8("sr_index"),
        buffer("sr", 8),
        uint8("gr_index"),
        buffer("gr", 16),
        uint8("ar_index"),
        buffer("ar", 21),
        int32("ar_flip_flop"),
        uint8("cr_index"),
        buffer("cr", 256),
        *map(uint8, ("msr", "fcr", "st00", "st01")),
        *map(uint8, ("dac_state", "dac_sub_index", "dac_read_index", "dac_write_index")),
        buffer("dac_cache", 3),
        buffer("palette", 768),
        int32("bank_offset"),
        uint8_equal("is_vbe_vmstate", attr="is_vbe"),
        uint16("vbe_index"),
        uint16("vbe_regs", count=10),
        uint32("vbe_start_addr"),
        uint32("vbe_line_offset"),
        uint32("vbe_bank_mask"),
    ),
    version_id=2,
    minimum_version_id=2,
)


class Display(PCIDevice):
    """What they share: video memory, and registers inside the object."""

    type_name = "pci-display-base"  # none of QEMU's
    abstract = True
    memory_mb: ClassVar[int] = 16
    registers: ClassVar[VMState] = VGA_WITH_VBE

    def init(self) -> None:
        """Registers after power-on are for the card's BIOS to set."""
        clear(self.registers, self)
        self.is_vbe, self.vbe_bank_mask = 1, 0xFF
        self.vbe_regs = [0xB0C5, *[0] * 9]

    def base_registers(self) -> tuple[tuple[int, int, int], ...]:
        """The frame buffer is as large as the memory."""
        return ((0, MEM | PREFETCH, self.memory_bytes), *self.bars)

    @property
    def memory_bytes(self) -> int:
        """Video memory."""
        return int(self.props["vgamem_mb"]) * _MIB

    def realize(self) -> None:
        """Memory first, then the ROM and the section."""
        self.add_block("vga.vram", self.memory_bytes)
        super().realize()


class VGA(Display):
    """Bochs' standard VGA."""

    type_name = "VGA"
    identity: ClassVar[Identity] = Identity(0x1234, 0x1111, 0x0300, revision=2)
    bars = ((2, MEM, 0x1000),)
    rom: ClassVar[int] = 0x10000
    properties: ClassVar[tuple[Property, ...]] = (
        Property("vgamem_mb", UINT32, 16),
        Property("mmio", BOOL, True),
        Property("qemu-extended-regs", BOOL, True, since="2.2"),
        Property("edid", BOOL, False, changes=(("4.1", True),), since="4.0"),
        Property("global-vmstate", BOOL, False, since="3.0", until="11.1"),
    )
    vmstate = VMState(
        "vga", (parent("dev"), struct("vga", VGA_WITH_VBE, attr="")), version_id=2, minimum_version_id=2
    )


class CirrusVGA(Display):
    """Cirrus Logic 5446."""

    type_name = "cirrus-vga"
    identity: ClassVar[Identity] = Identity(0x1013, 0x00B8, 0x0300)
    bars = ((1, MEM, 0x1000),)
    rom: ClassVar[int] = 0x10000
    registers = VMSTATE_CIRRUS
    properties: ClassVar[tuple[Property, ...]] = (
        Property("vgamem_mb", UINT32, 8, changes=(("2.9", 4),)),
        Property("blitter", BOOL, True),
        Property("global-vmstate", BOOL, False, since="3.0", until="11.1"),
    )
    vmstate = VMState(
        "cirrus_vga",
        (parent("dev"), struct("cirrus_vga", VMSTATE_CIRRUS, attr="")),
        version_id=2,
        minimum_version_id=2,
    )

    def base_registers(self) -> tuple[tuple[int, int, int], ...]:
        """The frame buffer's window is 32 MiB whatever the memory."""
        return ((0, MEM | PREFETCH, 32 * _MIB), *self.bars)

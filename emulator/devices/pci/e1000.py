# SPDX-License-Identifier: Apache-2.0
"""Intel 82540 network card, `e1000`. What its optional subsections carry is switched by properties.

Row 2.12 of the track record is here: ``e1000/tx_tso_state`` came without its property.
"""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.pci.config import IO, MEM
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import clear
from migmatrix.emulator.properties import BOOL, MAC, STRING, Property
from migmatrix.emulator.references import card_address
from migmatrix.vmstate.device.description import Field, VMState
from migmatrix.vmstate.device.fields import boolean, buffer, int8, uint8, uint16, uint32, unused

__all__ = ["E1000"]

_REGISTERS: Final = (
    "CTRL", "EECD", "EERD", "GPRC", "GPTC", "ICR", "ICS", "IMC", "IMS", "LEDCTL", "MANC", "MDIC", "MPC",
    "PBA", "RCTL", "RDBAH", "RDBAL", "RDH", "RDLEN", "RDT", "STATUS", "SWSM", "TCTL", "TDBAH", "TDBAL",
    "TDH", "TDLEN", "TDT", "TORH", "TORL", "TOTH", "TOTL", "TPR", "TPT", "TXDCTL", "WUFC", "VET",
)  # fmt: skip
_MITIGATION: Final = ("RDTR", "RADV", "TADV", "ITR")


def _registers(names: list[str] | tuple[str, ...]) -> tuple[Field, ...]:
    return tuple(uint32(f"mac_reg[{name}]", attr=f"mac.{name}") for name in names)


def _offload(sent: str, attr: str) -> tuple[Field, ...]:
    """Checksum and segmentation context: in the order of the main description and of its subsection."""
    return (
        *(uint8(f"{sent}.{n}", attr=f"{attr}.{n}") for n in ("ipcss", "ipcso")),
        uint16(f"{sent}.ipcse", attr=f"{attr}.ipcse"),
        *(uint8(f"{sent}.{n}", attr=f"{attr}.{n}") for n in ("tucss", "tucso")),
        uint16(f"{sent}.tucse", attr=f"{attr}.tucse"),
        uint32(f"{sent}.paylen", attr=f"{attr}.paylen"),
        uint8(f"{sent}.hdr_len", attr=f"{attr}.hdr_len"),
        uint16(f"{sent}.mss", attr=f"{attr}.mss"),
    )


def _flags(sent: str, attr: str) -> tuple[Field, ...]:
    return tuple(int8(f"{sent}.{n}", attr=f"{attr}.{n}") for n in ("ip", "tcp"))


class E1000(PCIDevice):
    """The card; its registers are kept and sent, nothing works on them."""

    type_name = "e1000"
    aliases = ("e1000-82540em",)
    description = "Intel Gigabit Ethernet"
    identity: ClassVar[Identity] = Identity(0x8086, 0x100E, 0x0200, revision=3, pin=1)
    bars = ((0, MEM, 0x20000), (1, IO, 0x40))
    rom: ClassVar[int] = 0x40000
    properties: ClassVar[tuple[Property, ...]] = (
        Property("mac", MAC),
        Property("netdev", STRING, None),
        Property("autonegotiation", BOOL, True, until="9.0"),
        Property("mitigation", BOOL, True, until="9.0"),
        Property("extra_mac_registers", BOOL, True, since="2.5", until="11.1"),  # in 10.0.13, not in 11.1.3
        Property("migrate_tso_props", BOOL, True, since="2.11.92"),
        Property("init-vet", BOOL, True, since="6.1"),
    )
    traits: ClassVar[tuple[Property, ...]] = (
        Property("migrate_tso_props", BOOL, False, changes=(("2.11.50", True),)),
        Property("mitigation", BOOL, True),
        Property("extra_mac_registers", BOOL, False, changes=(("2.5", True),)),
    )
    vmstate: ClassVar[VMState] = VMState(
        "e1000",
        (
            parent("parent_obj"),
            unused(4),
            uint32("rxbuf_size"),
            uint32("rxbuf_min_shift"),
            uint32("eecd_state.val_in", attr="eecd.val_in"),
            *(uint16(f"eecd_state.{n}", attr=f"eecd.{n}") for n in ("bitnum_in", "bitnum_out", "reading")),
            uint32("eecd_state.old_eecd", attr="eecd.old_eecd"),
            *_offload("mig_props", "props_sent"),
            uint16("tx.size", attr="tx.size"),
            uint16("tx.tso_frames", attr="tx.tso_frames"),
            uint8("tx.sum_needed", attr="tx.sum_needed"),
            *_flags("mig_props", "props_sent"),
            buffer("tx.header", 256, attr="tx.header"),
            buffer("tx.data", 0x10000, attr="tx.data"),
            uint16("eeprom_data", count=64),
            uint16("phy_reg", count=32),
            *_registers(_REGISTERS),
            uint32("mac_reg[0]", attr="receive_addresses", count=32),
            uint32("mac_reg[1]", attr="multicast", count=128),
            uint32("mac_reg[2]", attr="vlan", count=128),
        ),
        version_id=2,
        minimum_version_id=1,
        subsections=(
            VMState(
                "e1000/mit_state",
                (*_registers(_MITIGATION), boolean("mit_irq_level")),
                version_id=1,
                minimum_version_id=1,
                needed=lambda card: card.trait("mitigation"),
            ),
            VMState(
                "e1000/full_mac_state",
                (uint32("mac_reg", count=0x8000),),
                version_id=1,
                minimum_version_id=1,
                needed=lambda card: card.trait("extra_mac_registers"),
            ),
            VMState(
                "e1000/tx_tso_state",
                (*_offload("tx.tso_props", "tso"), *_flags("tx.tso_props", "tso")),
                version_id=1,
                minimum_version_id=1,
                needed=lambda card: card.trait("migrate_tso_props"),
                since="2.11.50",
            ),
        ),
    )

    def init(self) -> None:
        """Registers after power-on are zero."""
        clear(self.vmstate, self)

    def realize(self) -> None:
        """Its address is not sent as such, but counts for the cards that follow."""
        card_address(self)
        super().realize()

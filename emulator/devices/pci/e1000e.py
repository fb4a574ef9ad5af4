# SPDX-License-Identifier: Apache-2.0
"""Intel 82574 network card, `e1000e`: error reporting, ``migrate-timadj``, identity that must not differ."""

from __future__ import annotations

import errno
from typing import ClassVar, Final

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.config import IO, MEM, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import MSIX, parent
from migmatrix.emulator.devices.state import clear
from migmatrix.emulator.properties import BOOL, MAC, STRING, UINT8, UINT16, Property
from migmatrix.emulator.references import card_address
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import boolean, int8, int64, struct, timer, uint8, uint16, uint32, unused

__all__ = ["E1000E"]

_MAC_WORDS: Final = 0x8000
_VECTORS: Final = 5
_TIMERS: Final = ("rdtr", "radv", "raid", "tadv", "tidv", "itr")
_LATER: Final = "8.0"  # interrupts that wait are told from the timers since then
_TIMER: Final = VMState(
    "e1000e-intr-timer", (timer("timer"), boolean("running")), version_id=1, minimum_version_id=1
)
_TX: Final = VMState(
    "e1000e-tx",
    (
        uint8("sum_needed"),
        *(uint8(f"props.{n}", attr=n) for n in ("ipcss", "ipcso")),
        uint16("props.ipcse", attr="ipcse"),
        *(uint8(f"props.{n}", attr=n) for n in ("tucss", "tucso")),
        uint16("props.tucse", attr="tucse"),
        uint8("props.hdr_len", attr="hdr_len"),
        uint16("props.mss", attr="mss"),
        uint32("props.paylen", attr="paylen"),
        *(int8(f"props.{n}", attr=n) for n in ("ip", "tcp")),
        boolean("props.tse", attr="tse"),
        boolean("cptse"),
        boolean("skip_cp"),
    ),
    version_id=1,
    minimum_version_id=1,
)


def _check_identity(card: E1000E, _version: int) -> None:
    if (card.subsys, card.subsys_ven) != (card.props["subsys"], card.props["subsys_ven"]):
        raise HookError(
            "ERROR: Cannot migrate while device properties (subsys/subsys_ven) differ", errno.EPERM
        )


def _sends_timadj(card: E1000E, _version: int) -> bool:
    return bool(card.props["migrate-timadj"])


class E1000E(PCIDevice):
    """The card; its registers are kept and sent, nothing works on them."""

    type_name = "e1000e"
    description = "Intel 82574L GbE Controller"
    bars = ((0, MEM, 0x20000), (1, MEM, 0x20000), (2, IO, 0x20), (3, MEM, 0x4000))
    rom: ClassVar[int] = 0x40000
    pcie: ClassVar[bool] = True
    properties: ClassVar[tuple[Property, ...]] = (
        Property("mac", MAC),
        Property("netdev", STRING, None),
        Property("disable_vnet_hdr", BOOL, False, until="10.0"),
        Property("subsys_ven", UINT16, 0x8086),
        Property("subsys", UINT16, 0),
        Property("init-vet", BOOL, True, since="6.1"),
        Property("migrate-timadj", BOOL, True, since="8.0"),
        Property("x-emulated-queues", UINT8, 2),
    )
    vmstate: ClassVar[VMState] = VMState(
        "e1000e",
        (
            parent("parent_obj"),
            struct("parent_obj", MSIX, attr=""),
            uint32("ioaddr"),
            uint32("core.rxbuf_min_shift", attr="rxbuf_min_shift"),
            uint8("core.rx_desc_len", attr="rx_desc_len"),
            uint32("core.rxbuf_sizes", attr="rxbuf_sizes", count=4),
            uint32("core.rx_desc_buf_size", attr="rx_desc_buf_size"),
            uint16("core.eeprom", attr="eeprom", count=64),
            uint16("core.phy", attr="phy", count=(7, 32)),
            uint32("core.mac", attr="mac", count=_MAC_WORDS),
            uint8("core.permanent_mac", attr="permanent_mac", count=6),
            uint32("core.delayed_causes", attr="delayed_causes"),
            uint16("subsys"),
            uint16("subsys_ven"),
            *(struct(f"core.{name}", _TIMER, attr=name) for name in _TIMERS),
            boolean("core.itr_intr_pending", attr="itr_pending", until=_LATER),
            unused(1, since=_LATER),
            struct("core.eitr", _TIMER, attr="eitr", count=_VECTORS),
            boolean("core.eitr_intr_pending", attr="eitr_pending", count=_VECTORS, until=_LATER),
            unused(_VECTORS, since=_LATER),
            uint32("core.itr_guest_value", attr="itr_guest"),
            uint32("core.eitr_guest_value", attr="eitr_guest", count=_VECTORS),
            uint16("core.vet", attr="vet"),
            struct("core.tx", _TX, attr="tx", count=2),
            int64("core.timadj", attr="timadj", test=_sends_timadj, since="8.0"),
        ),
        version_id=1,
        minimum_version_id=1,
        post_load=_check_identity,
    )

    def init(self) -> None:
        """Registers after power-on are zero."""
        clear(self.vmstate, self)

    def described(self) -> Identity:
        """With the subsystem that properties give."""
        subsystem = (self.props["subsys_ven"], self.props["subsys"])
        return Identity(0x8086, 0x10D3, 0x0200, pin=1, subsystem=subsystem)

    def realize(self) -> None:
        """The card's own address and identity are sent, so they are state."""
        self.permanent_mac = list(card_address(self))
        self.subsys, self.subsys_ven = self.props["subsys"], self.props["subsys_ven"]
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """MSI-X, MSI, express of version 1, power management, errors, serial number from the address."""
        self.add_msix(space, _VECTORS, (3, 0), (3, 0x2000), 0xA0)
        kind = caps.Port.INTEGRATED if self.pci_bus.root else caps.Port.ENDPOINT
        link = caps.Link(active=self.trait("link-shown-active"))
        caps.express(space, kind, 0xE0, version=1, link=link, tags=self.trait("x-pcie-ext-tag"))
        caps.msi(space, 1, 0xD0, wide=True, maskable=False)
        caps.power_management(space, 0x0022, 0xC8)
        caps.error_reporting(space, 0x100, masks=self.trait("x-pcie-err-unc-mask"))
        number = self.props["mac"]
        caps.serial_number(space, int.from_bytes(number[:3] + b"\xff\xff" + number[3:], "big"), 0x140)

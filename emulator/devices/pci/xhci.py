# SPDX-License-Identifier: Apache-2.0
"""USB 3 controllers: `qemu-xhci` and `nec-usb-xhci`, without devices on them."""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.config import MEM64, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import MSIX, parent
from migmatrix.emulator.devices.state import Part, made
from migmatrix.emulator.properties import UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import boolean, int64, struct, timer, uint32, uint64

__all__ = ["NECXHCI", "QEMUXHCI"]

_SLOTS: Final = 64
_INTERRUPTERS: Final = 16
_CAPABILITIES: Final = (0x90, 0xA0, 0x70)  # MSI-X, express, MSI

_INTERRUPTER: Final = VMState(
    "xhci-intr",
    (
        *map(uint32, ("iman", "imod", "erstsz", "erstba_low", "erstba_high", "erdp_low", "erdp_high")),
        *map(boolean, ("msix_used", "er_pcs")),
        uint64("er_start"),
        *map(uint32, ("er_size", "er_ep_idx")),
        boolean("er_full_unused"),
    ),
    version_id=1,
)
_CORE: Final = VMState(
    "xhci-core",
    (
        struct("ports", VMState("xhci-port", (uint32("portsc"),), 1, 0), count="port_count"),
        struct("slots", VMState("xhci-slot", (boolean("enabled"), boolean("addressed")), 1, 0), count=_SLOTS),
        struct("intr", _INTERRUPTER, count=_INTERRUPTERS),
        *map(
            uint32,
            ("usbcmd", "usbsts", "dnctrl", "crcr_low", "crcr_high", "dcbaap_low", "dcbaap_high", "config"),
        ),
        int64("mfindex_start"),
        timer("mfwrap_timer"),
        struct("cmd_ring", VMState("xhci-ring", (uint64("dequeue"), boolean("ccs")), 1, 0)),
    ),
    version_id=1,
)


class XHCI(PCIDevice):
    """What both share; a port of USB 2 and one of USB 3 for each socket."""

    type_name = "pci-xhci"
    abstract = True
    bars = ((0, MEM64, 0x4000),)
    properties: ClassVar[tuple[Property, ...]] = (Property("p2", UINT32, 4), Property("p3", UINT32, 4))
    vmstate = VMState(
        "xhci",
        (parent("parent_obj"), struct("parent_obj", MSIX, attr=""), struct("xhci", _CORE)),
        version_id=1,
    )

    @property
    def express(self) -> bool:
        """It adapts to the bus; the controller's space is long on either."""
        return True

    def realize(self) -> None:
        """As many ports as properties say."""
        self.xhci = made(_CORE)
        self.xhci.port_count = self.props["p2"] + self.props["p3"]
        self.xhci.ports = [Part(portsc=0x202A0) for _ in range(self.xhci.port_count)]
        self.xhci.usbsts = 1  # halted
        for interrupter in self.xhci.intr:
            interrupter.er_pcs = True
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """Serial bus release 3.0; express only on an express bus."""
        space.write(0x60, 1, 0x30)
        if self.pci_bus.express:
            kind = caps.Port.INTEGRATED if self.pci_bus.root else caps.Port.ENDPOINT
            link = caps.Link(active=self.trait("link-shown-active"))
            caps.express(space, kind, _CAPABILITIES[1], link=link, tags=self.trait("x-pcie-ext-tag"))
        self.add_msix(space, _INTERRUPTERS, (0, 0x3000), (0, 0x3800), _CAPABILITIES[0])


class QEMUXHCI(XHCI):
    """QEMU's own."""

    type_name = "qemu-xhci"
    identity: ClassVar[Identity] = Identity(0x1B36, 0x000D, 0x0C03, revision=1, interface=0x30, pin=1)


class NECXHCI(XHCI):
    """NEC's, with MSI as well."""

    type_name = "nec-usb-xhci"
    identity: ClassVar[Identity] = Identity(0x1033, 0x0194, 0x0C03, revision=3, interface=0x30, pin=1)

    def configure(self, space: ConfigSpace) -> None:
        """MSI comes first, so that it is last in the list."""
        caps.msi(space, _INTERRUPTERS, _CAPABILITIES[2], wide=True, maskable=False)
        super().configure(space)

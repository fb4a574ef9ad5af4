# SPDX-License-Identifier: Apache-2.0
"""PCI Express root ports: `pcie-root-port`, and Intel's `ioh3420`. One slot each, behind a bus of its own.

The AER case is here: whether the error mask register exists is the trait ``x-pcie-err-unc-mask``.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.bus import PCIBUS, PCIEBus
from migmatrix.emulator.devices.pci.config import BRIDGE, MEM, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import AER_LOG, MSIX, parent
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, UINT8, UINT16, Property
from migmatrix.vmstate.device.description import MigrationPriority, VMState
from migmatrix.vmstate.device.fields import struct

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

__all__ = ["Ioh3420", "PCIEPort", "PCIERootPort"]

_PCI: Final = "parent_obj.parent_obj.parent_obj"
_CLOSED: Final = ((0x1C, 1, 0xF0), (0x20, 2, 0xFFF0), (0x24, 2, 0xFFF1))  # windows that let nothing through
_PRESENT: Final = 0x40
_SLOT_ON: Final = 0x01C0  # slot control: power on, its indicator on, the attention indicator off
_SLOT_OFF: Final = 0x07C0


class PCIEPort(PCIDevice):
    """What both ports share: slot, window registers, error reporting, the bus behind."""

    type_name = "pcie-root-port-base"
    abstract = True
    pcie: ClassVar[bool] = True
    subsystem_vendor: ClassVar[int] = 0
    express_at: ClassVar[int] = 0
    properties: ClassVar[tuple[Property, ...]] = (
        Property("port", UINT8, 0),
        Property("chassis", UINT8, 0),
        Property("slot", UINT16, 0),
        Property("aer_log_max", UINT16, 8),
        Property("power_controller_present", BOOL, True),
        Property("disable-acs", BOOL, False, since="4.0.91", until="11.1"),
        Property("hotplug", BOOL, True, since="5.0"),
    )
    traits: ClassVar[tuple[Property, ...]] = (
        Property("disable-acs", BOOL, True, changes=(("3.1.50", False),)),
        # loading compared the bit for "something is plugged" until 8.0, although the guest may clear it
        Property("presence-checked", BOOL, True, changes=(("8.1", False),)),
    )

    def init(self) -> None:
        """The bus exists from the start, so that devices can be put on it."""
        self.link = PCIEBus(self.id or self.type_name, self)
        self.add_bus(self.link)

    def realize(self) -> None:
        """The port, and the bus section that is sent for the bus behind it; DeviceError for a slot that is taken."""
        if self.slot_key in {port.slot_key for port in self._others()}:
            raise DeviceError(f"Can't add chassis slot, error {-errno.EBUSY}")
        self.aer_log_max = self.props["aer_log_max"]
        super().realize()
        self.register(PCIBUS, self.link, path="")

    def configure(self, space: ConfigSpace) -> None:
        """Identity of the subsystem, interrupts, express with its slot, error reporting."""
        for offset, size, value in _CLOSED:
            space.write(offset, size, value)
        caps.subsystem(space, self.subsystem_vendor, 0, 0x40)
        self.interrupts(space)
        at = caps.express(
            space,
            caps.Port.ROOT,
            self.express_at,
            link=self.link_registers(),
            reports=True,
            forwards=True,
            tags=self.trait("x-pcie-ext-tag"),
        )
        caps.slot(
            space,
            at,
            self.props["slot"],
            presence_checked=self.trait("presence-checked"),
            hotplug=self.props.get("hotplug", True),
        )
        self.slot_status = at + 0x1A
        caps.error_reporting(space, 0x100, root=True, masks=self.trait("x-pcie-err-unc-mask"))

    @property
    def slot_key(self) -> tuple[int, int]:
        """What the guest knows the slot by."""
        return int(self.props["chassis"]), int(self.props["slot"])

    def _others(self) -> list[PCIEPort]:
        return [d for d in self.machine.walk() if isinstance(d, PCIEPort) and d.realized and d is not self]

    def interrupts(self, space: ConfigSpace) -> None:
        """Add the capability by which the port interrupts."""

    def link_registers(self) -> caps.Link:
        """What the port says of its link."""
        return caps.Link(0x411 | self.props["port"] << 24, active=self.trait("link-shown-active"))

    def reset(self) -> None:
        """A slot that holds something says so, unless ACPI looks after it; a driver has cleared that."""
        present = _PRESENT if self.link.devices and self._native() and self.guest != "driver" else 0
        self.space.write(self.slot_status, 2, self.space.read(self.slot_status, 2) & ~_PRESENT | present)
        if self.guest != "driver":
            self.space.write(self.slot_status - 2, 2, _SLOT_ON if self.link.devices else _SLOT_OFF)

    def plugged(self, device: Device) -> None:
        """What is plugged shows at once."""
        super().plugged(device)
        self.reset()

    def _native(self) -> bool:
        """Whether the slot's own registers are used for hotplug, not ACPI's."""
        lpc = next((d for d in self.machine.walk() if d.type_name == "ICH9-LPC"), None)
        return lpc is None or not lpc.props.get("acpi-pci-hotplug-with-bridge-support", False)

    def guest_acts(self) -> None:
        """Nothing: windows are not modelled. What a driver does to the slot shows in `reset`."""


class PCIERootPort(PCIEPort):
    """QEMU's own root port: MSI-X with one vector, access control behind error reporting."""

    type_name = "pcie-root-port"
    description = "PCI Express Root Port"
    identity: ClassVar[Identity] = Identity(0x1B36, 0x000C, 0x0604, header=BRIDGE, pin=1)
    bars = ((0, MEM, 0x1000),)
    subsystem_vendor = 0x1B36
    express_at = 0x54
    properties: ClassVar[tuple[Property, ...]] = (Property("x-migrate-msix", BOOL, True, until="11.1"),)
    traits: ClassVar[tuple[Property, ...]] = (Property("x-migrate-msix", BOOL, True),)
    vmstate = VMState(
        "pcie-root-port",
        (
            parent(_PCI),
            struct(f"{_PCI}.exp.aer_log", AER_LOG, attr=""),
            struct(f"{_PCI}.parent_obj", MSIX, attr="", test=lambda port, _: port.trait("x-migrate-msix")),
        ),
        version_id=1,
        minimum_version_id=1,
        priority=MigrationPriority.PCI_BUS,
    )

    def interrupts(self, space: ConfigSpace) -> None:
        """One MSI-X vector in BAR 0."""
        self.add_msix(space, 1, (0, 0), (0, 0x800), 0x48)

    def link_registers(self) -> caps.Link:
        """16 GT/s and 32 lanes, as pc-q35-4.0 and later have it."""
        active = self.trait("link-shown-active")
        return caps.Link(self.props["port"] << 24 | 0x00300604, 0x1E, 0x4, active=active)

    def configure(self, space: ConfigSpace) -> None:
        """Access control comes last."""
        super().configure(space)
        if not self.trait("disable-acs"):
            caps.access_control(space, 0x148)


class Ioh3420(PCIEPort):
    """Intel's root port: MSI with two vectors."""

    type_name = "ioh3420"
    description = "Intel IOH device id 3420 PCIE Root Port"
    identity: ClassVar[Identity] = Identity(0x8086, 0x3420, 0x0604, revision=2, header=BRIDGE, pin=1)
    subsystem_vendor = 0x8086
    express_at = 0x90
    vmstate = VMState(
        "ioh-3240-express-root-port",
        (parent(_PCI), struct(f"{_PCI}.exp.aer_log", AER_LOG, attr="")),
        version_id=1,
        minimum_version_id=1,
        priority=MigrationPriority.PCI_BUS,
    )

    def interrupts(self, space: ConfigSpace) -> None:
        """Two maskable MSI vectors."""
        caps.msi(space, 2, 0x60, wide=False, maskable=True)

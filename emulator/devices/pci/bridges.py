# SPDX-License-Identifier: Apache-2.0
"""PCI bridges with conventional buses behind them: `pci-bridge`, `pcie-pci-bridge`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.bus import PCIBUS, PCIBus
from migmatrix.emulator.devices.pci.config import BRIDGE, MEM64, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, ON_OFF_AUTO, UINT8, Property
from migmatrix.vmstate.device.description import Field, Info, MigrationPriority, Slot, VMState
from migmatrix.vmstate.device.fields import custom

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["Bridge", "PCIBridge", "PCIEPCIBridge"]

_WITH_HOTPLUG: Final = range(1, 32)  # the hotplug controller takes no slot 0
_SHPC_WORDS: Final = 160


def _get_shpc(reading: Reading, _old: Any, slot: Slot) -> Any:
    slot.holder.shpc[:] = reading.take(slot.size)
    return slot.holder


def _put_shpc(writing: Writing, _value: Any, slot: Slot) -> None:
    writing.put(bytes(slot.holder.shpc))


def _shpc() -> Field:
    """The hotplug controller's registers, raw."""
    return custom("shpc", Info("shpc", _get_shpc, _put_shpc), _SHPC_WORDS, attr="", test=_has_shpc)


def _has_shpc(bridge: Bridge, _version: int) -> bool:
    return bool(bridge.props["shpc"])


def _registers() -> bytearray:
    """After reset: 31 slots, all empty and off."""
    head = "000000001f000000000000001f0101e0000000010000000000000000000000000f000000"
    return bytearray.fromhex(head + "0f0d007f" * 31)


class Bridge(PCIDevice):
    """What both have: hotplug controller, MSI, a bus."""

    type_name = "base-pci-bridge"
    abstract = True
    bars = ((0, MEM64, 0x100),)

    def init(self) -> None:
        """The bus behind the bridge."""
        self.shpc = _registers()
        self.behind = PCIBus(self.id or self.type_name, self, slots=_WITH_HOTPLUG)
        self.add_bus(self.behind)

    def realize(self) -> None:
        """The bridge, then the section of its bus."""
        super().realize()
        self.register(PCIBUS, self.behind, path="")

    @property
    def drives_pin(self) -> bool:
        """The hotplug controller does."""
        return bool(self.props["shpc"])

    def configure(self, space: ConfigSpace) -> None:
        """66 MHz and fast back to back on the other side; the hotplug controller."""
        space.write(0x1E, 2, 0x00A0)
        if self.props["shpc"]:
            caps.hotplug_controller(space, 0x40)


class PCIBridge(Bridge):
    """A conventional bridge."""

    type_name = "pci-bridge"
    description = "Standard PCI Bridge"
    identity: ClassVar[Identity] = Identity(0x1B36, 0x0001, 0x0604, header=BRIDGE, pin=1, status=0xA0)
    properties: ClassVar[tuple[Property, ...]] = (
        Property("chassis_nr", UINT8, 0),
        Property("msi", ON_OFF_AUTO, "auto"),
        Property("shpc", BOOL, True),
    )
    vmstate = VMState("pci_bridge", (parent("parent_obj"), _shpc()), priority=MigrationPriority.PCI_BUS)

    def realize(self) -> None:
        """A bridge must say which chassis it is; DeviceError."""
        if not self.props["chassis_nr"]:
            raise DeviceError(
                "Bridge chassis not specified. Each bridge is required to be assigned a unique chassis id > 0."
            )
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """Slot numbering and MSI after the hotplug controller."""
        super().configure(space)
        caps.slot_id(space, self.props["chassis_nr"])
        if self.props["msi"] != "off":
            caps.msi(space, 1, wide=True, maskable=True)


class PCIEPCIBridge(Bridge):
    """A bridge from PCI Express to PCI."""

    type_name = "pcie-pci-bridge"
    identity: ClassVar[Identity] = Identity(0x1B36, 0x000E, 0x0604, header=BRIDGE, pin=1, status=0xA0)
    pcie: ClassVar[bool] = True
    properties: ClassVar[tuple[Property, ...]] = (
        Property("msi", ON_OFF_AUTO, "auto"),
        Property("shpc", BOOL, True),
    )
    vmstate = VMState("pcie-pci-bridge", (parent("parent_obj"), _shpc()), priority=MigrationPriority.PCI_BUS)

    def configure(self, space: ConfigSpace) -> None:
        """Express, power management, MSI, error reporting."""
        super().configure(space)
        caps.express(
            space,
            caps.Port.TO_PCI,
            link=caps.Link(active=self.trait("link-shown-active")),
            forwards=True,
            tags=self.trait("x-pcie-ext-tag"),
        )
        caps.power_management(space, 0x0003)
        if self.props["msi"] != "off":
            caps.msi(space, 1, wide=True, maskable=True)
        caps.error_reporting(space, 0x100, masks=self.trait("x-pcie-err-unc-mask"))

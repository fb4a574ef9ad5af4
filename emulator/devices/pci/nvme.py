# SPDX-License-Identifier: Apache-2.0
"""An NVMe controller: no QEMU before 11.1 can migrate it, and says so instead of starting."""

from __future__ import annotations

from typing import ClassVar

from migmatrix.emulator.devices.pci.config import MEM64, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import BOOL, STRING, UINT32, Property
from migmatrix.vmstate.device.description import VMState

__all__ = ["NVMe"]

_VECTORS = 65


class NVMe(PCIDevice):
    """The controller. Its state in 11.1, when it became migratable, is not modelled: it blocks in every release."""

    type_name = "nvme"
    description = "Non-Volatile Memory Express"
    pcie: ClassVar[bool] = True
    identity: ClassVar[Identity] = Identity(0x1B36, 0x0010, 0x0108, revision=2, interface=2, pin=1)
    bars = ((0, MEM64, 0x4000),)
    properties: ClassVar[tuple[Property, ...]] = (
        Property("serial", STRING, None),
        Property("drive", STRING, None),
        Property("max_ioqpairs", UINT32, 64),
        Property("msix-exclusive-bar", BOOL, False, since="9.0"),
        Property("use-intel-id", BOOL, False, since="5.2"),
    )
    vmstate = VMState(
        "nvme",
        (parent("parent_obj"),),
        unmigratable="State blocked by non-migratable device",
    )

    def realize(self) -> None:
        """A controller says its serial number; DeviceError."""
        if not self.props["serial"]:
            raise DeviceError("serial property not set")
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """MSI-X: in a base register of its own until 5.2, and where a property asks for that."""
        own = self.trait("msix-exclusive-bar")
        self.add_msix(space, _VECTORS, (4, 0) if own else (0, 0x3000), (4, 0x800) if own else (0, 0x3800))

    traits: ClassVar[tuple[Property, ...]] = (
        Property("msix-exclusive-bar", BOOL, True, changes=(("5.2.50", False),)),
    )

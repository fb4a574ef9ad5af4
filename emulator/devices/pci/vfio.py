# SPDX-License-Identifier: Apache-2.0
"""`vfio-pci` as migration sees it: a config space in part of which the host's driver writes what it likes.

Row 35 of the track record: a vendor capability of a virtual GPU has bytes of the driver, so that two hosts differ.
"""

from __future__ import annotations

from typing import ClassVar

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.config import MEM64, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.properties import BOOL, STRING, UINT32, Property
from migmatrix.vmstate.device.description import VMState

__all__ = ["VFIOPCI"]


class VFIOPCI(PCIDevice):
    """A virtual GPU of the host; its own state, which the host's driver sends, is not modelled."""

    type_name = "vfio-pci"
    identity: ClassVar[Identity] = Identity(0x10DE, 0x2236, 0x0302, pin=1)
    bars = ((0, MEM64, 0x1000000),)
    properties: ClassVar[tuple[Property, ...]] = (
        Property("host", STRING, None),
        Property("sysfsdev", STRING, None),
        Property("skip-vsc-check", BOOL, True, since="9.1"),
        Property(
            "x-host-driver", UINT32, 0, help="emulator only: what the host's driver has in its capability"
        ),
    )
    vmstate = VMState("VFIOPCIDevice", (parent("pdev"),), version_id=1, minimum_version_id=1)

    def configure(self, space: ConfigSpace) -> None:
        """The vendor capability: compared until a property says that it need not be equal."""
        at = caps.vendor(space, int(self.props["x-host-driver"]).to_bytes(4, "little"))
        if self.props.get("skip-vsc-check", False):
            space.unchecked(at + 3, 4, 0xFFFFFFFF)

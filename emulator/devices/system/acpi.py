# SPDX-License-Identifier: Apache-2.0
"""Whether firmware has fetched the ACPI tables: the only state that a PC keeps of them beside their blocks.

Source: section ``acpi_build`` in the VM descriptions of QEMU 5.2 to 11.1.
"""

from __future__ import annotations

from migmatrix.emulator.device import Device
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8

__all__ = ["AcpiBuild"]


class AcpiBuild(Device):
    """The state of the tables; `patched` is 1 once firmware has them."""

    type_name = "acpi-build"
    user_creatable = False
    in_tree = False
    description = "state of the ACPI tables"
    vmstate = VMState("acpi_build", (uint8("patched"),), version_id=1, minimum_version_id=1)

    def init(self) -> None:
        """Not fetched."""
        self.patched = 0

    def reset(self) -> None:
        """Firmware fetches them again."""
        self.patched = 0

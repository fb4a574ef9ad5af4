# SPDX-License-Identifier: Apache-2.0
"""ACPI's PCI hotplug registers, as power management controllers send them.

Row 16 of the track record is here: ``acpi_index`` came with 6.0 and was never sent, because its test read a wrong pointer;
development of 7.0 always sent it, and 7.0 asks ``x-not-migrate-acpi-index``.
"""

from __future__ import annotations

from typing import Any

from migmatrix.vmstate.device.description import Field, VMState
from migmatrix.vmstate.device.fields import struct, uint32

__all__ = ["STATUS", "pcihp_fields"]

_BUSES = 256
STATUS = VMState("acpi_pcihp_pci_status", (uint32("up"), uint32("down")), version_id=1, minimum_version_id=1)


def pcihp_fields(name: str, attr: str, **first: Any) -> tuple[Field, ...]:
    """Selected bus, slots that came and went by bus, index of the selected device. `first`: only for those two."""
    return (
        uint32(f"{name}.hotplug_select", attr=f"{attr}.hotplug_select", **first),
        struct(f"{name}.acpi_pcihp_pci_status", STATUS, attr=f"{attr}.status", count=_BUSES, **first),
        uint32(f"{name}.acpi_index", attr=f"{attr}.acpi_index"),
    )

# SPDX-License-Identifier: Apache-2.0
"""Buses: what devices plug into, and what a bus adds to the names of their sections.

A bus has a kind (QEMU's type of bus: ``PCI``, ``ISA``, ``virtio-bus``), a name for `-device bus=`, and devices in the
order in which they came. PCI's slots are the PCI package's: it derives from `Bus`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from migmatrix.emulator.errors import DeviceError

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

__all__ = ["Bus"]


class Bus:
    """Devices plug into it. `limit` is how many it takes, 0 for no limit."""

    kind: ClassVar[str] = "System"
    kinds: ClassVar[tuple[str, ...]] = ()  # further kinds that it is: a PCIE bus is a PCI bus

    def __init__(self, name: str, parent: Device | None = None, *, kind: str = "", limit: int = 0) -> None:
        self.name = name
        self.parent = parent
        self.type = kind or self.kind
        self.limit = limit
        self.devices: list[Device] = []

    def takes(self, kind: str) -> bool:
        """Whether devices for a bus of this kind fit."""
        return kind == self.type or kind in self.kinds

    @property
    def full(self) -> bool:
        """Whether the bus takes no further device."""
        return bool(self.limit) and len(self.devices) >= self.limit

    def plug(self, device: Device, addr: str = "") -> None:
        """Take a device, at `addr` where the bus has addresses (text of the property ``addr``); DeviceError."""
        if self.full:
            raise DeviceError(f"Bus '{self.name}' is full")
        if addr:
            raise DeviceError(f"Property '{device.type_name}.addr' not found")
        device.parent_bus = self
        self.devices.append(device)

    def unplug(self, device: Device) -> None:
        """Remove a device from the bus."""
        self.devices.remove(device)
        device.parent_bus = None

    def path_of(self, device: Device) -> str:  # noqa: ARG002 - for buses with addresses
        """The part before ``/`` in section names of a device on this bus."""
        return ""

    def __repr__(self) -> str:
        return f"<{self.type} bus {self.name}>"

# SPDX-License-Identifier: Apache-2.0
"""`virtio-rng`: entropy for the guest. Its state is that of its one queue."""

from __future__ import annotations

from typing import ClassVar

from migmatrix.emulator.devices.virtio.device import VirtIODevice, backend
from migmatrix.emulator.devices.virtio.transport import VirtIOPCI, variants
from migmatrix.emulator.errors import DeviceError
from migmatrix.emulator.properties import LINK, STRING, UINT32, UINT64, Property

__all__ = ["RNG"]


class RNG(VirtIODevice):
    """Entropy: one queue, no config."""

    type_name = "virtio-rng-device"
    virtio_id = 4
    properties: ClassVar[tuple[Property, ...]] = (
        Property("rng", LINK, None),
        Property("max-bytes", UINT64, (1 << 63) - 1),
        Property("period", UINT32, 1 << 16),
    )
    vmstate = backend("virtio-rng", 1)

    def check(self) -> None:
        """A rate is at least one request a period."""
        if self.props["period"] < 1:
            raise DeviceError("'period' parameter expects a positive integer")
        if self.props["max-bytes"] >= 1 << 63:
            least = self.proxy.trait("max-bytes-least")
            raise DeviceError(f"'max-bytes' parameter must be {least}, and less than 2^63")

    def queue_sizes(self) -> tuple[int, ...]:
        """Requests."""
        return (8,)


class RNGPCI(VirtIOPCI):
    """7.2 gave it interrupts of its own, and told only one of its three names that old machines have none."""

    type_name = "virtio-rng-pci-base"
    abstract = True
    backend_type = "virtio-rng-device"
    legacy_number = 5
    traits: ClassVar[tuple[Property, ...]] = (
        Property("vectors-default", UINT32, 0, changes=(("7.1.50", 2),)),
        Property(
            "max-bytes-least", STRING, "non-negative", changes=(("8.0", "positive"),)
        ),  # after 7.2.22, by 10.0.13
    )


VirtioRngPci, VirtioRngPciTransitional, VirtioRngPciNonTransitional = variants(RNGPCI, "virtio-rng-pci")

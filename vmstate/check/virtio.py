# SPDX-License-Identifier: Apache-2.0
"""The beginning of a virtio PCI device's ``virtio`` field: the values that loaders check.

The VM description only tells the field's length. Layout, all versions from 5.2 to 11.1 (big-endian): the PCI
device (version, config space of 256 or 4096 bytes, 16 bytes of interrupt state, from version 2 on), MSI-X
table and pending bits and one vector if there is an MSI-X capability, then the common part: status, isr,
queue selector, features, the device's config, the number of queues and for each its size, ring address and
index, with a vector each if there is MSI-X.
"""

from __future__ import annotations

from typing import Final

from migmatrix.vmstate.device.source import BytesSource
from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.pci import ConfigSpace

__all__ = ["VirtioPci", "read_virtio_pci"]

_STANDARD: Final = 256
_EXPRESS_SPACE: Final = 4096
_EXPRESS, _MSIX = 0x10, 0x11  # capability ids
_IRQ_STATE: Final = 16
_MAX_QUEUES: Final = 1024
_VERSIONS: Final = (1, 2)  # of the PCI device's own description


class VirtioPci(Record):
    """The PCI config space, the guest's features and where they begin in the field, and a ring size per queue."""

    config: bytes
    features: int
    features_offset: int
    sizes: tuple[int, ...]


def read_virtio_pci(raw: bytes) -> VirtioPci | None:
    """None for bytes of another form (a virtio device on another bus)."""
    reader = _Reader(raw)
    version = reader.number(4)
    if version not in _VERSIONS:
        return None
    config = reader.config()
    reader.skip(_IRQ_STATE if version > 1 else 0)
    msix = reader.msix(config)
    reader.skip(1 + 1 + 2)
    features_offset = reader.source.offset
    features = reader.number(4)
    reader.skip(reader.number(4))
    queues = reader.number(4)
    if queues > _MAX_QUEUES:
        return None
    sizes = tuple(reader.queue(msix) for _ in range(queues))
    return None if reader.short else VirtioPci(config, features, features_offset, sizes)


class _Reader:
    """Gives nothing beyond the end, which reads as 0; `short` says that it did."""

    def __init__(self, raw: bytes) -> None:
        self.source = BytesSource(raw)
        self.short = False

    def take(self, count: int) -> bytes:
        data = bytes(self.source.take(count))
        self.short |= len(data) < count
        return data

    def skip(self, count: int) -> None:
        self.take(count)

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def config(self) -> bytes:
        """A function with an express capability has the long space."""
        ids = {capability.id for capability in ConfigSpace(self.source.peek(_STANDARD)).capabilities}
        return self.take(_EXPRESS_SPACE if _EXPRESS in ids else _STANDARD)

    def msix(self, config: bytes) -> bool:
        """Skip the MSI-X state; whether there is one."""
        space = ConfigSpace(config)
        found = next((c for c in space.capabilities if c.id == _MSIX and not c.extended), None)
        if found is None:
            return False
        vectors = (space.read(found.offset + 2, 2) & 0x7FF) + 1
        self.skip(vectors * 16 + (vectors + 7) // 8 + 2)
        return True

    def queue(self, msix: bool) -> int:
        size = self.number(4)
        self.skip(8 + 2 + (2 if msix else 0))
        return size

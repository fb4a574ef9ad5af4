# SPDX-License-Identifier: Apache-2.0
"""The beginning of a virtio PCI device's ``virtio`` field: the values that loaders check.

The VM description only tells the field's length. Layout, all versions from 5.2 to 11.1 (big-endian): the PCI
device (version, config space of 256 or 4096 bytes, 16 bytes of interrupt state, from version 2 on), MSI-X
table and pending bits and one vector if there is an MSI-X capability, then the common part: status, isr,
queue selector, features, the device's config, the number of queues and for each its size, ring address and
index, with a vector each if there is MSI-X.
"""

from __future__ import annotations

import re
from typing import Final

from migmatrix.vmstate.device.source import BytesSource
from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.pci import ConfigSpace

__all__ = ["USE", "VirtioPci", "adds_by_use", "read_virtio_pci"]

USE: Final = frozenset(
    [
        "virtio/64bit_features",
        "virtio/broken",
        "virtio/device_endian",
        "virtio/disabled",
        "virtio/extra_state",
        "virtio/packed_virtqueues",
        "virtio/ringsize",
        "virtio/started",
        "virtio/virtqueues",
        "virtio_pci/modern_state",
    ]
)
"""Subsections of the common part that QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 all hold (in Debian's programs)."""

_STANDARD: Final = 256
_EXPRESS_SPACE: Final = 4096
_EXPRESS, _MSIX = 0x10, 0x11  # capability ids
_IRQ_STATE: Final = 16
_MAX_QUEUES: Final = 1024
_NAME: Final = re.compile(rb"virtio[a-z0-9_-]*/[a-z0-9_]+")
_MACS: Final = (
    6 + 4 + 4 + 2 + 1 + 1
)  # bytes before the count of filtered addresses: address, ring, header, status, modes
_VERSIONS: Final = (1, 2)  # of the PCI device's own description


class VirtioPci(Record):
    """The PCI config space, the guest's features and where they begin in the field, and a ring size per queue.

    `rest` is what follows the queues: the device's own, then subsections.
    """

    config: bytes
    features: int
    features_offset: int
    sizes: tuple[int, ...]
    rest: bytes


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
    if reader.short:
        return None
    return VirtioPci(config, features, features_offset, sizes, raw[reader.source.offset :])


def adds_by_use(sent: bytes, here: bytes, *, net: bool) -> bool:
    """Whether all that a field has more or less than the destination's own comes from a guest that drives the device.

    Such are subsections in `USE`, and the addresses that a network device (`net`) filters; for no more queues.
    """
    ours, theirs = read_virtio_pci(sent), read_virtio_pci(here)
    if (ours is None) != (theirs is None):
        return False
    if ours is not None and theirs is not None:
        if len(ours.sizes) > len(theirs.sizes):
            return False
        sent, here = ours.rest, theirs.rest
    known = USE | set(_subsections(here))
    return _own(sent, net=net) == _own(here, net=net) and known.issuperset(_subsections(sent))


def _subsections(raw: bytes) -> dict[str, int]:
    """Name and place of each subsection, in order; the description does not tell them, so that their form does."""
    found: dict[str, int] = {}
    for mark in re.finditer(rb"\x05(?=[^\0])", raw):
        name = raw[mark.end() + 1 : mark.end() + 1 + raw[mark.end()]]
        if _NAME.fullmatch(name):
            found.setdefault(name.decode(), mark.start())
    return found


def _own(rest: bytes, *, net: bool) -> int:
    """Bytes of the device's own part, without what depends on the guest."""
    size = next(iter(_subsections(rest).values()), len(rest))
    return size - 6 * int.from_bytes(rest[_MACS : _MACS + 4]) if net else size


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

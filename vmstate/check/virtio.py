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
from migmatrix.vmstate.view.opaque import expand
from migmatrix.vmstate.view.pci import ConfigSpace

__all__ = ["USE", "VirtioPci", "adds_by_use", "read_virtio_pci"]

USE: Final = frozenset(
    [
        "virtio-balloon-device/free-page-report",
        "virtio-net-device/rss",
        "virtio/64bit_features",
        "virtio/broken",
        "virtio/device_endian",
        "virtio/disabled",
        "virtio/extra_state",
        "virtio/packed_virtqueues",
        "virtio/ringsize",
        "virtio/started",
        "virtio/virtqueues",
        "virtio_mmio/state",
        "virtio_pci/modern_state",
    ]
)
"""Subsections of the device and of the common part that QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3 all hold (in Debian's programs)."""

_STANDARD: Final = 256
_EXPRESS_SPACE: Final = 4096
_EXPRESS, _MSIX = 0x10, 0x11  # capability ids
_IRQ_STATE: Final = 16
_MAX_QUEUES: Final = 1024
_NAME: Final = re.compile(rb"virtio[a-z0-9_-]*/[a-z0-9_]+")
_MACS: Final = (
    6 + 4 + 4 + 2 + 1 + 1
)  # bytes before the count of filtered addresses: address, ring, header, status, modes
_MAC: Final = 6
_CHOOSES_OFFLOADS: Final = 1 << 2  # VIRTIO_NET_F_CTRL_GUEST_OFFLOADS
_OFFLOADS: Final = 8  # bytes
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


def adds_by_use(sent: bytes, here: bytes, idstr: str) -> bool:
    """Whether all that a field has more or less than the destination's own comes from a guest that drives the device.

    Such are subsections in `USE`, and of a network device the addresses that it filters and the offloads that the
    guest chose; for no more queues. The path of the section tells the bus.
    """
    ours, theirs = _device(sent, idstr), _device(here, idstr)
    if ours is None or theirs is None or ours.queues > theirs.queues:
        return False
    known = USE | set(_subsections(theirs.rest))
    net = idstr.endswith("virtio-net")
    return _own(ours, net=net) == _own(theirs, net=net) and known.issuperset(_subsections(ours.rest))


class _Device(Record):
    """Number of queues, the guest's features, and the device's own part with what follows."""

    queues: int
    features: int
    rest: bytes


def _device(raw: bytes, idstr: str) -> _Device | None:
    if (pci := read_virtio_pci(raw)) is not None:
        return _Device(len(pci.sizes), pci.features, pci.rest)
    parts = {part.name: part for part in expand("virtio", raw, idstr)}
    if "queues" not in parts:
        return None
    numbers = {name: part.value for name, part in parts.items() if isinstance(part.value, int)}
    last = max(
        (p for n, p in parts.items() if n == "queues" or n.startswith("queue[")), key=lambda p: p.offset
    )
    return _Device(numbers["queues"], numbers["guest_features_low"], raw[last.offset + last.size :])


def _subsections(raw: bytes) -> dict[str, int]:
    """Name and place of each subsection, in order; the description does not tell them, so that their form does."""
    found: dict[str, int] = {}
    for mark in re.finditer(rb"\x05(?=[^\0])", raw):
        name = raw[mark.end() + 1 : mark.end() + 1 + raw[mark.end()]]
        if _NAME.fullmatch(name):
            found.setdefault(name.decode(), mark.start())
    return found


def _own(device: _Device, *, net: bool) -> int:
    """Bytes of the device's own part, without what depends on the guest."""
    size = next(iter(_subsections(device.rest).values()), len(device.rest))
    if not net:
        return size
    offloads = _OFFLOADS if device.features & _CHOOSES_OFFLOADS else 0
    return size - offloads - _MAC * int.from_bytes(device.rest[_MACS : _MACS + 4])


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

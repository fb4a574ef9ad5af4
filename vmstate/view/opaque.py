# SPDX-License-Identifier: Apache-2.0
"""Opaque fields whose layout is known: virtio state of PCI and MMIO devices, PCI interrupt lines.

A VM description gives only their total size. `expand(kind, raw, idstr)` gives named parts, or nothing when
the bytes have another form; parts cover the bytes without gaps, so that a comparison of parts is a comparison
of the bytes. Only for display and comparison: no reader finds the end of a payload with it.

Source: QEMU `hw/virtio/virtio.c`, `virtio-pci.c` and `virtio-mmio.c` there for the order of the parts,
checked on streams of QEMU 5.2.0 to 11.1.3.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.pci import ConfigSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = ["Part", "expand"]

_EXPRESS, _MSIX = 0x10, 0x11  # capability ids
_PCI_PATH: Final = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:")
_MMIO_PATH: Final = "virtio-mmio@"
_SUBSECTION: Final = re.compile(rb"\x05([\x08-\x40])(virtio/[a-z0-9_]+)")
_MAX_QUEUES: Final = 1024
_QUEUES: Final = {
    "virtio/virtqueues": (("avail", 8), ("used", 8)),
    "virtio/ringsize": (("num_default", 4),),
    "virtio/packed_virtqueues": (
        *(("last_avail_idx", 2), ("last_avail_wrap_counter", 1)),
        *(("used_idx", 2), ("used_wrap_counter", 1), ("inuse", 4)),
    ),
}  # fields of each queue, and their bytes


class Part(Record):
    """A named part; `kind` as in a VM description, `offset` and `size` in bytes of the field."""

    name: str
    kind: str
    offset: int
    size: int
    value: int | bytes


class _Cursor:
    """Takes parts one after the other; IndexError when the bytes end before."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.at = 0

    def number(self, name: str, size: int) -> Part:
        part = self.buffer(name, size)
        value = int.from_bytes(self.raw[part.offset : self.at])
        return Part(name, f"uint{size * 8}", part.offset, size, value)

    def buffer(self, name: str, size: int, kind: str = "buffer") -> Part:
        start, self.at = self.at, self.at + size
        if self.at > len(self.raw):
            raise IndexError(name)
        return Part(name, kind, start, size, self.raw[start : self.at])


def expand(kind: str, raw: bytes, idstr: str) -> tuple[Part, ...]:
    """Named parts of an opaque field of section `idstr`; empty when its layout is unknown."""
    if kind == "pci irq state" and len(raw) % 4 == 0:
        return tuple(_lines(raw))
    walk = _virtio_walk(idstr) if kind == "virtio" else None
    try:
        return () if walk is None else tuple(walk(_Cursor(raw)))
    except IndexError:
        return ()


def _virtio_walk(idstr: str) -> Callable[[_Cursor], Iterator[Part]] | None:
    """By the bus that the path of the section begins with."""
    if _PCI_PATH.match(idstr):
        return _virtio_pci
    return _virtio_mmio if idstr.startswith(_MMIO_PATH) else None


def _lines(raw: bytes) -> Iterator[Part]:
    cursor = _Cursor(raw)
    for name in range(len(raw) // 4):
        yield cursor.number(f"line[{name}]", 4)


def _virtio_mmio(cursor: _Cursor) -> Iterator[Part]:
    for name in ("host_features_sel", "guest_features_sel", "guest_page_shift"):
        yield cursor.number(f"mmio.{name}", 4)
    queues = yield from _common(cursor, align=True)
    yield from _rest(cursor, queues)


def _virtio_pci(cursor: _Cursor) -> Iterator[Part]:
    yield cursor.number("pci.version_id", 4)
    space = ConfigSpace(cursor.raw[4 : 4 + 256])
    capabilities = {c.id: c.offset for c in space.capabilities}
    yield cursor.buffer("pci.config", 4096 if _EXPRESS in capabilities else 256, "pci config")
    yield cursor.buffer("pci.irq_state", 16)
    msix = _MSIX in capabilities
    if msix:
        vectors = (space.read(capabilities[_MSIX] + 2, 2) & 0x7FF) + 1
        yield cursor.buffer("msix.table", vectors * 16)
        yield cursor.buffer("msix.pending", -(-vectors // 8))
        yield cursor.number("config_vector", 2)
    queues = yield from _common(cursor, vectors=msix)
    yield from _rest(cursor, queues)


def _common(cursor: _Cursor, *, align: bool = False, vectors: bool = False) -> Generator[Part, None, int]:
    """The part that all buses have; the number of queues."""
    yield cursor.number("status", 1)
    yield cursor.number("isr", 1)
    yield cursor.number("queue_sel", 2)
    yield cursor.number("guest_features_low", 4)
    length = cursor.number("config_len", 4)
    yield length
    yield cursor.buffer("config", int(length.value))
    queues = cursor.number("queues", 4)
    yield queues
    if int(queues.value) > _MAX_QUEUES:
        raise IndexError("queues")
    for i in range(int(queues.value)):
        yield cursor.number(f"queue[{i}].num", 4)
        if align:
            yield cursor.number(f"queue[{i}].align", 4)
        yield cursor.number(f"queue[{i}].desc", 8)
        yield cursor.number(f"queue[{i}].last_avail", 2)
        if vectors:
            yield cursor.number(f"queue[{i}].vector", 2)
    return int(queues.value)


def _rest(cursor: _Cursor, queues: int) -> Iterator[Part]:
    """The device's own state up to the first subsection of the virtio layer, then these."""
    marks = [m for m in _SUBSECTION.finditer(cursor.raw, cursor.at) if m[1][0] <= len(m[2])]
    ends = [*(m.start() for m in marks), len(cursor.raw)]
    if ends[0] > cursor.at:
        yield cursor.buffer("device", ends[0] - cursor.at)
    for mark, end in zip(marks, ends[1:], strict=True):
        name = mark[2][: mark[1][0]].decode("ascii")
        yield cursor.buffer(f"/{name}.head", 2 + len(name) + 4)
        yield from _subsection(cursor, name, end - cursor.at, queues)


def _subsection(cursor: _Cursor, name: str, size: int, queues: int) -> Iterator[Part]:
    """What a subsection holds for each queue, of those that the device has; the others' in one piece."""
    fields = _QUEUES.get(name, ())
    each = sum(width for _, width in fields)
    if not fields or size < each * queues:
        yield cursor.buffer(f"/{name}", size)
        return
    for i in range(queues):
        for field, width in fields:
            yield cursor.number(f"/{name}[{i}].{field}", width)
    if size > each * queues:
        yield cursor.buffer(f"/{name}.unused", size - each * queues)

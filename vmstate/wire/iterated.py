# SPDX-License-Identifier: Apache-2.0
"""Iterated sections other than `ram`: records that tell their own lengths.

`walk(start, page_size)` walks the payload of one START, PART or END section, as a delimiter does for a device. The VM
description does not name these sections. Formats, from the loaders in QEMU's sources:

* `dirty-bitmap` (`migration/block-dirty-bitmap.c`): flags of 1, 2 or 4 bytes, the names they announce, then a start (u32
  granularity, u8 flags), bits (u64 sector, u32 sectors and, unless all are zero, a u64 length and the bytes), or nothing.
* `block` (`migration/block.c`, up to 8.2): u64 of a sector and flags; a block has the name of its device and 1 MiB.
* `spapr/htab` (`hw/ppc/spapr.c`): u32; 0 begins records (u32 index, u16 valid, u16 invalid, 16 bytes per valid
  entry) up to one of zeros, any other value (the size of the table, or -1 for no table) stands alone.
* `s390-storage_attributes` (`hw/s390x/s390-stattrib.c`): u64 of an address and flags; more data has a u64 length.
* `.../vfio` (`hw/vfio/migration.c`; no capture has one): u64 words, one of which is followed by a u64 length and data.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import SectionStart

__all__ = ["BITMAP", "BLOCK", "HTAB", "STORAGE", "DirtyFlag", "walk"]

_Walk = Generator[tuple[int, int], bytes, int]

BITMAP: Final = "dirty-bitmap"
BLOCK: Final = "block"
HTAB: Final = "spapr/htab"
STORAGE: Final = "s390-storage_attributes"
_VFIO: Final = "/vfio"

BLOCK_SIZE: Final = 1 << 20
SECTOR: Final = 512
HTAB_ENTRY: Final = 16
_VFIO_END, _VFIO_DATA = 0xFFFFFFFFEF100001, 0xFFFFFFFFEF100004
_VFIO_WORDS: Final = range(_VFIO_END, _VFIO_END + 6)


class DirtyFlag:
    """Flags of a dirty-bitmap record."""

    EOS = 0x01
    ZEROES = 0x02
    BITMAP_NAME = 0x04
    DEVICE_NAME = 0x08
    START = 0x10
    COMPLETE = 0x20
    BITS = 0x40
    EXTRA = 0x80  # one more byte, or three


class BlockFlag:
    """Flags of a word of block migration."""

    DEVICE = 0x01
    EOS = 0x02
    PROGRESS = 0x04
    ZERO = 0x08


class StorageFlag:
    """Flags of a word of storage attributes."""

    EOS = 0x01
    MORE = 0x02
    DONE = 0x08


def walk(start: SectionStart, page_size: int) -> _Walk | None:
    """A walk over the payload of an iterated section; None when its format is not known."""
    if start.idstr == STORAGE:
        return _storage(page_size)
    known = _WALKS.get(_VFIO if start.idstr.endswith(_VFIO) else start.idstr)
    return None if known is None else known()


def _number(at: int, size: int) -> Generator[tuple[int, int], bytes, int]:
    return int.from_bytes((yield at, size))


def _dirty_bitmap() -> _Walk:
    at = flags = 0
    while not flags & DirtyFlag.EOS:
        flags, at = yield from _dirty_flags(at)
        for name in (DirtyFlag.DEVICE_NAME, DirtyFlag.BITMAP_NAME):
            if flags & name:
                at += 1 + (yield from _number(at, 1))
        if flags & DirtyFlag.START:
            at += 5
        elif flags & DirtyFlag.BITS:
            at += 12
            if not flags & DirtyFlag.ZEROES:
                at += 8 + (yield from _number(at, 8))
        elif not flags & (DirtyFlag.COMPLETE | DirtyFlag.EOS):
            raise StreamError(at, BITMAP, "known record flags", f"found {flags:#x}")
    return at


def _dirty_flags(at: int) -> Generator[tuple[int, int], bytes, tuple[int, int]]:
    flags = yield from _number(at, 1)
    size = 1
    while flags & DirtyFlag.EXTRA and size < 4:  # noqa: PLR2004 - at most 4 bytes
        flags, size = (yield from _number(at, size * 2)), size * 2
    return flags, at + size


def _block() -> _Walk:
    at = word = 0
    while not word & BlockFlag.EOS:
        word = yield from _number(at, 8)
        at += 8
        if word & BlockFlag.DEVICE:
            at += 1 + (yield from _number(at, 1))
            at += 0 if word & BlockFlag.ZERO else BLOCK_SIZE
        elif not word & (BlockFlag.PROGRESS | BlockFlag.EOS):
            raise StreamError(at - 8, BLOCK, "known record flags", f"found {word % SECTOR:#x}")
    return at


def _htab() -> _Walk:
    if (yield from _number(0, 4)):
        return 4
    at, record = 4, b"-"
    while any(record):
        record = yield at, 8
        at += 8 + HTAB_ENTRY * int.from_bytes(record[4:6])
    return at


def _storage(page_size: int) -> _Walk:
    at = flags = 0
    while flags != StorageFlag.EOS:
        flags = (yield from _number(at, 8)) % page_size
        at += 8
        if flags == StorageFlag.MORE:
            at += 8 + (yield from _number(at, 8))
        elif flags not in (StorageFlag.DONE, StorageFlag.EOS):
            raise StreamError(at - 8, STORAGE, "known record flags", f"found {flags:#x}")
    return at


def _vfio() -> _Walk:
    at = word = 0
    while word != _VFIO_END:
        word = yield from _number(at, 8)
        at += 8
        if word == _VFIO_DATA:
            at += 8 + (yield from _number(at, 8))
        elif word not in _VFIO_WORDS:
            raise StreamError(at - 8, "vfio", "a known word", f"found {word:#x}")
    return at


_WALKS: Final[dict[str, Callable[[], _Walk]]] = {
    BITMAP: _dirty_bitmap,
    BLOCK: _block,
    HTAB: _htab,
    _VFIO: _vfio,
}

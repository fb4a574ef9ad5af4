# SPDX-License-Identifier: Apache-2.0
"""Records of a RAM section.

A run of like pages is one event, and so is a stretch of short runs: a gigabyte is a few hundred objects, however its
pages are mixed.

Each record starts with a word, page offset | flags (`constants.RamFlag`). `named` says that the (first)
record carries the block's name; without it the record has the CONTINUE flag. Offsets and sizes are in bytes.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.events import pstr

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.vmstate.wire.window import Buffer

__all__ = [
    "MappedData",
    "MappedHeader",
    "PageMix",
    "PageRun",
    "RamBlock",
    "RamCompressed",
    "RamMark",
    "RamTotal",
    "RamXbzrle",
    "page_records",
    "zero_records",
]

_WORD: Final = struct.Struct(">Q")
_CONTENT: Final = int(RamFlag.PAGE)


class RamTotal(Record):
    """First word of a RAM section's setup: the sum of the lengths of the blocks that follow."""

    total: int
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">Q", self.total | int(RamFlag.MEM_SIZE))


class RamBlock(Record):
    """One entry of the block list.

    Only blocks of huge pages have `page_size`, with postcopy; `address` (guest physical) comes with
    x-ignore-shared.
    """

    name: str
    used_length: int
    page_size: int | None = None
    address: int | None = None
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        extra = [v for v in (self.page_size, self.address) if v is not None]
        return pstr(self.name) + struct.pack(f">{1 + len(extra)}Q", self.used_length, *extra)


class MappedHeader(Record):
    """Header after each block list entry of a mapped-ram file; offsets count from the file's start.

    With x-ignore-shared those of a shared block are 0, and the file has neither its bitmap nor its pages.
    """

    version: int
    page_size: int
    bitmap_offset: int
    pages_offset: int
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">IQQQ", self.version, self.page_size, self.bitmap_offset, self.pages_offset)

    @property
    def shared(self) -> bool:
        """True for a block whose memory is not in the file."""
        return not self.bitmap_offset and not self.pages_offset


class MappedData(Record):
    """Bytes of a mapped-ram file outside of the stream's order.

    `part` is ``bitmap`` (little-endian u64 words, bit set = page present), ``gap`` (padding up to the pages)
    or ``pages`` (all pages of the block; holes where the bit is clear). `start` is the offset in the part:
    a part comes in several events when its input comes in pieces.
    """

    block: str
    part: str
    start: int
    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)


class PageRun(Record):
    """`count` pages of `block` at ascending offsets from `first`, all with content or all with fill 0.

    `raw` holds the records in their wire form. `kind` is ``PAGE`` or ``ZERO``.
    """

    block: str
    first: int
    count: int
    kind: RamFlag
    page_size: int
    named: bool
    raw: Buffer
    fill: int = 0
    offset: int = field(default=-1, compare=False)

    @property
    def lead(self) -> int:
        """Bytes of `raw` before the body of the first page."""
        return 8 + (1 + len(self.block) if self.named else 0)

    @property
    def stride(self) -> int:
        """Bytes from one body to the next."""
        return 8 + (self.page_size if self.kind is RamFlag.PAGE else 1)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)

    def pages(self) -> Iterator[tuple[int, memoryview]]:
        """(offset in the block, body) of each page; the body of a zero page is its fill byte."""
        view, size = memoryview(self.raw), self.stride - 8
        for i in range(self.count):
            at = self.lead + i * self.stride
            yield self.first + i * self.page_size, view[at : at + size]


class PageMix(Record):
    """`count` pages of `block` at ascending offsets from `first` to below `end`, in short runs.

    `content` of them have content, the others fill 0. `raw` holds the records in their wire form; all but the first
    have the CONTINUE flag.
    """

    block: str
    first: int
    end: int
    count: int
    content: int
    page_size: int
    named: bool
    raw: Buffer
    offset: int = field(default=-1, compare=False)

    @property
    def lead(self) -> int:
        """Bytes of `raw` before the body of the first page."""
        return 8 + (1 + len(self.block) if self.named else 0)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)

    def runs(self) -> Iterator[PageRun]:
        """The same pages as runs of like ones at adjacent offsets."""
        start, named, last = 0, self.named, -1
        kind, first, count = RamFlag.PAGE, self.first, 0
        for at, word in self._words():
            page, this = word & -self.page_size, RamFlag.PAGE if word & _CONTENT else RamFlag.ZERO
            if count and (this is not kind or page != last + self.page_size):
                yield self._part(first, count, kind, start, at, named)
                start, named, count = at, False, 0
            if not count:
                first, kind = page, this
            last, count = page, count + 1
        yield self._part(first, count, kind, start, len(self.raw), named)

    def _words(self) -> Iterator[tuple[int, int]]:
        """Where each record begins in `raw`, and its word."""
        at, view, more = 0, memoryview(self.raw), self.lead - 8
        while at < len(view):
            (word,) = _WORD.unpack_from(view, at)
            yield at, word
            at += 8 + more + (self.page_size if word & _CONTENT else 1)
            more = 0

    def _part(self, first: int, count: int, kind: RamFlag, start: int, stop: int, named: bool) -> PageRun:
        raw, offset = self.raw[start:stop], self.offset + start
        return PageRun(self.block, first, count, kind, self.page_size, named, raw, 0, offset)


class RamXbzrle(Record):
    """One page as a difference from its former content (`vmstate.view.ramimage.xbzrle_decode`)."""

    block: str
    address: int
    named: bool
    encoding: int
    delta: Buffer
    offset: int = field(default=-1, compare=False)
    flag: ClassVar[RamFlag] = RamFlag.XBZRLE

    def encode(self) -> bytes:
        """The bytes on the wire."""
        head = _page_head(self.block, self.address, self.flag, self.named)
        return head + struct.pack(">BH", self.encoding, len(self.delta)) + bytes(self.delta)


class RamCompressed(Record):
    """One page, zlib-compressed (up to QEMU 8.2)."""

    block: str
    address: int
    named: bool
    data: Buffer
    offset: int = field(default=-1, compare=False)
    flag: ClassVar[RamFlag] = RamFlag.COMPRESS_PAGE

    def encode(self) -> bytes:
        """The bytes on the wire."""
        head = _page_head(self.block, self.address, self.flag, self.named)
        return head + struct.pack(">I", len(self.data)) + bytes(self.data)


class RamMark(Record):
    """A word without a page: EOS, MULTIFD_FLUSH or HOOK (RDMA), with whatever offset it carries."""

    word: int
    offset: int = field(default=-1, compare=False)

    @property
    def flag(self) -> RamFlag:
        """EOS, MULTIFD_FLUSH or HOOK."""
        return RamFlag(self.word & 0x3FF & ~int(RamFlag.CONTINUE))

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">Q", self.word)


def _page_head(block: str, address: int, flag: int, named: bool) -> bytes:
    word = struct.pack(">Q", address | int(flag) | (0 if named else int(RamFlag.CONTINUE)))
    return word + pstr(block) if named else word


def page_records(block: str, first: int, pages: Sequence[Buffer], named: bool = True) -> PageRun:
    """A run of pages with content, for a writer; all are of one size, the page size."""
    size = len(pages[0])
    raw = b"".join(
        _page_head(block, first + i * size, RamFlag.PAGE, named and not i) + bytes(page)
        for i, page in enumerate(pages)
    )
    return PageRun(block, first, len(pages), RamFlag.PAGE, size, named, raw)


def zero_records(block: str, first: int, count: int, page_size: int, named: bool = True) -> PageRun:
    """A run of `count` zero pages, for a writer."""
    raw = b"".join(
        _page_head(block, first + i * page_size, RamFlag.ZERO, named and not i) + b"\0" for i in range(count)
    )
    return PageRun(block, first, count, RamFlag.ZERO, page_size, named, raw)

# SPDX-License-Identifier: Apache-2.0
"""Guest memory of a stream in address order, for digests and comparisons.

Rules:
1. A later record of a page replaces an earlier one; XBZRLE changes the page that was there.
2. A page that is absent, a zero record and a page of zero bytes are the same content.
3. Pages stay in the caller's buffer. Memory grows with the number of records, never with the sizes they
   claim; an XBZRLE page exists only while a caller looks at it.
4. Runs that do not overlap (a stopped guest: all of them) stay whole.
5. Functions import what only some contents need: a program that counts pages pays for none.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from typing import TYPE_CHECKING, Final, TypeVar

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, replace
from migmatrix.vmstate.wire.constants import PAGE_SIZE, RamFlag
from migmatrix.vmstate.wire.ramevents import (
    MappedData,
    MappedHeader,
    PageMix,
    PageRun,
    RamBlock,
    RamCompressed,
    RamXbzrle,
    page_records,
)
from migmatrix.vmstate.wire.window import same

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import Event

__all__ = ["BlockImage", "Difference", "RamImage", "differ", "differing_runs", "unpacked", "xbzrle_decode"]

_T = TypeVar("_T")
_CHUNK: Final = 64  # records compared at once: they fit the processor's cache
_LONGEST: Final = 1024  # pages in one slice

Release = Callable[[int, int], None]
"""Hears the stream offsets of bytes that nobody needs at the moment, to give mapped memory back."""


def _keep(_start: int, _end: int) -> None:
    """Give nothing back."""


class _Layer(Record):
    """One page's XBZRLE or compressed record over the page before it."""

    event: RamXbzrle | RamCompressed
    below: _Entry | None


class Slice(Record):
    """`count` pages with content from page number `page`; body of the first at `at` of `raw`.

    `offset` is that of `raw` in the stream.
    """

    page: int
    count: int
    raw: memoryview
    at: int
    stride: int
    size: int
    offset: int

    def body(self, index: int) -> memoryview:
        """View of page `page` + `index`."""
        start = self.at + index * self.stride
        return self.raw[start : start + self.size]

    def tail(self, index: int) -> Slice:
        """The same without the first `index` pages."""
        at = self.at + index * self.stride
        page, count = self.page + index, self.count - index
        return Slice(page, count, self.raw, at, self.stride, self.size, self.offset)

    @property
    def extent(self) -> tuple[int, int]:
        """Stream offsets of its first byte and of its end."""
        start = self.offset + self.at
        return start, start + self.count * self.stride


_Pages = PageRun | PageMix | RamXbzrle | RamCompressed
_Entry = tuple[Slice, int] | _Layer | None
Piece = Slice | tuple[int, bytes]


def xbzrle_decode(old: bytes, delta: bytes | memoryview, offset: int = 0) -> bytes:
    """Apply an XBZRLE delta to a page: alternating ULEB128 lengths of unchanged and new bytes.

    StreamError (at `offset`) when the delta does not fit the page. Source: QEMU `docs/xbzrle.txt`.
    """
    page, at, i, data = bytearray(old), 0, 0, bytes(delta)
    while i < len(data):
        skip, i = _uleb(data, i, offset)
        literal, i = _uleb(data, i, offset)
        at += skip
        if not literal or i + literal > len(data) or at + literal > len(page):
            raise StreamError(offset, "xbzrle", f"a run within {len(page)} bytes", f"found {literal}")
        page[at : at + literal] = data[i : i + literal]
        at, i = at + literal, i + literal
    return bytes(page)


def _uleb(data: bytes, i: int, offset: int) -> tuple[int, int]:
    """ULEB128 of at most two bytes, as QEMU writes them, and the index after it."""
    chunk = data[i : i + 2]
    if not chunk or (chunk[0] & 0x80 and (len(chunk) < 2 or chunk[1] & 0x80)):  # noqa: PLR2004
        raise StreamError(offset, "xbzrle", "a length of one or two bytes", f"found {chunk!r}")
    if chunk[0] & 0x80:
        return (chunk[0] & 0x7F) | chunk[1] << 7, i + 2
    return chunk[0], i + 1


def _resolve(entry: _Entry, size: int) -> bytes:
    """Content of one page; zero bytes when there is nothing."""
    layers: list[RamXbzrle | RamCompressed] = []
    while isinstance(entry, _Layer):
        layers.append(entry.event)
        entry = entry.below if isinstance(entry.event, RamXbzrle) else None
    page = bytes(size) if entry is None else bytes(entry[0].body(entry[1]))
    for event in reversed(layers):
        page = unpacked(event, page)
    return page


def unpacked(event: RamXbzrle | RamCompressed, page: bytes) -> bytes:
    """The page that a record makes of `page`; StreamError when it is damaged."""
    if isinstance(event, RamXbzrle):
        return xbzrle_decode(page, event.delta, event.offset)
    import zlib  # noqa: PLC0415 - see rule 5

    unpack = zlib.decompressobj()
    try:
        content = unpack.decompress(bytes(event.data), len(page) + 1)
    except zlib.error as error:
        raise StreamError(event.offset, "ram/compressed", "zlib data", f"found {error}") from error
    if len(content) != len(page):
        raise StreamError(event.offset, "ram/compressed", f"{len(page)} bytes", f"found {len(content)}")
    return content


class BlockImage:
    """One RAM block. `records` are page runs and single records in stream order, `counts` pages by kind."""

    def __init__(self, name: str, release: Release = _keep) -> None:
        self.name = name
        self.used_length = 0
        self.page_size = PAGE_SIZE
        self.address: int | None = None
        self.records: list[_Pages] = []
        self.mapped: list[Slice] = []
        self.counts: dict[str, int] = {}
        self.release = release

    def count(self, kind: str, pages: int = 1) -> None:
        """Note `pages` records of `kind`."""
        self.counts[kind] = self.counts.get(kind, 0) + pages

    # -- pages in address order ----------------------------------------------------------------

    def pieces(self, without: Container[int] = ()) -> Iterator[Piece]:
        """Content in address order: slices of whole runs, and (page, bytes) of single pages.

        Records whose `id` is in `without`, and which stand alone, are left out.
        """
        for piece in sorted(self.mapped, key=lambda piece: piece.page):
            yield piece
            self.release(*piece.extent)
        for cluster in _clusters(self._spans()):
            if len(cluster) > 1 or not isinstance(alone := cluster[0], PageRun | PageMix):
                yield from self._painted(cluster)
            elif id(alone) not in without:
                yield from map(_slice, _with_content(alone))
                self.release(alone.offset, alone.offset + len(alone.raw))

    def mixes(self) -> dict[tuple[int, int, int, int], PageMix]:
        """Mixes that share no page with another record, by first page, end, and number of pages of each kind."""
        alone = (cluster[0] for cluster in _clusters(self._spans()) if len(cluster) == 1)
        mixes = (record for record in alone if isinstance(record, PageMix))
        return {(mix.first, mix.end, mix.count, mix.content): mix for mix in mixes}

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """(offset in the block in bytes, content) of every page with a byte other than zero, ascending."""
        zero = bytes(self.page_size)
        for piece in self.pieces():
            if isinstance(piece, Slice):
                bodies = ((piece.page + i, bytes(piece.body(i))) for i in range(piece.count))
            else:
                bodies = iter((piece,))  # type: ignore[assignment]  # one pair as an iterator of pairs
            for page, body in bodies:
                if body != zero:
                    yield page * self.page_size, body

    def digest(self) -> str:
        """Hex SHA-256 of the used length, and of all pages that `pages` gives with their offsets."""
        import hashlib  # noqa: PLC0415 - see rule 5

        hasher = hashlib.sha256(self.used_length.to_bytes(8))
        for offset, body in self.pages():
            hasher.update(offset.to_bytes(8))
            hasher.update(body)
        return hasher.hexdigest()

    def _spans(self) -> list[tuple[int, int, _Pages]]:
        return [(*_span(record, self.page_size), record) for record in self.records]

    def _painted(self, cluster: list[_Pages]) -> Iterator[Piece]:
        """Pages of overlapping records, the latest on top."""
        entries: dict[int, _Entry] = {}
        for record in _single(cluster):
            if isinstance(record, PageRun):
                first = record.first // self.page_size
                run = _slice(record) if record.kind is RamFlag.PAGE else None
                for i in range(record.count):
                    entries[first + i] = (run, i) if run else None
            else:
                page = record.address // self.page_size
                entries[page] = _Layer(record, entries.get(page))
        for page in sorted(entries):
            yield page, _resolve(entries[page], self.page_size)


def _span(record: _Pages, size: int) -> tuple[int, int]:
    """Number of the first page, and of the page after the last one."""
    if isinstance(record, PageRun):
        return record.first // size, record.first // size + record.count
    if isinstance(record, PageMix):
        return record.first // size, record.end // size
    return record.address // size, record.address // size + 1


def _single(records: Iterable[_Pages]) -> Iterator[PageRun | RamXbzrle | RamCompressed]:
    """The same records, with the runs of a mix in its place."""
    for record in records:
        if isinstance(record, PageMix):
            yield from record.runs()
        else:
            yield record


def _with_content(record: PageRun | PageMix) -> Iterator[PageRun]:
    runs = record.runs() if isinstance(record, PageMix) else (record,)
    return (run for run in runs if run.kind is RamFlag.PAGE)


def _filled(run: PageRun) -> PageRun:
    """A page of one byte other than zero as one with content: loaders up to 7.2 take it so."""
    page = bytes((run.fill,)) * run.page_size
    return replace(page_records(run.block, run.first, [page] * run.count, run.named), offset=run.offset)


def _slice(run: PageRun) -> Slice:
    size = run.page_size
    raw = (
        run.raw if isinstance(run.raw, memoryview) else memoryview(run.raw)
    )  # the same one: see _different_pages
    return Slice(run.first // size, run.count, raw, run.lead, run.stride, size, run.offset)


def _clusters(spans: list[tuple[int, int, _T]]) -> Iterator[list[_T]]:
    """Group records whose pages overlap, in address order; inside a group in stream order."""
    order = sorted(range(len(spans)), key=lambda i: spans[i][0])
    group: list[int] = []
    end = 0
    for i in order:
        first, last, _ = spans[i]
        if group and first >= end:
            yield [spans[j][2] for j in sorted(group)]
            group = []
        group.append(i)
        end = max(end, last) if len(group) > 1 else last
    if group:
        yield [spans[j][2] for j in sorted(group)]


class Difference(Record):
    """Pages of a block that differ between two images: how many, and the offset of the first, in bytes."""

    pages: int
    first: int


class RamImage:
    """All blocks of a stream, in the order of its block list."""

    def __init__(self, events: Iterable[Event] = (), release: Release = _keep) -> None:
        self._release = release
        self.blocks: dict[str, BlockImage] = {}
        self._bitmap: list[bytes] = []
        self._page_size = PAGE_SIZE
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Take in one event; ignore those of no RAM section."""
        if isinstance(event, RamBlock):
            block = self._block(event.name)
            block.used_length, block.address = event.used_length, event.address
            self._bitmap = []
        elif isinstance(event, PageRun):
            block = self._block(event.block)
            block.page_size = event.page_size
            block.records.append(_filled(event) if event.fill else event)
            kind = "zero" if event.kind is RamFlag.ZERO else "page"
            block.count("filled" if event.fill else kind, event.count)
        elif isinstance(event, PageMix):
            block = self._block(event.block)
            block.page_size = event.page_size
            block.records.append(event)
            for kind, pages in (("page", event.content), ("zero", event.count - event.content)):
                if pages:
                    block.count(kind, pages)
        elif isinstance(event, RamXbzrle | RamCompressed):
            block = self._block(event.block)
            block.records.append(event)
            block.count("xbzrle" if isinstance(event, RamXbzrle) else "compressed")
        elif isinstance(event, MappedHeader):
            self._page_size = event.page_size
        elif isinstance(event, MappedData):
            self._mapped(event)

    def _block(self, name: str) -> BlockImage:
        return self.blocks.setdefault(name, BlockImage(name, self._release))

    def _mapped(self, event: MappedData) -> None:
        """Cut a block's page area into the runs that its bitmap announces."""
        if event.part == "bitmap":
            self._bitmap.append(bytes(event.raw))
        elif event.part == "pages":
            block = self._block(event.block)
            block.page_size = self._page_size
            for slice_ in _present(event, b"".join(self._bitmap), self._page_size):
                block.mapped.append(slice_)
                block.count("page", slice_.count)


def _present(event: MappedData, bitmap: bytes, size: int) -> Iterator[Slice]:
    """Runs of set bits inside this piece of the page area; the piece must start on a page."""
    if event.start % size:
        raise StreamError(event.offset, f"ram/{event.block}.pages", "whole pages", "found a part of one")
    base, raw = event.start // size, memoryview(event.raw)
    for first, count in _set_runs(bitmap, base, base + len(raw) // size):
        for page in range(first, first + count, _LONGEST):
            pages = min(_LONGEST, first + count - page)
            yield Slice(page, pages, raw, (page - base) * size, size, size, event.offset)


def _set_runs(bitmap: bytes, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(first, count) of runs of one bits in [start, end); bit 0 is the lowest of byte 0."""
    bits = int.from_bytes(bitmap, "little") >> start & (1 << (end - start)) - 1
    text = bin(bits)[:1:-1]  # lowest bit first
    at = text.find("1")
    while at >= 0:
        stop = text.find("0", at)
        stop = len(text) if stop < 0 else stop
        yield start + at, stop - at
        at = text.find("1", stop)


def differ(a: BlockImage, b: BlockImage) -> Difference:
    """Compare the contents of two blocks; zero and absent pages are equal."""
    count, first = 0, 0
    for page in _different(a, b):
        first = page * a.page_size if not count else first
        count += 1
    return Difference(count, first)


def differing_runs(a: BlockImage, b: BlockImage) -> Iterator[tuple[int, int]]:
    """(offset of the first page in bytes, number of pages) of each run of pages that differ."""
    first = count = 0
    for page in _different(a, b):
        if count and page != first + count:
            yield first * a.page_size, count
            count = 0
        first, count = (page, 1) if not count else (first, count + 1)
    if count:
        yield first * a.page_size, count


def _different(a: BlockImage, b: BlockImage) -> Iterator[int]:
    """Numbers of the pages that differ: a merge of both in address order."""
    equal = frozenset(_equal_mixes(a, b))
    left, right, zero = a.pieces(equal), b.pieces(equal), bytes(a.page_size)
    x, y = next(left, None), next(right, None)
    while x is not None or y is not None:
        if isinstance(x, Slice) and isinstance(y, Slice) and x.page == y.page:
            count = min(x.count, y.count)
            yield from _different_pages(x, y, count)
            x, y = _after(x, count, left), _after(y, count, right)
            continue
        px, py = _page(x), _page(y)
        page = min(p for p in (px, py) if p is not None)
        if (_head(x) if px == page else zero) != (_head(y) if py == page else zero):
            yield page
        x = _after(x, 1, left) if px == page else x
        y = _after(y, 1, right) if py == page else y


def _equal_mixes(a: BlockImage, b: BlockImage) -> Iterator[int]:
    """The `id` of mixes that hold the same bytes on both sides: of a fragmented guest, nearly all."""
    ours, theirs = a.mixes(), b.mixes()
    for key in ours.keys() & theirs.keys():
        x, y = ours[key], theirs[key]
        if x.named is y.named and same(x.raw, y.raw):
            yield id(x)
            yield id(y)
        for image, mix in ((a, x), (b, y)):
            image.release(mix.offset, mix.offset + len(mix.raw))


def _different_pages(x: Slice, y: Slice, count: int) -> Iterator[int]:
    """Compare the first `count` pages of two slices that start at the same page, in long pieces if they allow."""
    if x.raw is y.raw and x.at == y.at:  # shared by `vmstate.view.pair`
        return
    for first in range(0, count, _CHUNK):
        last = min(first + _CHUNK, count) - 1
        if x.stride != y.stride or not same(_bodies(x, first, last), _bodies(y, first, last)):
            for i in range(first, last + 1):
                if bytes(x.body(i)) != bytes(y.body(i)):
                    yield x.page + i


def _bodies(piece: Slice, first: int, last: int) -> memoryview:
    """From the body of one page to that of another, with the words between them."""
    start = piece.at + first * piece.stride
    return piece.raw[start : start + (last - first) * piece.stride + piece.size]


def _page(piece: Piece | None) -> int | None:
    if piece is None:
        return None
    return piece.page if isinstance(piece, Slice) else piece[0]


def _head(piece: Piece | None) -> bytes:
    if piece is None:
        return b""
    return bytes(piece.body(0)) if isinstance(piece, Slice) else piece[1]


def _after(piece: Piece | None, count: int, rest: Iterator[Piece]) -> Piece | None:
    """The piece without its first pages, or the next one."""
    if isinstance(piece, Slice) and piece.count > count:
        return piece.tail(count)
    return next(rest, None)

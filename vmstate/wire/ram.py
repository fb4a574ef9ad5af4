# SPDX-License-Identifier: Apache-2.0
"""Reads the payload of RAM sections, and the bare page records of a postcopy-preempt channel.

Rules:
1. A CONTINUE record belongs to the block of the last page record on this channel, in whichever section that
   was.
2. A run holds only pages at ascending, adjacent offsets of one block, of one kind, with the same name rule.
3. Short runs that follow each other in one block at ascending offsets are one `PageMix`, which ends where a long run
   begins, and at each multiple of 4 MiB: so two streams of one guest are cut at the same pages.
4. Offsets must lie in the block list, once one has come; unknown flags are an error, as in QEMU.
5. Work is linear in the input: the reader compares whole batches of words to find a run, each word at most twice.

The configuration section tells of x-ignore-shared and mapped-ram; without one, a zero byte after the first entry of the
block list begins an address of x-ignore-shared. A zero byte after any entry begins the page size of a huge block: no
block name is empty, so that it cannot begin the next entry.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.events import Event
from migmatrix.vmstate.wire.ramevents import (
    MappedData,
    MappedHeader,
    PageMix,
    PageRun,
    RamBlock,
    RamCompressed,
    RamMark,
    RamTotal,
    RamXbzrle,
)

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.window import Window

__all__ = ["LookAhead", "RamReader", "RamState", "Steps"]

Steps = Generator[Event | None, None, None]  # None means: more data, please
_Words = Callable[[int, int, int], bytes]

MAX_RUN: Final = 1024  # pages in one event; 4 MiB
_BATCH: Final = 512  # words compared at once
_PIECE: Final = 1 << 22  # most bytes of a mapped-ram part in one event
# Flags as plain numbers: each sum of an address and an IntFlag would be a new member that is kept for ever.
_KIND: Final = {int(kind): kind for kind in (RamFlag.PAGE, RamFlag.ZERO)}
_FOLLOWS: Final = {kind: int(kind | RamFlag.CONTINUE) for kind in (RamFlag.PAGE, RamFlag.ZERO)}
_CONTINUE: Final = int(RamFlag.CONTINUE)
_EOS: Final = int(RamFlag.EOS)
_SHORT: Final = 16  # pages; a mix holds at least so many, and begins with a run of fewer
_LONG: Final = 128  # pages of one kind side by side that end a mix
_WORD: Final = struct.Struct(">Q").unpack_from


@lru_cache(maxsize=64)
def _pattern(step: int, width: int) -> tuple[int, int]:
    """Numbers whose big-endian bytes are _BATCH entries of `width` bytes: all 1; 0, `step`, 2 * `step`, ..."""
    entries = range(_BATCH)
    ones = b"".join(bytes((*(0,) * (width - 1), 1)) for _ in entries)
    return int.from_bytes(ones), int.from_bytes(b"".join((i * step).to_bytes(width) for i in entries))


def _matching(found: bytes, word: int, count: int, step: int) -> int:
    """How many of the `count` records in `found` have the words `word`, `word` + `step`, ...

    This compares all words (of zero pages with their fill byte, which must be 0) as one long number.
    """
    width = len(found) // count
    fill = 8 * (width - 8)
    ones, steps = (number >> 8 * width * (_BATCH - count) for number in _pattern(step, width))
    differ = int.from_bytes(found) ^ ((word * ones + steps) << fill)
    return (8 * len(found) - differ.bit_length()) // (8 * width)


def _run_length(words: _Words, at: int, word: int, step: int, body: int, most: int, batch: int) -> int:
    """Number of records from offset `at` that continue with `word`, `word` + `step`, ...; `most` are there.

    This compares `batch` records first, then four times as many, and so on.
    """
    most, done = min(most, ((1 << 64) - word) // step), 0  # no word overflows
    while done < most:
        batch = min(batch, _BATCH, most - done)
        found = words(at + done * (8 + body), batch, body)
        same = _matching(found, word + done * step, batch, step)
        done += same
        if same < batch:
            break
        batch *= 4
    return done


class _Mixed:
    """Records of pages with the CONTINUE flag at ascending offsets, from `at` of `view` on: what `PageMix` holds."""

    def __init__(self, view: memoryview, at: int, last: int, limit: int, size: int) -> None:
        self._view, self._limit, self._size = view, limit, size
        self.at, self.last, self.count, self.content = at, last, 0, 0

    def read(self) -> None:
        """Take records up to `limit`, a long run, or one of another kind."""
        while True:
            at, last, count, content = self.at, self.last, self.count, self.content
            self._some()
            taken, kept = self.count - count, self.content - content
            if taken == _LONG and kept in (0, _LONG) and self.last - last == _LONG * self._size:
                self.at, self.last, self.count, self.content = at, last, count, content
                return
            if taken < _LONG:
                return

    def _some(self) -> None:
        """Take _LONG records at most. This loop decides what a fragmented guest costs."""
        view, at, limit, mask = self._view, self.at, self._limit, self._size - 1
        page, last, content, done, end = self._size + 8, self.last, 0, 0, len(view) - 9
        whole = len(view) - page
        content_follows, zero_follows = _FOLLOWS[RamFlag.PAGE], _FOLLOWS[RamFlag.ZERO]
        while at <= end and done < _LONG:
            (word,) = _WORD(view, at)
            flags = word & mask
            if not last < word < limit:
                break
            if flags == content_follows and at <= whole:
                at += page
                content += 1
            elif flags == zero_follows and not view[at + 8]:
                at += 9
            else:
                break
            last = word | mask
            done += 1
        self.at, self.last, self.count, self.content = at, last, self.count + done, self.content + content


class LookAhead:
    """The seam for a caller that holds the whole stream: it may shorten the reading of pages with content.

    A reader asks its look-ahead at each run, and believes it. This one knows nothing, as does a reader
    without one; `vmstate.view.pair` derives another. Offsets count from the start of the stream, sizes are in
    bytes.
    """

    def run(self) -> PageRun | None:
        """A run of pages elsewhere whose bytes are those at the reader's offset.

        When they are one run here too, its event holds the very buffer of the other.
        """

    def words(self, start: int, count: int, body: int) -> bytes | None:
        """The first 8 bytes of `count` records of 8 + `body` bytes from `start` on; None: read them."""


class RamState:
    """What a main channel has said about RAM so far; its packages share it, and a recovery takes it over.

    `page_sizes` is the OR of all block page sizes from POSTCOPY_ADVISE, `lengths` the used length of each
    block in bytes, `block` the block of the last page record. `told`: the channel itself told the page size.
    `file_start`: where in its file the stream begins, as offsets of mapped-ram count from the file's start.
    `may_share`: without a configuration nothing says whether x-ignore-shared is on but the block list.
    """

    def __init__(self, page_size: int = wire.PAGE_SIZE, lengths: dict[str, int] | None = None) -> None:
        self.page_size = page_size
        self.told = False
        self.ignore_shared = self.may_share = False
        self.mapped = False
        self.file_start = 0
        self.page_sizes = 0
        self.lengths = {} if lengths is None else lengths
        self.block: str | None = None


class RamReader:
    """Reads page records of one channel from `window`."""

    def __init__(self, window: Window, state: RamState, ahead: LookAhead | None = None) -> None:
        self._window = window
        self._state = state
        self._ahead = ahead or LookAhead()
        self._last = 0  # pages that followed the first one of the last run

    def payload(self, until_close: bool = False) -> Steps:
        """Events of one section's payload up to EOS, or of a bare channel (`until_close`)."""
        window = self._window
        while True:
            while until_close and not window.available:
                if window.closed:
                    return
                yield None
            yield from window.want(8, "ram/word")
            word = int.from_bytes(window.peek(8))
            yield from self._record(word)
            if word & _EOS:
                return

    def _record(self, word: int) -> Steps:
        flags = word & (self._state.page_size - 1) & ~_CONTINUE
        if flags in _KIND:
            return self._run(word, _KIND[flags])
        if flags == RamFlag.MEM_SIZE:
            return self._setup(word - RamFlag.MEM_SIZE)
        if flags == RamFlag.XBZRLE:
            return self._xbzrle(word)
        if flags == RamFlag.COMPRESS_PAGE:
            return self._compressed(word)
        if flags in (RamFlag.EOS, RamFlag.MULTIFD_FLUSH, RamFlag.HOOK):
            return self._mark(word)
        raise StreamError(self._window.offset, "ram/word", "known record flags", f"found {flags:#x}")

    def _mark(self, word: int) -> Steps:
        offset = self._window.offset
        self._window.take(8)
        yield RamMark(word, offset)

    def _head(self, word: int) -> Generator[None, None, tuple[str, int, bool]]:
        """Block, bytes of word and name, and whether the name is there; consumes nothing."""
        window = self._window
        if word & _CONTINUE:
            if self._state.block is None:
                raise StreamError(window.offset, "ram/word", "a block name first", "found CONTINUE")
            return self._state.block, 8, False
        yield from window.want(9, "ram/block.len")
        length = window.peek(1, 8)[0]
        yield from window.want(9 + length, "ram/block")
        block = window.peek(length, 9).decode("latin-1")
        if self._state.lengths and block not in self._state.lengths:
            raise StreamError(window.offset + 9, "ram/block", "a block of the list", f"found {block!r}")
        self._state.block = block
        return block, 9 + length, True

    def _room(self, block: str, address: int) -> int:
        """Pages from `address` to the end of `block`; StreamError when it is outside."""
        if not self._state.lengths:
            return MAX_RUN
        room = -((address - self._state.lengths[block]) // self._state.page_size)
        if room <= 0:
            expected = f"an offset below {self._state.lengths[block]:#x}"
            raise StreamError(self._window.offset, f"ram/{block}", expected, f"found {address:#x}")
        return room

    def _run(self, word: int, kind: RamFlag) -> Steps:
        window, size = self._window, self._state.page_size
        block, lead, named = yield from self._head(word)
        address, offset = word & -size, window.offset
        most = min(self._room(block, address), MAX_RUN)
        body = size if kind is RamFlag.PAGE else 1
        yield from window.want(lead + body, f"ram/{block}[{address:#x}]")
        fill = 0 if kind is RamFlag.PAGE else window.peek(1, lead)[0]
        count, known = 1, self._known(block, address, lead, most) if kind is RamFlag.PAGE else None
        if known is not None:
            count = known.count
        elif not fill:
            follow = (address + size) | _FOLLOWS[kind]
            words = window.words if kind is RamFlag.ZERO else self._words
            most = min(most - 1, (window.available - lead - body) // (8 + body))
            # MAX_RUN cuts most long runs, so that another follows: begin with a batch as long as the last run
            count += _run_length(words, offset + lead + body, follow, size, body, most, max(4, self._last))
        self._last = count - 1
        if count < _SHORT and known is None and not fill:
            mix = self._mix(word, block, lead, count, kind)
            if mix is not None:
                yield mix
                return
        raw = window.take(lead + body + (count - 1) * (8 + body))
        yield PageRun(
            block, address, count, kind, size, named, raw if known is None else known.raw, fill, offset
        )

    def _mix(self, word: int, block: str, lead: int, count: int, kind: RamFlag) -> PageMix | None:
        """The mix that begins with a run of `count` pages of `kind`; None when it is too short for one."""
        window, size = self._window, self._state.page_size
        first, stretch = word & -size, MAX_RUN * size
        end = self._state.lengths.get(block, 1 << 64) if self._state.lengths else 1 << 64
        limit = min(end, first - first % stretch + stretch)
        begun = first + count * size
        if begun >= limit:
            return None
        length = lead + count * (size if kind is RamFlag.PAGE else 1) + (count - 1) * 8
        view, start = window.held()
        with view:
            found = _Mixed(view, start + length, begun - 1, limit, size)
            found.read()
        if count + found.count < _SHORT:
            return None
        offset, content = window.offset, found.content + (count if kind is RamFlag.PAGE else 0)
        raw = window.take(found.at - start)
        last = found.last + 1
        return PageMix(
            block, first, last, count + found.count, content, size, not word & _CONTINUE, raw, offset
        )

    def _words(self, start: int, count: int, body: int) -> bytes:
        found = self._ahead.words(start, count, body)
        return self._window.words(start, count, body) if found is None else found

    def _known(self, block: str, address: int, lead: int, most: int) -> PageRun | None:
        """The run of the look-ahead, when the run that begins here is the same and as long."""
        run, size = self._ahead.run(), self._state.page_size
        here = (block, address, lead, size)
        if run is None or (run.block, run.first, run.lead, run.page_size) != here:
            return None
        if run.kind is not RamFlag.PAGE or run.count > most:
            return None
        follow = (address + run.count * size) | _FOLLOWS[RamFlag.PAGE]
        goes_on = run.count < most and self._window.peek(8, len(run.raw)) == follow.to_bytes(9)[1:]
        return None if goes_on else run

    def _xbzrle(self, word: int) -> Steps:
        window = self._window
        block, lead, named = yield from self._head(word)
        address, offset = word & -self._state.page_size, window.offset
        self._room(block, address)
        path = f"ram/{block}[{address:#x}].xbzrle"
        yield from window.want(lead + 3, path)
        encoding, length = struct.unpack(">BH", window.peek(3, lead))
        if encoding != 1 or length > self._state.page_size:
            expected = f"encoding 1, at most {self._state.page_size} bytes"
            raise StreamError(offset + lead, path, expected, f"found {encoding}, {length}")
        yield from window.want(lead + 3 + length, path)
        window.take(lead + 3)
        yield RamXbzrle(block, address, named, encoding, window.take(length), offset)

    def _compressed(self, word: int) -> Steps:
        window = self._window
        block, lead, named = yield from self._head(word)
        address, offset = word & -self._state.page_size, window.offset
        self._room(block, address)
        path = f"ram/{block}[{address:#x}].compressed"
        yield from window.want(lead + 4, path)
        length = int.from_bytes(window.peek(4, lead))
        most = wire.MAX_COMPRESSED * self._state.page_size
        if length > most:
            raise StreamError(offset + lead, path, f"at most {most} bytes", f"found {length}")
        yield from window.want(lead + 4 + length, path)
        window.take(lead + 4)
        yield RamCompressed(block, address, named, window.take(length), offset)

    # -- setup ---------------------------------------------------------------------------------

    def _setup(self, total: int) -> Steps:
        offset = self._window.offset
        self._window.take(8)
        yield RamTotal(total, offset)
        self._state.lengths = {}
        while total > 0:
            block = yield from self._block(total)
            total -= block.used_length
            yield block
            if self._state.mapped:
                yield from self._mapped(block)

    def _block(self, remaining: int) -> Generator[None, None, RamBlock]:
        window, offset = self._window, self._window.offset
        yield from window.want(1, "ram/block.len")
        length = window.peek(1)[0]
        yield from window.want(9 + length, "ram/block")
        name = window.peek(length, 1).decode("latin-1")
        used = int.from_bytes(window.peek(8, 1 + length))
        if not name or used > remaining:
            expected = f"a named block of at most {remaining:#x} bytes"
            raise StreamError(offset, f"ram/{name}", expected, f"found {used:#x}")
        window.take(9 + length)
        extra = yield from self._extra(name, remaining - used)
        self._state.lengths[name] = used
        page_size = extra[0] if len(extra) > self._state.ignore_shared else None
        return RamBlock(name, used, page_size, extra[-1] if self._state.ignore_shared else None, offset)

    def _extra(self, name: str, remaining: int) -> Generator[None, None, tuple[int, ...]]:
        """The optional u64 values of an entry: page size, guest physical address."""
        if self._state.may_share and not self._state.ignore_shared:
            self._state.ignore_shared = yield from self._has_page_size(name, 0, remaining)
        self._state.may_share = False  # the first entry told
        count = int(self._state.ignore_shared)
        if self._state.page_sizes & ~self._state.page_size:
            huge = yield from self._has_page_size(name, 8 * count, remaining)
            count += huge
        yield from self._window.want(8 * count, f"ram/{name}")
        return struct.unpack(f">{count}Q", self._window.take(8 * count))

    def _has_page_size(self, name: str, skip: int, remaining: int) -> Generator[None, None, bool]:
        """Whether one more u64 follows at `skip`, before the next entry or the word after the list."""
        window = self._window
        if remaining:
            yield from window.want(skip + 1, f"ram/{name}")
            return window.peek(1, skip) == b"\0"
        yield from window.want(skip + 8, f"ram/{name}")
        value = int.from_bytes(window.peek(8, skip))
        return value >= self._state.page_size or value == 0

    # -- mapped-ram ----------------------------------------------------------------------------

    def _mapped(self, block: RamBlock) -> Steps:
        window, path, start = self._window, f"ram/{block.name}.mapped", self._state.file_start
        yield from window.want(28, path)
        offset = window.offset
        version, size, bitmap, pages = struct.unpack(">IQQQ", window.take(28))
        header = MappedHeader(version, size, bitmap, pages, offset)
        self._check_mapped(header, path)
        yield header
        if header.shared:
            return
        yield from self._part(block.name, "gap", header.bitmap_offset - start - window.offset)
        yield from self._part(block.name, "bitmap", -(-block.used_length // (64 * size)) * 8)
        if header.pages_offset < start + window.offset:
            expected = f"pages at {start + window.offset:#x} or later"
            raise StreamError(header.offset, path, expected, f"found {header.pages_offset:#x}")
        yield from self._part(block.name, "gap", header.pages_offset - start - window.offset)
        yield from self._part(block.name, "pages", block.used_length)

    def _check_mapped(self, header: MappedHeader, path: str) -> None:
        size = header.page_size
        if header.version != 1 or size != self._state.page_size:
            expected = f"version 1, page size {self._state.page_size}"
            raise StreamError(header.offset, path, expected, f"found {header.version}, {size}")
        least = self._state.file_start + self._window.offset
        if header.bitmap_offset < least and not header.shared:
            expected = f"a bitmap at {least:#x} or later"
            raise StreamError(header.offset, path, expected, f"found {header.bitmap_offset:#x}")

    def _part(self, block: str, part: str, size: int) -> Steps:
        """Pass on `size` bytes in pieces that end on page boundaries, so that none grows with the file."""
        window, done, page = self._window, 0, self._state.page_size
        while done < size:
            least = min(page, size - done)
            yield from window.want(least, f"ram/{block}.{part}")
            count = min(size - done, _PIECE, max(least, window.available // page * page))
            offset = window.offset
            yield MappedData(block, part, done, window.take(count), offset)
            done += count

# SPDX-License-Identifier: Apache-2.0
"""Sending guest memory: which pages, in which order, as which records.

1. `_wanted` has one byte per page, 1 for "to be sent". The guest's log is added to it by `sync` only.
2. A page is unmarked before it is read; the guest marks after it wrote. So what is sent last is what it wrote last.
3. A record names its block unless the record before it, in any section, had the same one.
4. Memory: one byte per page, and what the output collects.
5. In a postcopy nothing is written any more; what is asked for is sent at once, and what follows it next. With a
   channel for what is `urgent`, who asked sends it there, and two threads take pages from `_wanted`, under a lock.

Format: `stream-format`, RAM section; wire words in `vmstate.wire.constants`.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from functools import partial
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.memory import PAGE_SIZE, ZERO_PAGE
from migmatrix.emulator.migration.bitmaps import missing
from migmatrix.emulator.migration.hostpages import late_run, whole_pages
from migmatrix.emulator.migration.zeros import MOST, ZERO, zero_records
from migmatrix.vmstate.wire.constants import RamFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.converge import LongPasses
    from migmatrix.emulator.migration.multifd import PageSink
    from migmatrix.emulator.migration.preempt import Urgent
    from migmatrix.emulator.migration.rdma.memory import SourceMemory
    from migmatrix.emulator.migration.streams import Output
    from migmatrix.emulator.migration.xbzrle import PageCache

__all__ = ["PAGE", "RamSaver", "RamStats"]

_RUN: Final = MOST  # pages looked at together
_LATE_RUN: Final = 16  # in a postcopy, where somebody may wait
_ZERO_RUN: Final = bytes(_RUN * PAGE_SIZE)
_HEAD: Final = 64  # a page whose first bytes are not all zero needs no closer look
_ZERO_HEAD: Final = bytes(_HEAD)
# plain numbers: a flag enumeration costs more than sending the page
PAGE: Final = int(RamFlag.PAGE | RamFlag.CONTINUE)
_CONTINUE: Final = int(RamFlag.CONTINUE)
_XBZRLE: Final = int(RamFlag.XBZRLE | RamFlag.CONTINUE)
_ADDRESS: Final = 0  # where the guest has shared memory; of other blocks nobody looks at it
_ENCODED: Final = 1  # the only encoding there is
_EOS: Final = struct.pack(">Q", RamFlag.EOS)
_HOOK: Final = struct.pack(">Q", RamFlag.HOOK)
_SLICE: Final = 0.05  # seconds after which an iteration lets the migration think, as QEMU's does
_PERIOD: Final = 1.0  # seconds that a rate is measured over at least
_word = struct.Struct(">Q").pack


class RamStats:
    """What `query-migrate` tells of memory; pages, bytes and passes."""

    def __init__(self, blocks: Sequence[RamBlock]) -> None:
        self.total = sum(block.used_length for block in blocks)
        self.duplicate = 0
        self.normal = 0
        self.passes = 0
        self.requests = 0  # of a destination whose guest waited
        self.remaining = self.total
        self.multifd_bytes = 0
        self.dirty_rate = 0  # pages per second that the guest wrote in the last period

    @property
    def pages(self) -> int:
        """Pages that were sent as they are."""
        return self.duplicate + self.normal


def _unwatched(_dirtied: int, _sent: int) -> None:
    """For a saver whose rates nobody looks at."""


class RamSaver:
    """One outgoing migration's memory. `passed` is called with the number of each pass that begins.

    `measured` is called with the bytes that were dirtied and sent in each period of at least a second. `cache` is
    for a stream with encoded pages. Without `finds_zeros` a page of zeros is sent like any other. `sink` takes pages
    instead, up to a postcopy; `direct` writes them into the other side's memory. `tells_page_sizes`: for a postcopy.
    `long_passes` ends some early.
    With `leaves_shared` the destination has shared memory already: it is listed, and not sent.
    """

    def __init__(
        self,
        blocks: Sequence[RamBlock],
        passed: Callable[[int], object],
        *,
        measured: Callable[[int, int], object] = _unwatched,
        cache: PageCache | None = None,
        finds_zeros: bool = True,
        sink: PageSink | None = None,
        direct: SourceMemory | None = None,
        tells_page_sizes: bool = False,
        long_passes: LongPasses | None = None,
        leaves_shared: bool = False,
    ) -> None:
        self._listed = sorted(blocks, key=lambda block: -block.max_size)  # as QEMU's own list
        self._leaves_shared = leaves_shared
        self._blocks = [block for block in self._listed if not (leaves_shared and block.shared)]
        self._wanted = {block.name: bytearray(b"\1" * block.pages) for block in self._blocks}
        self._left = sum(block.pages for block in self._blocks)
        self._passed = passed
        self._at = 0  # block, and page in it, from which to look on
        self._page = 0
        self._last: RamBlock | None = None
        self._measured = measured
        self._finds_zeros = finds_zeros
        self._sink = sink
        self._tells_page_sizes = tells_page_sizes
        self._last_stage = False
        self._sent = 0  # bytes of the stream, as of the last part
        self._period = (time.monotonic(), 0, 0)  # when it began, bytes and pages sent until then
        self._dirtied = 0  # pages in this period
        self._base = dict(
            zip(self._wanted, accumulate((b.pages for b in self._blocks), initial=0), strict=False)
        )
        # pages, first and end; another thread appends
        self._asked: deque[tuple[RamBlock, int, int]] = deque()
        self._asked_last: RamBlock | None = None
        self._postcopy = False
        self._taking = threading.Lock()
        self.urgent: Urgent | None = None
        self._hint: tuple[int, int] | None = None  # where the background goes on, behind what was urgent
        self.cache = cache
        self._direct = direct
        self._long_passes = long_passes
        self.stats = RamStats(self._blocks)

    def begin(self, out: Output) -> None:
        """Start to log writes, and send the list of blocks."""
        self._begin_log()
        out.put(_word(sum(block.used_length for block in self._listed) | RamFlag.MEM_SIZE))
        for block in self._listed:
            out.put(_name(block) + _word(block.used_length))
            if self._tells_page_sizes and block.page_size != PAGE_SIZE:
                out.put(_word(block.page_size))
            if self._leaves_shared:
                out.put(_word(_ADDRESS))
            if self._sink is not None:
                self._sink.describe(out, block)
        if self._sink is not None:
            self._sink.flush(out)
        if self._direct is not None:
            with out.released():
                self._hook(out)
                self._direct.set_up(self._blocks)
        out.put(_EOS)

    def _begin_log(self) -> None:
        for block in self._blocks:
            block.start_log()
        self.stats.passes = 1
        self._passed(1)

    def _hook(self, out: Output) -> None:
        """Let the other side look beside the stream, where it finds pages until the round is over."""
        if self._direct is not None:
            out.put(_HOOK)
            out.flush()

    def end(self) -> None:
        """Stop logging."""
        for block in self._blocks:
            block.stop_log()

    @property
    def pending(self) -> int:
        """Bytes of pages that are known to be wanted."""
        return self._left * PAGE_SIZE

    def sync(self, *, silent: bool = False) -> None:
        """Begin a new pass: want what the guest wrote since the last one."""
        before = self._left
        for block in self._blocks:
            log = block.take_log()
            if 1 in log:
                self._want(block, log)
        self._dirtied += self._left - before
        self._measure(time.monotonic())
        self.stats.remaining = self.pending
        if not silent:
            self.stats.passes += 1
            self._passed(self.stats.passes)

    # -- postcopy --------------------------------------------------------------------------------

    def begin_postcopy(self) -> list[tuple[str, list[tuple[int, int]]]]:
        """From now on pages that are asked for come first. What is wanted, by block, as (start, length) in bytes."""
        self._postcopy, self._last = True, None
        if self.cache is not None:
            self.cache.started = False
        if self._sink is not None:
            self._sink.begin_postcopy()
        self._want_host_pages()
        found = [(block.name, list(_ranges(self._wanted[block.name]))) for block in self._blocks]
        return [(name, ranges) for name, ranges in found if ranges]

    def _want_host_pages(self) -> None:
        """A page of the host's is wanted as a whole or not at all, and no look at it begins in the middle."""
        for block in self._blocks:
            if (pages := block.page_size // PAGE_SIZE) > 1:
                self._want(block, bytes(whole_pages(self._wanted[block.name], pages)))
        self._page -= self._page % (self._blocks[self._at].page_size // PAGE_SIZE)

    def request(self, name: str | None, start: int, length: int) -> None:
        """Somebody waits for these bytes of a block, None: of the last one's; ValueError with QEMU's text."""
        block = self._asked_last
        if name is not None:
            block = next((block for block in self._blocks if block.name == name), None)
            if block is None:
                raise ValueError(f"has no block '{name}'")
        if block is None:
            raise ValueError("has no previous block")
        self._asked_last = block
        if start + length > block.used_length:
            size = block.used_length
            raise ValueError(f"request overrun, start={start:#x} len={length:#x} blocklen={size:#x}")
        self.stats.requests += 1
        first, end = start // PAGE_SIZE, (start + length) // PAGE_SIZE
        if self.urgent is None or not self.urgent.at_once:
            self._asked.append((block, first, end))
        else:
            self._send_urgent(self.urgent, block, first, end)

    @property
    def names(self) -> list[str]:
        """Names of the blocks, in the order in which they are sent."""
        return list(self._wanted)

    def want_missing(self, name: str, bitmap: bytes) -> None:
        """The destination says which pages of a block came: want all others. Another thread calls it before `resume`."""
        self._wanted[name] = missing(bitmap, len(self._wanted[name]))

    def resume(self) -> None:
        """Begin again, over another link: what is asked for is asked for again, and blocks are named again."""
        self._asked.clear()
        self._last = self._asked_last = self._hint = None
        self._at = self._page = 0
        self._left = sum(wanted.count(1) for wanted in self._wanted.values())
        self.stats.remaining = self.pending

    def _send_asked(self, out: Output) -> None:
        """Send what was asked for and is not on its way yet, and look on from there."""
        while self._asked:
            block, first, end = self._asked.popleft()
            if self.urgent is not None:
                self._send_urgent(self.urgent, block, first, end)
            for page in self._claim(block, first, end):
                self._send(out, block, page, page + 1)
            self._at, self._page = self._blocks.index(block), end
            out.flush()

    def _send_urgent(self, urgent: Urgent, block: RamBlock, first: int, end: int) -> None:
        """Send what is not on its way yet, on the thread that asks; the background waits meanwhile, as QEMU's does."""
        with self._taking:
            pages = self._claim(block, first, end)
            if not pages:
                return
            if not urgent.at_once and self._last is not None:
                urgent.turn()
                self._last = None
            zeros = urgent.send(block, pages, finds_zeros=self._finds_zeros)
            self.stats.duplicate += zeros
            self.stats.normal += len(pages) - zeros
            if urgent.leads and self._hint is None:
                self._hint = self._blocks.index(block), end

    def _claim(self, block: RamBlock, first: int, end: int) -> list[int]:
        """Those of the pages that are wanted, and are not from now on."""
        wanted = self._wanted[block.name]
        pages = [page for page in range(first, end) if wanted[page]]
        wanted[first:end] = bytes(end - first)
        self._left -= len(pages)
        return pages

    def end_urgent(self) -> None:
        """Nothing more is urgent."""
        with self._taking:
            if self.urgent is not None:
                self.urgent.end()

    def _measure(self, now: float) -> None:
        """End the period if it is long enough."""
        began, sent, pages = self._period
        if now - began <= _PERIOD:
            return
        self.stats.dirty_rate = int(self._dirtied / (now - began))
        self._measured(self._dirtied * PAGE_SIZE, self._sent - sent)
        if self.cache is not None:
            self.cache.period(self.stats.pages - pages)
        self._period, self._dirtied = (now, self._sent, self.stats.pages), 0

    def _want(self, block: RamBlock, log: bytes) -> None:
        wanted = self._wanted[block.name]
        both = int.from_bytes(wanted, "little") | int.from_bytes(log, "little")
        merged = bytearray(both.to_bytes(len(wanted), "little"))
        self._left += merged.count(1) - wanted.count(1)
        self._wanted[block.name] = merged

    def iterate(self, out: Output) -> bool:
        """Send until the output is full, some time has passed or nothing is wanted (True)."""
        self._hook(out)
        now = time.monotonic()
        long = None if self._postcopy else self._long_passes
        if long is not None and long.due(now, self.stats.passes):
            self.sync(silent=not long.counted)
        until = now + _SLICE
        while not out.full and time.monotonic() < until and self._send_run(out):
            pass
        return self.end_part(out)

    def complete(self, out: Output) -> None:
        """Send all that is wanted; the guest stands."""
        self._last_stage = True
        self._hook(out)
        while self._send_run(out):
            pass
        self.end_part(out)

    def end_part(self, out: Output, *, last: bool = False) -> bool:
        """End a payload; True when nothing is wanted. `last`: a postcopy begins after it."""
        if self._sink is not None:
            self._sink.end_part(out, done=last or not self._left)
        if self._direct is not None:
            self._direct.finish()
        out.put(_EOS)
        self._sent = out.total
        self.stats.remaining = self.pending
        return not self._left

    def _send_run(self, out: Output) -> bool:
        """Find wanted pages that follow each other and send them; False when there are none."""
        self._send_asked(out)
        with self._taking:
            run = self._take_run(out)
        if run is None:
            return False
        block, first, end = run
        for at in range(first, end, _RUN):
            self._send(out, block, at, min(at + _RUN, end))
        return True

    def _take_run(self, out: Output) -> tuple[RamBlock, int, int] | None:
        if not self._left:
            return None
        if self._hint is not None:
            (self._at, self._page), self._hint = self._hint, None
        for _ in range(len(self._blocks) + 1):
            block = self._blocks[self._at]
            wanted = self._wanted[block.name]
            first = wanted.find(1, self._page)
            if first >= 0:
                most = late_run(block, _LATE_RUN) if self._postcopy else _most(out)
                end = wanted.find(0, first, first + most)
                end = min(first + most, len(wanted)) if end < 0 else end
                self._page = end
                wanted[first:end] = bytes(end - first)
                self._left -= end - first
                return block, first, end
            self._at, self._page = (self._at + 1) % len(self._blocks), 0
            if not self._at:
                self._end_round(out)
        raise AssertionError("pages are wanted that no block has")

    def _end_round(self, out: Output) -> None:
        """All blocks were gone through, and it begins again with the first."""
        if self.cache is not None:
            self.cache.started = True
        if self._sink is not None:
            self._sink.end_round(out)

    def _send(self, out: Output, block: RamBlock, first: int, end: int) -> None:
        start, stop = first * PAGE_SIZE, end * PAGE_SIZE
        if self._direct is not None:
            self._send_beside(out, block, start, stop, self._direct)
        elif self._sink is not None and not self._postcopy:
            self._sink.send(block, start, stop, partial(self._send_zeros, out, block))
        elif self.cache is not None and self.cache.started:
            for at in range(start, stop, PAGE_SIZE):
                self._send_encoded(out, block, at, self.cache)
        elif not self._finds_zeros:
            self._send_pages(out, block, start, stop)
        elif block.untouched(start, stop) or (
            block.data[start : start + _HEAD] == _ZERO_HEAD
            and block.data[start:stop] == _ZERO_RUN[: stop - start]
        ):
            self._send_zeros(out, block, start, stop)
        else:
            self._send_pages(out, block, start, stop)

    def _send_beside(self, out: Output, block: RamBlock, start: int, stop: int, direct: SourceMemory) -> None:
        for first, end in direct.parts(start, stop):
            pages = (end - first) // PAGE_SIZE
            if direct.write(block, first, end):
                self.stats.duplicate += pages
            else:
                self.stats.normal += pages
                out.beside += end - first

    def _send_zeros(self, out: Output, block: RamBlock, start: int, stop: int) -> None:
        """A run of zero pages: word and fill byte of each, in one piece."""
        parts = []
        if self._last is not block:
            parts.append(_word(start | ZERO & ~_CONTINUE) + self._named(block) + b"\0")
            self.stats.duplicate += 1
            start += PAGE_SIZE
        count = (stop - start) // PAGE_SIZE
        parts.append(zero_records(start, count))
        self.stats.duplicate += count
        out.put(b"".join(parts))

    def _send_pages(self, out: Output, block: RamBlock, start: int, stop: int) -> None:
        """A run in which some pages have content; views of these, nothing is copied."""
        parts: list[Any] = []
        size = normal = 0
        data, view, finds_zeros = block.data, memoryview(block.data), self._finds_zeros
        for at in range(start, stop, PAGE_SIZE):
            is_zero = (
                finds_zeros and data[at : at + _HEAD] == _ZERO_HEAD and data[at : at + PAGE_SIZE] == ZERO_PAGE
            )
            kind = ZERO if is_zero else PAGE
            head = _word(at | kind) if at > start else self._head(block, at, kind)
            parts.append(head)
            size += len(head)
            if is_zero:
                parts.append(b"\0")
                size += 1
            else:
                parts.append(view[at : at + PAGE_SIZE])
                size += PAGE_SIZE
                normal += 1
        self.stats.normal += normal
        self.stats.duplicate += (stop - start) // PAGE_SIZE - normal
        out.put_all(parts, size)

    def _send_encoded(self, out: Output, block: RamBlock, at: int, cache: PageCache) -> None:
        """One page by its difference from what was sent, if that is shorter. A copy: the guest may write meanwhile."""
        content = block.data[at : at + PAGE_SIZE]
        address = self._base[block.name] * PAGE_SIZE + at
        if self._finds_zeros and content == ZERO_PAGE:
            cache.keep(address, content, self.stats.passes)
            self._send_zeros(out, block, at, at + PAGE_SIZE)
            return
        encoded = cache.encode(address, content, self.stats.passes, last=self._last_stage)
        if encoded is None:
            out.put(self._head(block, at, PAGE) + content)
            self.stats.normal += 1
        elif encoded:
            out.put(self._head(block, at, _XBZRLE) + struct.pack(">BH", _ENCODED, len(encoded)) + encoded)

    def _head(self, block: RamBlock, at: int, flags: int) -> bytes:
        if self._last is block:
            return _word(at | flags)
        return _word(at | flags & ~_CONTINUE) + self._named(block)

    def _named(self, block: RamBlock) -> bytes:
        self._last = block
        return _name(block)


def _most(out: Output) -> int:
    """Pages to look at together: no more than the limit leaves room for."""
    return _RUN if out.room is None else max(1, min(_RUN, -(-out.room // PAGE_SIZE)))


def _ranges(wanted: bytearray) -> Iterator[tuple[int, int]]:
    """Runs of wanted pages, as (start, length) in bytes."""
    end = 0
    while (first := wanted.find(1, end)) >= 0:
        end = wanted.find(0, first)
        end = len(wanted) if end < 0 else end
        yield first * PAGE_SIZE, (end - first) * PAGE_SIZE


def _name(block: RamBlock) -> bytes:
    name = block.name.encode("latin-1")
    return bytes((len(name),)) + name

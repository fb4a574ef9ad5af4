# SPDX-License-Identifier: Apache-2.0
"""Two streams read side by side, for comparing: `read_pair(a, b) -> (Stream, Stream)`.

Memory is most of a stream. Where one stream is about to read a run of pages, this module reads the bytes of
both in turn, a piece that fits the processor's cache at a time, and compares them before any record is
parsed. When all are the same, the run of the other holds the very view of the first one's, and
`vmstate.view.ramimage.differ` knows both as equal: a comparison goes over equal memory once. Runs that are
cut at other offsets are not shared, and compared later as ever. A helper may compare long memory from its
other end at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol

from migmatrix.vmstate.view.stream import Reading, Stream
from migmatrix.vmstate.wire.ram import LookAhead
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun
from migmatrix.vmstate.wire.window import words_of

__all__ = ["PIECE", "Help", "Helper", "Mapped", "read_pair"]

PIECE: Final = 64  # records read of one and of the other, and compared
_LONG: Final = 1 << 24  # bytes of records without a gap, after which more are likely and worth a helper


class Mapped(Protocol):
    """A file that its holder has mapped; `release` gives the memory of a range of offsets back."""

    data: memoryview
    start: int  # of `data` in the file

    def release(self, start: int, end: int, /) -> None:
        """Take back the memory of bytes that the caller does not need at the moment; it may read them again."""

    def read(self, start: int, into: memoryview, /) -> None:
        """Fill `into` from offset `start`: for bytes that are read once, as pages are costly to map."""


class Helper(Protocol):
    """Compares records on another processor, from the end of a range on."""

    @property
    def end(self) -> int:
        """Offset of the end of the range."""

    def look(self, offset: int, count: int) -> tuple[bytes, bool] | None:
        """Words of the first of `count` records at `offset`, and whether they are the same in both files.

        None when the helper has not come there: the caller compares them, and the helper stops before.
        """

    def leave(self) -> None:
        """Stop; return when nothing reads the files any more."""


Help = Callable[[Mapped, Mapped, int, int, int], Helper]
"""Starts a helper: for a file, the other one, the offset of records in each, and their size."""


def read_pair(a: Mapped, b: Mapped, helped: Help | None = None) -> tuple[Stream, Stream]:
    """Read both as `read_stream(..., strict=False)` does; either stream needs the buffers of both."""
    first = _Side(a, helped)
    second = _Side(b, helped, like=first)
    try:
        _read(first, second)
    finally:
        first.leave()
        second.leave()
    return first.stream(), second.stream()


def _read(first: _Side, second: _Side) -> None:
    """Read both to their ends, always the one that is behind.

    `shift`: how much later the same page begins in `second`, measured at the last common run.
    """
    shift = 0
    while not (first.done and second.done):
        ahead, behind = first, second
        if second.done or (not first.done and first.offset + shift <= second.offset):
            ahead, behind = second, first
        behind.beside(ahead, ahead.shared_with(behind))
        behind.step()
        x, y = first.last, second.last
        if not isinstance(x, PageRun | PageMix) or not isinstance(y, PageRun | PageMix):
            continue
        if (x.block, x.first) == (y.block, y.first):
            shift = y.offset - x.offset


class _Side(Reading, LookAhead):
    """One of the two streams; its own reader's look-ahead, which compares what it looks at with the other.

    The bytes from `_start` to `_same` equal those of the other, `_shift` further on there; those up to
    `_read` were looked at. Records of `_size` bytes follow each other without a gap from `_first` to `_last`.
    `_run` is the other's last run, when the bytes at this offset equal it.
    """

    def __init__(self, file: Mapped, helped: Help | None, like: _Side | None = None) -> None:
        super().__init__(file.data, release=file.release, like=like, look_ahead=self, file_start=file.start)
        self.file = file
        self._other = self
        self._run: PageRun | None = None
        self._start = self._same = self._read = self._shift = 0
        self._first = self._last = self._size = 0
        self._held = self._compared = bytearray()
        self._helped = helped
        self._helper: Helper | None = None

    def beside(self, other: _Side, run: PageRun | None) -> None:
        """Compare with `other` from both offsets on; `run` is the other's when it comes next here too."""
        shift = other.offset - self.offset
        if shift != self._shift:
            self.leave()
        self._other, self._shift, self._run = other, shift, run
        self._start = self._same = self._read = self.offset

    def run(self) -> PageRun | None:
        """As in `LookAhead`."""
        return self._run

    def shared_with(self, other: _Side) -> PageRun | None:
        """The run that this side read last, if `other` continues with the same bytes."""
        run = self.last
        if (
            not isinstance(run, PageRun)
            or self._other is not other
            or self._start + self._shift != other.offset
        ):
            return None
        return run if run.offset == self._start and run.offset + len(run.raw) <= self._same else None

    def leave(self) -> None:
        """Send the helper away."""
        if self._helper is not None:
            self._helper.leave()
            self._helper = None

    def words(self, start: int, count: int, body: int) -> bytes | None:
        """As in `LookAhead`; compare the bytes that it reads, and those before them."""
        if self._run is not None:
            return None
        size = 8 + body
        self._go_on(start, size)
        if self._read < start:
            self._piece(self._read, start - self._read)
        found, end = [], start + count * size
        while self._read < end:
            left = (end - self._read) // size
            looked = self._helper.look(self._read, left) if self._helper is not None else None
            if looked is None:
                found.append(words_of(self._piece(self._read, min(left, PIECE) * size), size))
            else:
                words, same = looked
                found.append(words)
                self._note(len(words) // 8 * size, same)
        self._last = end
        return b"".join(found)

    def _go_on(self, start: int, size: int) -> None:
        """Keep a helper for as long as records of one size follow each other.

        A run's first record is parsed without its word being asked for, so the next run may begin one record
        later.
        """
        if size != self._size or start - self._last not in {0, size}:
            self._first, self._size = start, size
            self.leave()
        if self._helper is not None and start >= self._helper.end:
            self.leave()
        if self._helper is None and self._helped is not None and start - self._first >= _LONG:
            self._helper = self._helped(self.file, self._other.file, start, start + self._shift, size)

    def _piece(self, offset: int, size: int) -> memoryview:
        """Read a piece and, if everything before it is the same in the other file, compare it too."""
        if size > len(self._held):
            self._held, self._compared = bytearray(size), bytearray(size)
        piece, file = memoryview(self._held)[:size], self._other.file
        there = offset + self._shift
        self.file.read(offset, piece)
        same = self._same == offset and there + size <= len(file.data)
        if same:
            file.read(there, memoryview(self._compared)[:size])
            same = self._compared.startswith(piece)  # unlike most comparisons, at the speed of memory
        self._note(size, same)
        return piece

    def _note(self, size: int, same: bool) -> None:
        """Count `size` more bytes as looked at."""
        if same and self._same == self._read:
            self._same += size
        self._read += size

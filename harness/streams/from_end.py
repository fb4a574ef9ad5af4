# SPDX-License-Identifier: Apache-2.0
"""A second process for comparing two long files: see `vmstate.view.pair.Helper`.

Memory is compared as fast as it can be read, so that two processors need little more than half the time. (Two threads
do not: they wait for the interpreter longer than they gain.) The process is a fork, which costs a thousandth of a
second; the forked program has a single thread. Both share the memory that holds what it finds.

Nothing depends on the order in which one process sees what the other writes: a piece's mark is one byte, and a word
that is not there yet only ends a run of pages early.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.view.pair import PIECE
from migmatrix.vmstate.wire.window import words_of

if TYPE_CHECKING:
    from migmatrix.vmstate.view.pair import Mapped

__all__ = ["FromEnd"]

_MOST: Final = 4096  # pieces: a gigabyte, and 2 MB of words
_WORDS: Final = 8 * PIECE  # bytes of the words of a piece
_UNKNOWN, _SAME, _OTHER = range(3)  # marks of a piece
_LOST: Final = 64  # pieces that differ, after which the others are not compared: they may stand elsewhere


class FromEnd:
    """Compares records of `size` bytes from `offset` of one file with those from `place` of another, last ones first."""

    def __init__(self, file: Mapped, other: Mapped, offset: int, place: int, size: int) -> None:
        self._file, self._other = file, other
        self._offset, self._place, self._size = offset, place, size
        pieces = min(len(file.data) - offset, len(other.data) - place) // (size * PIECE)
        self._pieces = max(1, min(pieces, _MOST))
        self.end = offset + self._pieces * PIECE * size
        self._words = mmap.mmap(-1, self._pieces * _WORDS)
        self._marks = mmap.mmap(-1, self._pieces)
        self._met = mmap.mmap(-1, 8)  # number of the piece from which on the other process is not needed
        self._child = os.fork()
        if not self._child:
            self._run()

    def look(self, offset: int, count: int) -> tuple[bytes, bool] | None:
        """See `vmstate.view.pair.Helper`."""
        first = (offset - self._offset) // self._size
        piece = first // PIECE
        self._met[:] = piece.to_bytes(8)
        mark = self._marks[piece] if piece < self._pieces else _UNKNOWN
        if mark == _UNKNOWN:
            return None
        last = min(first + count, (piece + 1) * PIECE)
        return self._words[8 * first : 8 * last], mark == _SAME

    def leave(self) -> None:
        """See `vmstate.view.pair.Helper`."""
        self._met[:] = self._pieces.to_bytes(8)
        os.waitpid(self._child, 0)

    def _run(self) -> None:
        """Be the other process until it ends. An error ends it too: this one meets the same error later and reports it."""
        try:
            self._compare()
        finally:
            os._exit(0)

    def _compare(self) -> None:
        step, lost = PIECE * self._size, 0
        one, two = bytearray(step), bytearray(step)
        for piece in reversed(range(self._pieces)):
            if int.from_bytes(self._met[:]) >= piece:
                return
            self._file.read(self._offset + piece * step, memoryview(one))
            self._words[piece * _WORDS : (piece + 1) * _WORDS] = words_of(memoryview(one), self._size)
            if lost < _LOST:
                self._other.read(self._place + piece * step, memoryview(two))
                lost += one != two
            self._marks[piece] = _SAME if one == two else _OTHER

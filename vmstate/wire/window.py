# SPDX-License-Identifier: Apache-2.0
"""Bytes that have arrived and wait for a reader, with their offset in the stream.

Rules:
1. An empty window keeps a whole buffer without copying it, and gives out views of it.
2. A window joins bytes that arrive in pieces once, and gives out `bytes`.
3. Only `want` waits or reports a cut-off: it yields until enough bytes are there.
4. The bytes fed and not consumed bound the memory; taking bytes never scans consumed ones again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buffer", "Window", "same", "words_of"]

Buffer = bytes | memoryview

_COMPACT = 1 << 16  # a joined buffer drops more consumed bytes than this
_PIECE = 1 << 18  # bytes compared at once: with its copy what fits the processor's cache


def same(a: Buffer, b: Buffer) -> bool:
    """Whether two buffers hold the same bytes.

    Of all comparisons only that of a `bytearray` takes any buffer and runs at the speed of memory. So this
    copies one side, piece by piece into one buffer: new memory for each piece would cost more than the
    comparison.
    """
    x, y = memoryview(a), memoryview(b)
    if len(x) != len(y):
        return False
    copy = bytearray(min(len(x), _PIECE))
    into, rest = memoryview(copy), len(x) % _PIECE if len(x) > _PIECE else 0
    for at in range(0, len(x) - rest, _PIECE):
        into[:] = x[at : at + _PIECE]
        if copy != y[at : at + _PIECE]:
            return False
    return bytearray(x[len(x) - rest :]) == y[len(y) - rest :]


def words_of(records: memoryview, size: int) -> bytes:
    """The first 8 bytes of each record of `size` bytes, a multiple of 8."""
    return bytes(records.cast("Q")[:: size // 8])


class Window:
    """Input of a reader; `base` is the stream offset of the first byte fed."""

    def __init__(self, base: int = 0) -> None:
        self._joined = bytearray()
        self._whole: memoryview | None = None
        self._start = base  # stream offset of the first byte held
        self._pos = 0  # consumed bytes of what is held
        self._size = 0  # bytes held
        self.closed = False

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._start + self._pos

    @property
    def available(self) -> int:
        """Bytes that can be taken now."""
        return self._size - self._pos

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`; keep an immutable buffer as it is when the window is empty, else copy."""
        if self.closed:
            raise ValueError("feed after close")
        if not len(data):
            return
        if not self.available and not isinstance(data, bytearray):
            self._hold(memoryview(data).cast("B"))
            return
        self._join()
        self._joined += data
        self._size += len(data)

    def _hold(self, view: memoryview) -> None:
        self._start += self._pos
        self._joined = bytearray()
        self._whole, self._pos, self._size = view, 0, len(view)

    def _join(self) -> None:
        """Move a partly consumed whole buffer into the joined one."""
        if self._whole is not None:
            self._joined = bytearray(self._whole[self._pos :])
            self._whole = None
            self._drop()

    def _drop(self) -> None:
        self._start += self._pos
        self._size -= self._pos
        self._pos = 0

    def _compact(self) -> None:
        if self._whole is None and self._pos > _COMPACT and self._pos * 2 > self._size:
            del self._joined[: self._pos]
            self._drop()

    def want(self, count: int, path: str) -> Iterator[None]:
        """Yield until `count` bytes are available; StreamError when the input ends before."""
        while self.available < count:
            if self.closed:
                raise StreamError(self.offset, path, _bytes(count), f"read {self.available}")
            yield

    def rest(self) -> memoryview:
        """View of all bytes from here on, for as long as nothing is fed or taken."""
        held = self._whole if self._whole is not None else memoryview(self._joined)
        return held[self._pos : self._size]

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Copy of up to `count` bytes at `skip` from here, without consuming them."""
        first = self._pos + skip
        if self._whole is not None:
            return bytes(self._whole[first : first + count])
        return bytes(self._joined[first : first + count])

    def held(self) -> tuple[memoryview, int]:
        """A view of all that is held, and where the next byte is in it; release it before the next `take` or `feed`."""
        return memoryview(self._joined) if self._whole is None else self._whole[:], self._pos

    def words(self, start: int, count: int, body: int) -> bytes:
        """The words of `count` available records of 8 + `body` bytes from stream offset `start`.

        A body of whole words is left out; a body of one byte follows its word.
        """
        first, size = start - self._start, 8 + body
        held = self._whole if self._whole is not None else memoryview(self._joined)
        with held[first : first + count * size] as records:
            return bytes(records) if body == 1 else words_of(records, size)

    def take(self, count: int) -> Buffer:
        """Consume `count` available bytes: a view of a whole buffer, else a copy."""
        if self._whole is not None:
            taken: Buffer = self._whole[self._pos : self._pos + count]
        else:
            taken = bytes(memoryview(self._joined)[self._pos : self._pos + count])  # one copy, not two
        self._pos += count
        self._compact()
        return taken


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"

"""Bytes that have arrived and are not consumed yet, with their place in the stream.

Rules:
1. A whole buffer given to an empty window is not copied; what is taken from it are views of it.
2. Bytes that arrive in pieces are joined once, and taken out as `bytes`.
3. `want` is the only place that waits or reports a cut-off: it yields until enough bytes are there.
4. Memory held is bounded by the bytes fed and not consumed; taking bytes never rescans what was consumed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Buffer", "Window", "same", "words_of"]

Buffer = bytes | memoryview

_COMPACT = 1 << 16  # consumed bytes of a joined buffer are dropped beyond this
_PIECE = 1 << 18  # bytes compared at once: with its copy what fits the processor's cache


def same(a: Buffer, b: Buffer) -> bool:
    """Whether two buffers hold the same bytes.

    Of all comparisons only that of a `bytearray` takes any buffer and runs at the speed of memory, so one side is
    copied, a piece at a time and always to the same place: new memory for each piece costs more than the comparison.
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
    """The first 8 bytes of each of the records, which are of `size` bytes, a multiple of 8."""
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
        """Append `data`; a `bytearray` is copied, immutable buffers are kept when nothing else is held."""
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

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Copy of up to `count` bytes at `skip` from here, without consuming them."""
        first = self._pos + skip
        if self._whole is not None:
            return bytes(self._whole[first : first + count])
        return bytes(self._joined[first : first + count])

    def words(self, start: int, count: int, body: int) -> bytes:
        """The words of `count` available records of 8 + `body` bytes from stream offset `start`.

        Bodies are whole words, which are left out, or of one byte, which stays.
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
            taken = bytes(self._joined[self._pos : self._pos + count])
        self._pos += count
        self._compact()
        return taken


def _bytes(count: int) -> str:
    return "1 byte" if count == 1 else f"{count} bytes"

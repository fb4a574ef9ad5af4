# SPDX-License-Identifier: Apache-2.0
"""The two ends of a stream over a channel: buffered output with a rate limit, buffered input.

1. `Output` collects bytes and writes them in large pieces; after an error it writes nothing.
2. `Input` holds at most one buffer of bytes ahead of the reader; a reader that asks for more gets what has arrived.
3. `Input` is a `vmstate` Source: device sections load directly from it, and memory comes from its buffer without
   copies in between.
"""

from __future__ import annotations

import mmap
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from migmatrix.emulator.migration.channel import Channel, ChannelError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

__all__ = ["CHUNK", "BytesChannel", "BytesSink", "Input", "Output", "Readable", "Writable"]

_Got = TypeVar("_Got")
CHUNK: Final = 1 << 20  # bytes that are collected before they are written, and read at once


class Writable(Protocol):
    """The target of an output."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`."""


class Readable(Protocol):
    """The origin of an input."""

    def read_into(self, view: memoryview) -> int:
        """Read what is there, at least one byte; 0 at the end."""


class BytesChannel:
    """Bytes in memory as something to read from."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def read_into(self, view: memoryview) -> int:
        """Copy what fits."""
        count = min(len(view), len(self._left))
        view[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class BytesSink:
    """Bytes in memory as something to write to."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes | memoryview) -> None:
        """Append."""
        self.data += data


class Output:
    """A stream that is being written; `offset` counts its bytes, those that are still collected included.

    `beside` are bytes that other channels of the same migration carried, `total` all of them. `allowed` is the total at
    which an iterative device must stop for now (the rate limit); None is no limit.
    It writes when it has collected `piece` bytes; who waits for a page waits for those before it, too.
    While `holding`, the output collects everything: the machine is locked for that short time, and writing must not block.
    """

    def __init__(self, channel: Writable) -> None:
        self._channel = channel
        self._parts: list[Any] = []
        self._held = 0
        self.offset = 0
        self.beside = 0
        self.allowed: int | None = None
        self.piece = CHUNK
        self.holding = False

    @property
    def full(self) -> bool:
        """Whether to write nothing further for now."""
        return self.allowed is not None and self.total >= self.allowed

    @property
    def room(self) -> int | None:
        """Bytes that may still be written for now; None for any number."""
        return None if self.allowed is None else max(0, self.allowed - self.total)

    @property
    def total(self) -> int:
        """Bytes of all channels."""
        return self.offset + self.beside

    def put(self, data: bytes | bytearray | memoryview) -> None:
        """Append `data`, which must not change until `flush`."""
        self._parts.append(data)
        self._count(len(data))

    def put_all(self, parts: list[Any], size: int) -> None:
        """Append many pieces of `size` bytes together."""
        self._parts += parts
        self._count(size)

    def _count(self, size: int) -> None:
        self.offset += size
        self._held += size
        if self._held >= self.piece and not self.holding:
            self.flush()

    @contextmanager
    def released(self) -> Iterator[None]:
        """Write what is collected, even while holding, and go on so: the other side must answer now."""
        holding, self.holding = self.holding, False
        try:
            self.flush()
            yield
        finally:
            self.holding = holding

    def jump(self, position: int) -> None:
        """Write what is collected, and go on elsewhere in the file; ChannelError."""
        assert isinstance(self._channel, Channel)  # noqa: S101 - nothing else is a file
        with self.released():
            self._channel.seek(position)

    def flush(self) -> None:
        """Write the collected bytes, unless holding; ChannelError."""
        if self.holding:
            return
        parts, self._parts, self._held = self._parts, [], 0
        if parts:
            self._channel.write(parts[0] if len(parts) == 1 else b"".join(parts))


class Input:
    """A stream that is being read. `error` is what the channel said when it failed, "" at a plain end.

    `lock` is the machine's, which the reader holds: it is released while waiting for the other side. A reader that does
    not hold it sets it to None.
    """

    def __init__(self, channel: Readable, lock: threading.RLock | None = None) -> None:
        self.channel = channel
        self.lock = lock
        # anonymous memory, of which a short stream touches little
        self._buffer = mmap.mmap(-1, 2 * CHUNK, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._base = 0  # stream offset of the buffer's first byte
        self._over = False
        self.error = ""

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._base + self._start

    @property
    def available(self) -> int:
        """Bytes that are here."""
        return self._end - self._start

    @property
    def ended(self) -> bool:
        """Whether there is nothing more; waits to know."""
        return not self.need(1)

    @property
    def fell_short(self) -> bool:
        """Whether more was asked for than there is, looked at or taken."""
        return self._over

    def need(self, count: int) -> bool:
        """Wait until `count` bytes are here, at most one buffer; False when the stream ends before."""
        while self._end - self._start < count:
            if not self._fill():
                return False
        return True

    def _fill(self) -> bool:
        if self._over:
            return False
        if self._start and len(self._buffer) - self._end < CHUNK:
            self._compact()
        try:
            got = self._read(self._view[self._end : self._end + CHUNK])
        except ChannelError as error:
            self.error = str(error)
            got = 0
        self._end += got
        self._over = got == 0
        return got > 0

    def _read(self, view: memoryview) -> int:
        return self.unlocked(lambda: self.channel.read_into(view))

    def unlocked(self, wait: Callable[[], _Got]) -> _Got:
        """What `wait` returns, which is called without the lock."""
        if self.lock is None:
            return wait()
        self.lock.release()
        try:
            return wait()
        finally:
            self.lock.acquire()

    def _compact(self) -> None:
        left = self._end - self._start
        self._buffer.move(0, self._start, left)
        self._base += self._start
        self._start, self._end = 0, left

    def take(self, count: int) -> bytes:
        """Consume up to `count` bytes, fewer only at the end."""
        if count <= CHUNK:
            self.need(count)
            return self._consume(count)
        pieces = []
        while count and self.need(1):
            pieces.append(self._consume(min(count, CHUNK)))
            count -= len(pieces[-1])
        return b"".join(pieces)

    def _consume(self, count: int) -> bytes:
        end = min(self._start + count, self._end)
        taken = bytes(self._view[self._start : end])
        self._start = end
        return taken

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Up to `count` bytes from `skip` ahead, not consumed."""
        self.need(skip + count)
        first = self._start + skip
        return bytes(self._view[first : min(first + count, self._end)])

    def window(self) -> memoryview:
        """The buffered bytes, uncopied; valid until the next read. `skip` consumes them."""
        return self._view[self._start : self._end]

    def jump(self, position: int) -> None:
        """Go on elsewhere in the file; ChannelError."""
        assert isinstance(self.channel, Channel)  # noqa: S101 - nothing else is a file
        self.channel.seek(position)
        self._start = self._end = 0
        self._base = position

    def skip(self, count: int) -> None:
        """Consume `count` buffered bytes."""
        self._start += count

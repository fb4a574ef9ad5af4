# SPDX-License-Identifier: Apache-2.0
"""The little of RDMA verbs that a migration needs: a connection that sends messages and writes into remote memory.

1. Messages arrive whole and in order; what was written before a message is there when it is received.
2. Memory can be written only where the other side registered it, under the key that it gave; anything else breaks the
   connection on both sides, and changes no memory.
3. `Frames` is the stand-in for a device: one TCP connection for a queue pair. A frame is kind and length (32 bits each,
   big endian), then

       CONNECT, ACCEPT, REJECT   private data, at most 256 bytes
       SEND                      a message, at most 512 KiB
       WRITE                     address (64 bits), key (32 bits), 4 bytes of padding, content

4. What a reader holds is bounded: a message, or a piece of what is written.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.rdma.messages import MOST

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.migration.streams import Readable, Writable

__all__ = ["PAIR_EMPTY", "Frames", "Key", "Pair", "Regions", "Verbs", "pair"]

PAIR_EMPTY: Final = "nothing was sent"
_PRIVATE: Final = 256
_PIECE: Final = 1 << 20
_HEAD: Final = struct.Struct(">II")
_WRITE: Final = struct.Struct(">QI4x")
_BROKEN: Final = "Channel error: Input/output error"


class Verbs(Protocol):
    """A connected queue pair. ChannelError when it breaks."""

    regions: Regions

    def send(self, message: bytes) -> None:
        """Send a message."""

    def receive(self) -> bytes:
        """The next message; waits for it."""

    def write(self, address: int, key: int, data: bytes | memoryview) -> None:
        """Write into the other side's memory."""


class Key:
    """A registered range of memory: addresses from `start`, `length` bytes; `store` writes at an offset from `start`."""

    def __init__(self, number: int, start: int, length: int, store: Callable[[int, bytes], object]) -> None:
        self.number, self.start, self.length, self.store = number, start, length, store


class Regions:
    """What one side has registered."""

    def __init__(self) -> None:
        self._keys: dict[int, Key] = {}
        self._next = 1

    def register(self, start: int, length: int, store: Callable[[int, bytes], object]) -> Key:
        """Let the other side write there."""
        key = Key(self._next, start, length, store)
        self._keys[key.number] = key
        self._next += 1
        return key

    def forget(self, number: int) -> None:
        """Let it no longer; KeyError for a key that there is not."""
        del self._keys[number]

    def find(self, address: int, length: int, number: int) -> Key:
        """The key of a write, which must be within its range; ChannelError."""
        key = self._keys.get(number)
        if key is None or address < key.start or address + length > key.start + key.length:
            raise ChannelError(_BROKEN)
        return key


class Pair:
    """One end of a connection within a process, which never waits: `receive` fails when nothing was sent."""

    def __init__(self) -> None:
        self.regions = Regions()
        self.other: Pair = self
        self._inbox: deque[bytes] = deque()
        self._closed = False

    def send(self, message: bytes) -> None:
        """See Verbs."""
        self._check()
        self.other._inbox.append(message)  # noqa: SLF001 - its other end

    def receive(self) -> bytes:
        """See Verbs."""
        if not self._inbox:
            self._check()
            raise ChannelError(PAIR_EMPTY)
        return self._inbox.popleft()

    def write(self, address: int, key: int, data: bytes | memoryview) -> None:
        """See Verbs."""
        self._check()
        region = self.other.regions.find(address, len(data), key)
        region.store(address - region.start, bytes(data))

    def close(self) -> None:
        """Disconnect."""
        self._closed = True

    def _check(self) -> None:
        if self._closed or self.other._closed:  # noqa: SLF001 - as above
            raise ChannelError(_BROKEN)


def pair() -> tuple[Pair, Pair]:
    """Both ends of a connection within this process."""
    one, two = Pair(), Pair()
    one.other, two.other = two, one
    return one, two


class Frames:
    """One end of a connection over a byte channel; see rule 3."""

    CONNECT, ACCEPT, REJECT, SEND, WRITE = range(1, 6)

    def __init__(self, source: Readable, sink: Writable) -> None:
        self.regions = Regions()
        self._source = source
        self._sink = sink

    # -- connecting ------------------------------------------------------------------------------

    def connect(self, private: bytes) -> bytes:
        """Ask for a connection; the other side's private data, or ChannelError."""
        self._put(self.CONNECT, private)
        kind, length = self._head()
        if kind != self.ACCEPT:
            raise ChannelError(_BROKEN)
        return self._private(length)

    def requested(self) -> bytes:
        """The private data of a side that connects."""
        kind, length = self._head()
        if kind != self.CONNECT:
            raise ChannelError(_BROKEN)
        return self._private(length)

    def accept(self, private: bytes) -> None:
        """Let it."""
        self._put(self.ACCEPT, private)

    def reject(self) -> None:
        """Do not."""
        self._put(self.REJECT, b"")

    def _private(self, length: int) -> bytes:
        if length > _PRIVATE:
            raise ChannelError(_BROKEN)
        return self._take(length)

    # -- connected -------------------------------------------------------------------------------

    def send(self, message: bytes) -> None:
        """See Verbs."""
        self._put(self.SEND, message)

    def receive(self) -> bytes:
        """See Verbs; memory is written while it waits."""
        while True:
            kind, length = self._head()
            if kind == self.SEND and length <= MOST:
                return self._take(length)
            if kind != self.WRITE or length < _WRITE.size:
                raise ChannelError(_BROKEN)
            self._written(length - _WRITE.size)

    def _written(self, length: int) -> None:
        address, number = _WRITE.unpack(self._take(_WRITE.size))
        key = self.regions.find(address, length, number)
        at = address - key.start
        while length:
            piece = self._take(min(length, _PIECE))
            key.store(at, piece)
            at, length = at + len(piece), length - len(piece)

    def write(self, address: int, key: int, data: bytes | memoryview) -> None:
        """See Verbs."""
        self._sink.write(_HEAD.pack(self.WRITE, _WRITE.size + len(data)) + _WRITE.pack(address, key))
        self._sink.write(data)

    def _put(self, kind: int, data: bytes) -> None:
        self._sink.write(_HEAD.pack(kind, len(data)) + data)

    def _head(self) -> tuple[int, int]:
        kind, length = _HEAD.unpack(self._take(_HEAD.size))
        return kind, length

    def _take(self, count: int) -> bytes:
        taken = bytearray(count)
        view = memoryview(taken)
        while view:
            got = self._source.read_into(view)
            if not got:
                raise ChannelError(_BROKEN)
            view = view[got:]
        return bytes(taken)

# SPDX-License-Identifier: Apache-2.0
"""Byte channels: a file descriptor that carries a stream, and that another thread can interrupt.

1. A descriptor does not block. A wait is always for the descriptor and for the channel's interruption at once.
2. Every later read and write of an interrupted channel fails; none waits.
3. A channel may be encrypted (`secure`): from then on `write` and `read_into` go through its session.
4. Errors of the system become `ChannelError` here and nowhere else, with the texts of QEMU's channels.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Generator, Iterator

__all__ = ["Channel", "ChannelError", "CredentialsError", "RawChannel", "Session", "Wake"]


class ChannelError(Exception):
    """The other side is gone, or the system refused; the text is QEMU's."""


class CredentialsError(ChannelError):
    """A connection cannot be encrypted as this side is set up."""


class Wake:
    """Something to wait for together with a descriptor; once set it stays set."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_set = False

    def set(self) -> None:
        """Wake all waiters, now and later."""
        self.is_set = True
        os.eventfd_write(self.fd, 1)

    def wait(self, seconds: float) -> bool:
        """Wait at most so long, which may be for ever; whether it is set."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        poll.poll(None if seconds == float("inf") else max(0.0, seconds) * 1000)
        return self.is_set

    def close(self) -> None:
        """Give the descriptor back; a second call has no effect."""
        fd, self.fd = self.fd, -1
        if fd != -1:
            os.close(fd)

    __del__ = close  # a migration's own outlives its thread, as somebody may still cancel it


class RawChannel(Protocol):
    """A connection as whoever encrypts it sees it: bytes as they travel."""

    @property
    def interrupted(self) -> bool:
        """Whether all waits end."""

    def write_now(self, data: bytes) -> None:
        """Write what there is room for, without waiting."""

    def write_raw(self, data: bytes | memoryview) -> None:
        """Write all of `data`; waits for the other side. ChannelError."""

    def read_raw(self, view: memoryview) -> int:
        """Wait for at least one byte and read what has arrived; 0 at the end. ChannelError."""


class Session(Protocol):
    """What encrypts a connection."""

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`; ChannelError."""

    def read_into(self, view: memoryview) -> int:
        """Wait for at least one byte; 0 at the end. ChannelError."""

    def bye(self) -> None:
        """Say that this was all; do not wait."""


class Channel:
    """A connection. `noun` is what errors call it (socket, command, file); `finish` runs after it is closed.

    A channel of two descriptors (a command's input and output) reads from `fd` and writes to `out`.
    """

    def __init__(
        self,
        fd: int,
        noun: str,
        *,
        out: int | None = None,
        finish: Callable[[], object] | None = None,
        on_interrupt: Callable[[], object] | None = None,
    ) -> None:
        self.should_be_file = False  # given as a descriptor, and neither socket nor pipe
        self._in = fd
        self._out = fd if out is None else out
        self._noun = noun
        self._finish = finish
        self._on_interrupt = on_interrupt
        self._wake = Wake()
        self._closed = False
        self._session: Session | None = None
        self._stop: Wake | None = None  # ends waits beside the channel's own, while it is made secure
        self._lock = threading.Lock()
        for each in {self._in, self._out} - {-1}:
            os.set_blocking(each, False)

    @classmethod
    def from_socket(cls, sock: socket.socket) -> Channel:
        """A connected socket, which belongs to the channel from now on."""
        return cls(sock.detach(), "socket")

    @property
    def two_way(self) -> bool:
        """Whether the same connection can carry messages the other way."""
        return self._in != -1 and self._out != -1 and self._noun != "file"

    @property
    def is_socket(self) -> bool:
        """Whether it is a socket."""
        return self._noun == "socket"

    @property
    def secured(self) -> bool:
        """Whether it is encrypted."""
        return self._session is not None

    @property
    def interrupted(self) -> bool:
        """Whether all waits end."""
        return self._wake.is_set or (self._stop is not None and self._stop.is_set)

    def secure(
        self, make: Callable[[RawChannel], Generator[None, None, Session]], stop: Wake
    ) -> Iterator[None]:
        """Encrypt all that comes from now on; yields before each wait that this takes, which `stop` ends."""
        self._stop = stop
        self._session = yield from make(self)
        self._stop = None

    def fileno(self) -> int:
        """The descriptor to wait at for bytes."""
        return self._in

    def _check(self) -> None:
        if self.interrupted:
            raise ChannelError(f"Channel error: {os.strerror(5)}")

    def _wait(self, fd: int, event: int) -> None:
        poll = select.poll()
        poll.register(fd, event)
        for wake in filter(None, (self._wake, self._stop)):
            poll.register(wake.fd, select.POLLIN)
        poll.poll()
        self._check()

    def write(self, data: bytes | memoryview) -> None:
        """Write all of `data`; waits for the other side."""
        if self._session is None:
            self.write_raw(data)
        else:
            self._session.write(data)

    def read_into(self, view: memoryview) -> int:
        """Wait for at least one byte and read what has arrived; 0 at the end."""
        return self.read_raw(view) if self._session is None else self._session.read_into(view)

    def write_now(self, data: bytes) -> None:
        """See `RawChannel`; what fails is lost, as the connection is."""
        with suppress(OSError):
            os.write(self._out, data)

    def write_raw(self, data: bytes | memoryview) -> None:
        """Write bytes as they travel."""
        left = memoryview(data)
        while left:
            self._check()
            try:
                left = left[os.write(self._out, left) :]
            except BlockingIOError:
                self._wait(self._out, select.POLLOUT)
            except OSError as error:
                raise ChannelError(f"Unable to write to {self._noun}: {error.strerror}") from error

    def read_raw(self, view: memoryview) -> int:
        """Read bytes as they travel."""
        while True:
            self._check()
            try:
                return os.readv(self._in, [view])
            except BlockingIOError:
                self._wait(self._in, select.POLLIN)
            except OSError as error:
                raise ChannelError(f"Unable to read from {self._noun}: {error.strerror}") from error

    # -- files -----------------------------------------------------------------------------------

    def position(self) -> int:
        """Where in the file the next byte goes, or comes from; ChannelError."""
        return self._moved(0, os.SEEK_CUR)

    def seek(self, position: int) -> None:
        """Go on there; ChannelError."""
        self._moved(position, os.SEEK_SET)

    def _moved(self, by: int, how: int) -> int:
        try:
            return os.lseek(self._out, by, how)
        except (OSError, OverflowError) as error:
            words = error.strerror if isinstance(error, OSError) else os.strerror(errno.EINVAL)
            raise ChannelError(f"Unable to seek in {self._noun}: {words}") from error

    def write_at(self, data: bytes, position: int) -> None:
        """Write all of `data` there; ChannelError."""
        left = memoryview(data)
        try:
            while left:
                count = os.pwrite(self._out, left, position)
                left, position = left[count:], position + count
        except OSError as error:
            raise ChannelError(f"Unable to write to {self._noun}: {error.strerror}") from error

    def read_at(self, position: int, size: int) -> bytes:
        """Up to `size` bytes from there, fewer only at the end; ChannelError."""
        pieces = []
        try:
            while size and (piece := os.pread(self._in, size, position)):
                pieces.append(piece)
                size, position = size - len(piece), position + len(piece)
        except (OSError, OverflowError) as error:
            words = error.strerror if isinstance(error, OSError) else os.strerror(errno.EINVAL)
            raise ChannelError(f"Unable to read from {self._noun}: {words}") from error
        return b"".join(pieces)

    def interrupt(self) -> None:
        """End every wait of other threads, at once and for good."""
        with self._lock:
            if not self._closed:
                self._wake.set()
            if self._on_interrupt is not None:
                self._on_interrupt()

    def close(self) -> None:
        """Close; a second call has no effect. ChannelError if `finish` fails."""
        if self._session is not None and not self._closed and not self._wake.is_set:
            self._session.bye()
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for fd in {self._in, self._out} - {-1}:
                os.close(fd)
            self._wake.close()
        if self._finish is not None:
            self._finish()
            with self._lock:
                self._on_interrupt = None

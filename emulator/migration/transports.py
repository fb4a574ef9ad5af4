# SPDX-License-Identifier: Apache-2.0
"""Opens what an address names: outgoing channels, and listeners for incoming ones.

1. What can fail at once (a command, a file, a descriptor, a socket to listen on) fails in `opened` and `listen`
   with QEMU's text; a connection is made by `connect`, which waits and can be interrupted (`emulator.migration.sockets`).
2. Channels own their descriptors; a command is waited for when its channel is closed, and ended by an interrupt.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Wake
else:
    import _signal as signal  # what `signal` is made of, without the enumerations that it makes when imported

__all__ = ["Arrival", "connect", "listen", "opened"]


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


# -- outgoing ------------------------------------------------------------------------------------


def opened(address: Address, fds: Callable[[str], int | None]) -> Channel | None:
    """The channel of an address that needs no connection, None for one that does; QmpError."""
    if address.kind == "exec":
        return _command(address)
    if address.kind == "fd":
        return _descriptor(address, fds)
    if address.kind == "file":
        return _file(address, writing=True)
    return None


def connect(address: Address, wake: Wake) -> Channel:
    """Connect; ChannelError, also when `wake` ends the wait."""
    from migmatrix.emulator.migration.sockets import connected  # noqa: PLC0415 - most streams go to a command or a file

    return connected(address, wake)


def _command(address: Address) -> Channel:
    """A process with a pipe in each direction, whichever way the stream goes, as in QEMU."""
    to_read, to_write = os.pipe2(os.O_CLOEXEC)
    from_read, from_write = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, to_read, 0), (os.POSIX_SPAWN_DUP2, from_write, 1)]
    try:
        pid = os.posix_spawn(
            address.command[0], address.command, os.environ,
            file_actions=actions, setsigmask=[], setsigdef=[signal.SIGPIPE],
        )  # fmt: skip
    except OSError as error:
        for fd in (to_write, from_read):
            os.close(fd)
        raise _error(f"Failed to execute child process: {error.strerror}") from error
    finally:
        os.close(to_read)
        os.close(from_write)
    process = _Process(pid)
    return Channel(from_read, "command", out=to_write, finish=process.wait, on_interrupt=process.end)


class _Process:
    """A command; `wait` returns when it has ended, `end` makes it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._handle = os.pidfd_open(pid)

    def wait(self) -> None:
        """Wait for the end and forget the process. Its status does not matter, as in QEMU."""
        os.waitpid(self._pid, 0)
        os.close(self._handle)

    def end(self) -> None:
        """Ask it to end; called before `wait` has returned."""
        signal.pidfd_send_signal(self._handle, signal.SIGTERM)


def _descriptor(address: Address, fds: Callable[[str], int | None]) -> Channel:
    fd = fds(address.target)
    if fd is None:
        raise _error(f"File descriptor named '{address.target}' has not been found")
    mode = os.fstat(fd).st_mode
    return Channel(fd, "socket" if stat.S_ISSOCK(mode) else "file")


def _file(address: Address, *, writing: bool) -> Channel:
    flags = os.O_CREAT | os.O_WRONLY if writing else os.O_RDONLY
    try:
        fd = os.open(address.target, flags | os.O_CLOEXEC, 0o660)
    except OSError as error:
        verb = "create" if writing else "open"
        raise _error(f"Could not {verb} '{address.target}': {error.strerror}") from error
    if writing and stat.S_ISREG(os.fstat(fd).st_mode):
        os.ftruncate(fd, address.offset)  # what is before belongs to somebody else
    if address.offset:
        os.lseek(fd, address.offset, os.SEEK_SET)
    return Channel(fd, "file")


# -- incoming ------------------------------------------------------------------------------------


class Arrival(Protocol):
    """A listener for one stream."""

    def accept(self, wake: Wake) -> Channel | None:
        """The next channel, waiting for it; None when there will be none, or `wake` ended the wait."""

    def close(self) -> None:
        """Wait for nothing more."""

    def describe(self) -> list[dict[str, str]]:
        """Socket addresses as `query-migrate` gives them."""


class _Ready:
    """A channel that is there already; there is only one."""

    def __init__(self, channel: Channel) -> None:
        self._channel: Channel | None = channel

    def accept(self, wake: Wake) -> Channel | None:
        """The channel, once."""
        channel, self._channel = self._channel, None
        if channel is None:
            wake.wait(float("inf"))
        return channel

    def close(self) -> None:
        """Nothing listens."""

    def describe(self) -> list[dict[str, str]]:
        """No socket is listened on."""
        return []


def listen(address: Address, fds: Callable[[str], int | None]) -> Arrival:
    """Get ready for a stream; QmpError."""
    if address.kind == "exec":
        return _Ready(_command(address))
    if address.kind == "fd":
        return _Ready(_descriptor(address, fds))
    if address.kind == "file":
        return _Ready(_file(address, writing=False))
    from migmatrix.emulator.migration.sockets import bound  # noqa: PLC0415 - as above

    return bound(address)

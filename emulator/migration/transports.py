# SPDX-License-Identifier: Apache-2.0
"""Opens what an address names: outgoing channels, and listeners for incoming ones.

1. What can fail at once (a command, a file, a descriptor, a socket to listen on) fails in `opened` and `listen`
   with QEMU's text; a connection is made by `connect`, which waits and can be interrupted (`emulator.migration.sockets`).
2. Channels own their descriptors; a command is waited for when its channel is closed, and ended by an interrupt.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Any, Final, Protocol

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.channel import Wake

    Lookup = Callable[[str], int | None]  # gives and forgets a descriptor that came by `getfd`
    Sets = Mapping[int, Sequence[tuple[int, str]]]  # descriptors that came by `add-fd`
else:
    import _signal as signal  # what `signal` is made of, without the enumerations that it makes when imported

__all__ = ["Arrival", "connect", "listen", "opened", "secured", "securing"]

_SETS: Final = "/dev/fdset/"


def _error(text: str) -> QmpError:
    return QmpError("GenericError", text)


# -- outgoing ------------------------------------------------------------------------------------


def opened(address: Address, fds: Lookup, sets: Sets) -> Channel | None:
    """The channel of an address that needs no connection, None for one that does; QmpError."""
    if address.kind == "exec":
        return _command(address)
    if address.kind == "fd":
        return _named(address.target, fds)
    if address.kind == "file":
        return _file(address, sets, writing=True)
    return None


def connect(address: Address, wake: Wake) -> Channel:
    """Connect; ChannelError, also when `wake` ends the wait."""
    from migmatrix.emulator.migration.sockets import connected  # noqa: PLC0415 - most streams go to a command or a file

    return secured(connected(address, wake), address, wake)


def secured(channel: Channel, address: Address, wake: Wake) -> Channel:
    """The channel, encrypted if its address says so; else it is closed, and ChannelError."""
    for _ in securing(channel, address, wake):
        pass  # whoever reads waits
    return channel


def securing(channel: Channel, address: Address, wake: Wake) -> Iterator[None]:
    """Do what `secured` does, and yield before each wait."""
    if address.tls is None:
        return
    make, host = address.tls.secure, address.inet.host
    try:
        yield from channel.secure(lambda raw: make(raw, host), wake)
    except BaseException:
        channel.close()
        raise


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


def _named(name: str, fds: Lookup) -> Channel:
    fd = fds(name)
    if fd is None:
        raise _error(f"File descriptor named '{name}' has not been found")
    return _descriptor(fd)


def _descriptor(fd: int) -> Channel:
    mode = os.fstat(fd).st_mode
    channel = Channel(fd, "socket" if stat.S_ISSOCK(mode) else "file")
    channel.should_be_file = not (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode))
    return channel


def _file(address: Address, sets: Sets, *, writing: bool) -> Channel:
    path = address.target
    flags = os.O_CREAT | os.O_WRONLY if writing else os.O_RDONLY
    try:
        fd = (
            _from_set(path, flags, sets)
            if path.startswith(_SETS)
            else os.open(path, flags | os.O_CLOEXEC, 0o660)
        )
    except OSError as error:
        verb = "create" if writing else "open"
        raise _error(f"Could not {verb} '{path}': {error.strerror}") from error
    try:
        _go_to(fd, address.offset, writing=writing)
    except QmpError:
        os.close(fd)
        raise
    return Channel(fd, "file")


def _go_to(fd: int, offset: int, *, writing: bool) -> None:
    """Begin at `offset`; what is before it belongs to somebody else."""
    try:
        if writing and stat.S_ISREG(os.fstat(fd).st_mode):
            os.ftruncate(fd, offset)
        if offset:
            os.lseek(fd, offset, os.SEEK_SET)
    except (OSError, OverflowError) as error:
        words = os.strerror(errno.EINVAL) if isinstance(error, OverflowError) else error.strerror
        what = (
            f"failed to truncate migration file to offset {offset % 2**64:x}" if writing else "Failed to seek"
        )
        raise _error(f"{what}: {words}") from error


def _from_set(path: str, flags: int, sets: Sets) -> int:
    """A copy of the descriptor of a set (`add-fd`) that was opened as it is wanted."""
    from fcntl import F_GETFL, fcntl  # noqa: PLC0415 - few streams go to such a set

    number = path.removeprefix(_SETS)
    if not number.isdigit():
        raise _error(f"Could not parse fdset {path}")
    if int(number) not in sets:
        raise _error(f"Failed to find fdset {path}")
    for fd, _ in sets[int(number)]:
        if fcntl(fd, F_GETFL) & os.O_ACCMODE == flags & os.O_ACCMODE:
            return os.dup(fd)
    raise _error(f"Failed to find file descriptor with matching flags=0x{flags:x}")


# -- incoming ------------------------------------------------------------------------------------


def _arrived(address: Address, fds: Lookup | None, sets: Sets) -> Channel | None:
    if address.kind == "exec":
        return _command(address)
    if address.kind == "file":
        return _file(address, sets, writing=False)
    if address.kind != "fd":
        return None
    if fds is None or address.target[:1].isdigit():
        return _inherited(address.target)
    return _named(address.target, fds)


def _inherited(number: str) -> Channel:
    if not number.isdigit():
        raise _error(f"Invalid file descriptor number '{number}'")
    try:
        return _descriptor(int(number))
    except (OSError, OverflowError) as error:  # QEMU waits for it for ever
        raise _error(f"fd:{number}: {os.strerror(errno.EBADF)}") from error


class Arrival(Protocol):
    """A listener for one stream; `ready` is the channel if it is there already."""

    ready: Channel | None

    def accept(self, wake: Wake) -> Channel | None:
        """The next channel, waiting for it; None when there will be none, or `wake` ended the wait."""

    def close(self) -> None:
        """Wait for nothing more."""

    def describe(self) -> list[dict[str, Any]]:
        """Socket addresses as `query-migrate` gives them."""


class _Ready:
    """A channel that is there already; there is only one."""

    def __init__(self, channel: Channel) -> None:
        self.ready: Channel | None = channel

    def accept(self, wake: Wake) -> Channel | None:
        """The channel, once."""
        channel, self.ready = self.ready, None
        if channel is None:
            wake.wait(float("inf"))
        return channel

    def close(self) -> None:
        """Nothing listens."""

    def describe(self) -> list[dict[str, Any]]:
        """No socket is listened on."""
        return []


def listen(
    address: Address, fds: Lookup | None, sets: Sets, say: Callable[[str], object] = lambda _: None
) -> Arrival:
    """Get ready for a stream; QmpError. Without a monitor (`fds` is None) descriptors are inherited ones, by number.

    `say` prints why an encrypted connection did not come about.
    """
    arrival = _listen(address, fds, sets)
    if address.tls is None:
        return arrival
    from migmatrix.emulator.migration.arrivals import SecureArrival  # noqa: PLC0415 - few are encrypted

    return SecureArrival(arrival, address, say)


def _listen(address: Address, fds: Lookup | None, sets: Sets) -> Arrival:
    if (ready := _arrived(address, fds, sets)) is not None:
        return _Ready(ready)
    from migmatrix.emulator.migration.sockets import bound  # noqa: PLC0415 - as above

    return bound(address)

"""Opening what an address names: outgoing channels, and places where an incoming one arrives.

1. What can fail at once (a command, a file, a descriptor, a socket to listen on) fails in `opened` and `listen`
   with QEMU's text; a connection is made by `connect`, which waits and can be interrupted.
2. Channels own their descriptors; a command is waited for when its channel is closed, and ended by an interrupt.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
from typing import TYPE_CHECKING, Protocol

from emulator.errors import QmpError
from emulator.migration.channel import Channel, ChannelError, Wake

if TYPE_CHECKING:
    from collections.abc import Callable

    from emulator.migration.address import Address

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
    where = address.target if address.kind == "unix" else f"{address.target}:{address.port}"
    family, target = _resolve(address)
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        code = sock.connect_ex(target)
        if code in (11, 115):  # EAGAIN, EINPROGRESS
            _writable(sock, wake)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    except (OSError, ChannelError):
        sock.close()
        raise
    if code:
        sock.close()
        raise ChannelError(f"Failed to connect to '{where}': {os.strerror(code)}")
    return Channel.from_socket(sock)


def _resolve(address: Address) -> tuple[int, str | tuple[str, int]]:
    if address.kind == "unix":
        return socket.AF_UNIX, address.target
    try:
        found = socket.getaddrinfo(
            address.target or None, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except socket.gaierror as error:
        text = f"address resolution failed for {address.target}:{address.port}: {error.strerror}"
        raise ChannelError(text) from error
    family, *_, target = found[0]
    return family, (str(target[0]), int(target[1]))


def _writable(sock: socket.socket, wake: Wake) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    poll.register(wake.fd, select.POLLIN)
    poll.poll()
    if wake.is_set:
        raise ChannelError("Channel error: Input/output error")


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
    flags = os.O_CREAT | os.O_WRONLY | os.O_TRUNC if writing else os.O_RDONLY
    try:
        fd = os.open(address.target, flags | os.O_CLOEXEC, 0o660)
    except OSError as error:
        verb = "create" if writing else "open"
        raise _error(f"Could not {verb} '{address.target}': {error.strerror}") from error
    if address.offset:
        os.lseek(fd, address.offset, os.SEEK_SET)
    return Channel(fd, "file")


# -- incoming ------------------------------------------------------------------------------------


class Arrival(Protocol):
    """Where a stream arrives."""

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


class _Listener:
    """A listening socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)
        self._name = sock.getsockname()
        self._closed = False

    def accept(self, wake: Wake) -> Channel | None:
        """Wait for a connection."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(wake.fd, select.POLLIN)
        while True:
            poll.poll()
            if wake.is_set:
                return None
            try:
                return Channel.from_socket(self._sock.accept()[0])
            except BlockingIOError:
                continue  # it went away again

    def close(self) -> None:
        """Stop listening; a UNIX socket's file goes."""
        name = self._name
        self._sock.close()
        self._closed = True
        if isinstance(name, str) and os.access(name, os.F_OK):
            os.unlink(name)  # noqa: PTH108 - pathlib is not loaded at start

    def describe(self) -> list[dict[str, str]]:
        """The one address."""
        name = self._name
        if self._closed:
            return []
        if isinstance(name, str):
            return [{"type": "unix", "path": name}]
        return [{"type": "inet", "host": name[0], "port": str(name[1])}]


def listen(address: Address, fds: Callable[[str], int | None]) -> Arrival:
    """Get ready for a stream; QmpError."""
    if address.kind == "exec":
        return _Ready(_command(address))
    if address.kind == "fd":
        return _Ready(_descriptor(address, fds))
    if address.kind == "file":
        return _Ready(_file(address, writing=False))
    return _Listener(_bound(address))


def _bound(address: Address) -> socket.socket:
    is_unix = address.kind == "unix"
    try:
        family, target = _resolve(address)
    except ChannelError as error:
        raise _error(str(error)) from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if is_unix:
            _unlink(address.target)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(target)
        sock.listen(1)
    except OSError as error:
        sock.close()
        where = f"socket to {address.target}" if is_unix else f"socket to '{address.target}:{address.port}'"
        raise _error(f"Failed to bind {where}: {error.strerror}") from error
    return sock


def _unlink(path: str) -> None:
    """Remove what is left of another listener, as QEMU does."""
    if os.access(path, os.F_OK):
        os.unlink(path)  # noqa: PTH108 - pathlib is not loaded at start

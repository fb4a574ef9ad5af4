# SPDX-License-Identifier: Apache-2.0
"""Streams over UNIX, TCP and VSOCK sockets: connecting, and listening for a connection.

Apart from the other transports, because the `socket` module takes longer to load than most streams take.
A name may have several addresses: each is tried in turn, and all of them are listened on. Texts are QEMU's.
"""

from __future__ import annotations

import errno
import os
import select
import socket
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel, ChannelError, Wake

if TYPE_CHECKING:
    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.inet import Inet
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["bound", "connected"]

_LONGEST: Final = 107  # bytes of a UNIX socket's path
_BACKLOG: Final = 256  # connections of one migration that has as many channels as there can be
_MPTCP: Final = 262  # the protocol's number
_Target = tuple[int, Any]  # family, address


def connected(address: Address, wake: Wake) -> Channel:
    """Connect; ChannelError of the last address tried, also when `wake` ends the wait."""
    failed = ChannelError("")
    for family, target in _targets(address, passive=False):
        try:
            return Channel.from_socket(_connected(address, family, target, wake))
        except ChannelError as error:
            failed = error
            if wake.is_set:
                break
    raise failed


def _connected(address: Address, family: int, target: Any, wake: Wake) -> socket.socket:
    sock = _socket(family, address.inet)
    try:
        _check(address, _connect(sock, target, wake))
        if address.inet.keep_alive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _check(address: Address, code: int) -> None:
    if code:
        where = address.target or f"{address.inet.host}:{address.inet.port}"
        raise ChannelError(f"Failed to connect to '{where}': {os.strerror(code)}")


def _connect(sock: socket.socket, target: Any, wake: Wake) -> int:
    """0, or the number of an error."""
    sock.setblocking(False)
    try:
        code = sock.connect_ex(target)
    except OSError as error:  # an address that does not fit, as of a network card that is not there
        return error.errno or errno.EINVAL
    if code in (errno.EAGAIN, errno.EINPROGRESS):
        _writable(sock, wake)
        return sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return code


def _socket(family: int, inet: Inet) -> socket.socket:
    try:
        return socket.socket(family, socket.SOCK_STREAM, _MPTCP if inet.mptcp else 0)
    except OSError as error:
        raise ChannelError(f"Failed to create socket: {error.strerror}") from error


def _targets(address: Address, *, passive: bool) -> list[_Target]:
    """Families and addresses, in the order in which they are tried; ChannelError."""
    inet = address.inet
    if address.kind == "unix":
        if len(os.fsencode(address.target)) > _LONGEST:
            raise ChannelError(f"UNIX socket path '{address.target}' is too long")
        return [(socket.AF_UNIX, address.target)]
    if address.kind == "vsock":
        return [(socket.AF_VSOCK, (_number(inet.host, "cid"), _number(inet.port, "port")))]
    flags = socket.AI_PASSIVE if passive else socket.AI_CANONNAME | socket.AI_V4MAPPED | socket.AI_ADDRCONFIG
    if inet.numeric:
        flags |= socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
    host = inet.host or (None if passive else "")
    try:
        found = _look_up(host, inet, flags)
    except (socket.gaierror, UnicodeError) as error:
        words = error.strerror if isinstance(error, OSError) else "Name or service not known"
        text = f"address resolution failed for {inet.host}:{inet.port}: {words}"
        raise ChannelError(text) from error
    return [(family, target) for family, _, _, _, target in found]


def _look_up(host: str | None, inet: Inet, flags: int) -> list[Any]:
    if host == "":
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return socket.getaddrinfo(host, inet.port, _family(inet), socket.SOCK_STREAM, flags=flags)


def _family(inet: Inet) -> int:
    """What `ipv4` and `ipv6` ask for."""
    if inet.ipv4 is False and inet.ipv6 is False:
        raise ChannelError("Cannot disable IPv4 and IPv6 at same time")
    if inet.ipv4 and inet.ipv6:
        return socket.AF_UNSPEC
    if inet.ipv6 or inet.ipv4 is False:
        return socket.AF_INET6
    if inet.ipv4 or inet.ipv6 is False:
        return socket.AF_INET
    return socket.AF_UNSPEC


def _number(text: str, what: str) -> int:
    if not text.isdigit():
        raise ChannelError(f"Failed to parse {what} '{text}'")
    return int(text)


def _writable(sock: socket.socket, wake: Wake) -> None:
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    poll.register(wake.fd, select.POLLIN)
    poll.poll()
    if wake.is_set:
        raise ChannelError("Channel error: Input/output error")


class _Listener:
    """Sockets that listen."""

    ready: Channel | None = None

    def __init__(self, socks: list[socket.socket]) -> None:
        self._socks = socks
        for sock in socks:
            sock.setblocking(False)
        self._names = [(sock.family, sock.getsockname()) for sock in socks]
        self._closed = False

    def accept(self, wake: Wake) -> Channel | None:
        """Wait for a connection."""
        by_fd = {sock.fileno(): sock for sock in self._socks}
        poll = select.poll()
        for fd in (*by_fd, wake.fd):
            poll.register(fd, select.POLLIN)
        while True:
            ready = poll.poll()
            if wake.is_set:
                return None
            try:
                return Channel.from_socket(by_fd[ready[0][0]].accept()[0])
            except BlockingIOError:
                continue  # it went away again

    def close(self) -> None:
        """Stop listening; a UNIX socket's file goes."""
        self._closed = True
        for sock, (family, name) in zip(self._socks, self._names, strict=True):
            sock.close()
            if family == socket.AF_UNIX:
                _unlink(name)

    def describe(self) -> list[dict[str, Any]]:
        """The addresses."""
        return [] if self._closed else [_told(family, name) for family, name in self._names]


def _told(family: int, name: Any) -> dict[str, Any]:
    if family == socket.AF_UNIX:
        return {"type": "unix", "path": name}
    if family == socket.AF_VSOCK:
        return {"type": "vsock", "cid": str(name[0]), "port": str(name[1])}
    version = "ipv6" if family == socket.AF_INET6 else "ipv4"
    return {"type": "inet", "host": name[0], "port": str(name[1]), version: True}


def bound(address: Address) -> Arrival:
    """Sockets that listen, on every address of a name that lets them; QmpError when none does."""
    made: list[socket.socket] = []
    failed = ""
    try:
        for family, target in _targets(address, passive=True):
            try:
                made.append(_listening(address, family, target))
            except ChannelError as error:
                failed = failed or str(error)
    except ChannelError as error:
        failed = str(error)
    if not made:
        raise QmpError("GenericError", failed)
    return _Listener(made)


def _listening(address: Address, family: int, target: Any) -> socket.socket:
    """A socket that listens on a target, or on the first port after it that is free, up to the address's last."""
    sock = _socket(family, address.inet)
    try:
        if family == socket.AF_UNIX:
            _unlink(target)
            _bind(sock, target, f"Failed to bind socket to {target}")
        elif family == socket.AF_VSOCK:
            _bind(sock, target, "Failed to bind socket")
        else:
            _bind_any(sock, target, address.inet)
        sock.listen(_BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _bind_any(sock: socket.socket, target: Any, inet: Inet) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6 and not (inet.ipv4 and inet.ipv6):
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    host, port, *rest = target
    for number in range(port, max(port, inet.to) + 1):
        try:
            _bind(sock, (host, number, *rest), "Failed to bind socket")
        except ChannelError as error:
            busy = isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
            if not busy:
                raise
        else:
            return
    raise ChannelError(f"Failed to find an available port: {os.strerror(errno.EADDRINUSE)}")


def _bind(sock: socket.socket, target: Any, words: str) -> None:
    try:
        sock.bind(target)
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError) else os.strerror(errno.EINVAL)
        raise ChannelError(f"{words}: {reason}") from error


def _unlink(path: str) -> None:
    """Remove what is left of another listener, as QEMU does."""
    if os.access(path, os.F_OK):
        os.unlink(path)  # noqa: PTH108 - pathlib is not loaded at start

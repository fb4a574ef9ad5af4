# SPDX-License-Identifier: Apache-2.0
"""Streams over UNIX and TCP sockets: connecting, and listening for a connection.

Apart from the other transports, because the `socket` module takes longer to load than most streams take.
Texts are QEMU's.
"""

from __future__ import annotations

import os
import select
import socket
from typing import TYPE_CHECKING

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel, ChannelError, Wake

if TYPE_CHECKING:
    from migmatrix.emulator.migration.address import Address
    from migmatrix.emulator.migration.transports import Arrival

__all__ = ["bound", "connected"]


def connected(address: Address, wake: Wake) -> Channel:
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


def bound(address: Address) -> Arrival:
    """A socket that listens; QmpError."""
    return _Listener(_bound(address))


def _bound(address: Address) -> socket.socket:
    is_unix = address.kind == "unix"
    try:
        family, target = _resolve(address)
    except ChannelError as error:
        raise QmpError("GenericError", str(error)) from error
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
        raise QmpError("GenericError", f"Failed to bind {where}: {error.strerror}") from error
    return sock


def _unlink(path: str) -> None:
    """Remove what is left of another listener, as QEMU does."""
    if os.access(path, os.F_OK):
        os.unlink(path)  # noqa: PTH108 - pathlib is not loaded at start

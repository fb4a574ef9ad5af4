# SPDX-License-Identifier: Apache-2.0
"""UNIX sockets without the `socket` module, whose tables of names take longer to make than a greeting may.

`Socket` is the type in C that `socket.socket` derives from; what has to know host names is left to the real module.
"""

from __future__ import annotations

import _socket
import sys
from _socket import SHUT_RDWR
from _socket import socket as Socket  # noqa: N812 - a class
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "SHUT_RDWR",
    "Socket",
    "accept",
    "connect_tcp",
    "connect_unix",
    "listener",
    "receive",
    "send",
    "unix_socket",
]

_MAX_FDS: Final = 16  # as QEMU takes at most with one message
_FD_BYTES: Final = 4


def unix_socket() -> Socket:
    """A stream socket of the UNIX family, connected to nothing."""
    return Socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)


def connect_unix(path: str) -> Socket:
    """A connection to `path`; OSError, and no socket is left."""
    made = unix_socket()
    try:
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def connect_tcp(host: str, port: int) -> Socket:
    """A connection; OSError."""
    import socket  # noqa: PLC0415 - monitors are on UNIX sockets, nearly always

    return socket.create_connection((host, port))


def listener(path: str, host: str, port: str, backlog: int) -> Socket:
    """A socket that listens on `path`, or without one on host and port; OSError."""
    made = unix_socket() if path else Socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        if path:
            made.bind(path)
        else:
            made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
            made.bind((host or "0.0.0.0", int(port)))  # noqa: S104 - as asked for
        made.listen(backlog)
    except OSError:
        made.close()
        raise
    return made


def accept(listening: Socket) -> Socket:
    """The next connection, as `socket.socket.accept` makes it."""
    fd: int = listening._accept()[0]  # type: ignore[attr-defined]  # noqa: SLF001 - what `accept` is written with
    return Socket(fileno=fd)


def send(sock: Socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """All of `data`, and with it descriptors, as `socket.send_fds`; OSError."""
    content = b"".join(fd.to_bytes(_FD_BYTES, sys.byteorder) for fd in fds)
    rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, content)] if fds else []
    sent = sock.sendmsg([data], rights)
    if sent < len(data):
        sock.sendall(data[sent:])


def receive(sock: Socket, most: int) -> tuple[bytes, list[int]]:
    """At most so many bytes, and the descriptors that came along; as `socket.recv_fds`."""
    room = _socket.CMSG_LEN(_MAX_FDS * _FD_BYTES)
    data, messages, _, _ = sock.recvmsg(most, room, _socket.MSG_CMSG_CLOEXEC)
    fds: list[int] = []
    for level, kind, content in messages:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            whole = len(content) - len(content) % _FD_BYTES
            fds += memoryview(content)[:whole].cast("i").tolist()
    return data, fds

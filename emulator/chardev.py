# SPDX-License-Identifier: Apache-2.0
"""Character devices: monitors, serial ports and the debug console write to them and read from them.

A `Backend` belongs to one frontend at a time: it calls `on_open`, `on_data(bytes, fds)` and `on_close`, and the
frontend calls `write`. A client socket connects at once (with `reconnect` later, again and again). A server socket
waits for its first client unless ``wait=off``, and serves one client at a time.

1. Everything runs on the main loop's thread. A backend keeps what its peer does not take, and sends it later.
2. While no peer is connected or the peer does not read, a `lossy` backend drops a guest's output.
3. `close` removes the UNIX socket files that this module made, and nothing else.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.loop import READ, WRITE
from migmatrix.emulator.options.keyvalue import flag
from migmatrix.emulator.sockets import Socket, accept, connect_tcp, connect_unix, listener, receive

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.loop import Loop
    from migmatrix.emulator.options.records import Chardev

__all__ = ["Backend", "open_chardev"]

_CHUNK: Final = 65536
_BACKLOG: Final = 1
_RECONNECT: Final = 1.0


def _nothing(*_: object) -> None:
    """For a frontend that is not there."""


class Backend:
    """The chardev `null`, which has no peer, and the base of all others."""

    def __init__(self, spec: Chardev, loop: Loop) -> None:
        self.lossy = False
        self.id = spec.id
        self.spec = spec
        self.loop = loop
        self.on_open: Callable[[], object] = _nothing
        self.on_data: Callable[[bytes, list[int]], object] = _nothing
        self.on_close: Callable[[], object] = _nothing

    @property
    def filename(self) -> str:
        """The name in query-chardev."""
        return self.spec.kind

    @property
    def connected(self) -> bool:
        """Whether a peer is connected."""
        return False

    @property
    def descriptor(self) -> int:
        """The peer's connection, for a frontend that reads and writes by itself and does not `start`; -1 for none."""
        return -1

    def start(self) -> None:
        """Begin to call the frontend."""

    def write(self, data: bytes) -> None:
        """Send all of `data`, now or when the peer takes it."""

    def flush(self, timeout: float) -> None:
        """Write unsent output for at most `timeout` seconds; the process calls this before it ends."""

    def close(self) -> None:
        """Close, and remove files that this chardev made."""


class _Stream(Backend):
    """Two descriptors, perhaps the same."""

    def __init__(self, spec: Chardev, loop: Loop) -> None:
        super().__init__(spec, loop)
        self._in = self._out = -1
        self._kept = bytearray()

    @property
    def connected(self) -> bool:
        return self._out >= 0

    def _attach(self, source: int, sink: int) -> None:
        self._in, self._out = source, sink
        os.set_blocking(sink, False)
        self._watch()
        self.on_open()

    def _watch(self) -> None:
        if self._in == self._out:
            self.loop.watch(self._in, READ | (WRITE if self._kept else 0), self._ready)
            return
        if self._in >= 0:
            self.loop.watch(self._in, READ, self._ready)
        if self._kept:
            self.loop.watch(self._out, WRITE, self._ready)
        else:
            self.loop.forget(self._out)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._push()
        if events & READ and self._in >= 0:
            self._pull()

    def _read(self) -> tuple[bytes, list[int]]:
        return os.read(self._in, _CHUNK), []

    def _pull(self) -> None:
        try:
            data, fds = self._read()
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, fds = b"", []  # a reset connection is an ended one
        if data:
            self.on_data(data, fds)
        else:
            self._ended()

    def write(self, data: bytes) -> None:
        if self._out < 0 or (self.lossy and self._kept):
            return
        self._kept += data
        self._push()

    def _push(self) -> None:
        try:
            while self._kept:
                sent = os.write(self._out, self._kept)
                del self._kept[:sent]
        except (BlockingIOError, InterruptedError):
            pass  # the loop says when there is room
        except OSError:
            self._kept.clear()
            self._ended()
            return
        self._watch()

    def flush(self, timeout: float) -> None:
        import select  # noqa: PLC0415 - only at the end, only when a peer is slow

        while self._kept and self._out >= 0 and select.select([], [self._out], [], timeout)[1]:
            self._push()

    def _ended(self) -> None:
        self.loop.forget(self._in)
        self.loop.forget(self._out)
        self._in = self._out = -1
        self._kept.clear()
        self.on_close()


class _Stdio(_Stream):
    """This process's own input and output; what comes after the end of the input is still written."""

    def start(self) -> None:
        self._attach(0, 1)

    def _attach(self, source: int, sink: int) -> None:
        try:
            super()._attach(source, sink)
        except PermissionError:  # a plain file cannot be waited for: it is read at once
            self._in, self._out = -1, sink
            self.on_open()
            self.loop.call(self._slurp)

    def _slurp(self) -> None:
        while data := os.read(0, _CHUNK):
            self.on_data(data, [])

    def _ended(self) -> None:
        self.loop.forget(self._in)
        self._in = -1
        os.set_blocking(1, True)


class _File(_Stream):
    """Output to a file or a named pipe; no input."""

    def start(self) -> None:
        self.on_open()

    def __init__(self, spec: Chardev, loop: Loop) -> None:
        super().__init__(spec, loop)
        path = dict(spec.props).get("path", "")
        try:
            self._out = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        except OSError as err:
            raise FatalError(f"{spec.where}: Could not open '{path}': {err.strerror}") from err

    def _watch(self) -> None:
        """A file takes everything at once."""

    def close(self) -> None:
        if self._out >= 0:
            os.close(self._out)
            self._out = -1


class _Socket(_Stream):
    """A UNIX or TCP socket, as a client or as a server with one client at a time."""

    def __init__(self, spec: Chardev, loop: Loop) -> None:
        super().__init__(spec, loop)
        props = dict(spec.props)
        self._path = props.get("path", "")
        self._host, self._port = props.get("host", ""), props.get("port", "")
        self._server = flag("server", props.get("server", "off"))
        self._wait = flag("wait", props.get("wait", "on"))
        self._retry = _retry(props)
        self._given = False
        self._socket: Socket | None = None
        self._listener: Socket | None = None
        if "fd" in props:
            self._inherit(props["fd"])
        elif self._server:
            self._listen()
        else:
            self._connect()

    def _inherit(self, number: str) -> None:
        """A socket that this process was given: connected already, or, for a server, listening."""
        if not number.isdigit():
            raise FatalError(f"{self.spec.where}: Unable to parse FD number {number}")
        try:
            given = Socket(fileno=int(number))
        except (OSError, OverflowError) as err:
            raise FatalError(f"{self.spec.where}: File descriptor '{number}' is not a socket") from err
        self._path = "fd"  # as a UNIX socket, over which descriptors may come; nothing is removed
        self._given = True
        if self._server:
            self._listener = given
        else:
            self._socket = given
        if self._server and self._wait:
            self._await()

    @property
    def filename(self) -> str:
        if self._given:
            return "unix:"
        kind = f"unix:{self._path}" if self._path else f"tcp:{self._host}:{self._port}"
        return f"{kind},server=on" if self._server else kind if self.connected else f"disconnected:{kind}"

    @property
    def descriptor(self) -> int:
        return -1 if self._socket is None else self._socket.fileno()

    def _listen(self) -> None:
        try:
            if self._path:
                _unlink(self._path)
            self._listener = listener(self._path, self._host, self._port, _BACKLOG)
        except OSError as err:
            raise FatalError(f"{self.spec.where}: {self._failed('bind', err)}") from err
        if self._wait:
            self._await()

    def _await(self) -> None:
        assert self._listener is not None  # noqa: S101 - the caller made it
        _say(f"{self.spec.where}: info: QEMU waiting for connection on: {self.filename}")
        self._socket = accept(self._listener)

    def _failed(self, what: str, err: OSError) -> str:
        if what == "bind":
            target = f"socket to {self._path}" if self._path else "socket"
            return f"Failed to {what} {target}: {err.strerror}"
        target = f"'{self._path}'" if self._path else f"'{self._host}:{self._port}'"
        return f"Failed to connect to {target}: {err.strerror}"

    def _connect(self) -> None:
        try:
            made = connect_unix(self._path) if self._path else connect_tcp(self._host, int(self._port))
        except OSError as err:
            if self._retry:
                return
            raise FatalError(f"{self.spec.where}: {self._failed('connect', err)}") from err
        self._socket = made

    def start(self) -> None:
        if self._socket is not None:
            self._attach(self._socket.fileno(), self._socket.fileno())
        elif self._listener is not None:
            self.loop.watch(self._listener.fileno(), READ, self._accept)
        elif self._retry:
            self.loop.later(self._retry, self._again)

    def _again(self) -> None:
        self._connect()
        self.start()

    def _accept(self, _: int) -> None:
        assert self._listener is not None  # noqa: S101 - it is there while the loop watches it
        self._socket = accept(self._listener)
        self.loop.forget(self._listener.fileno())
        self.start()

    def _read(self) -> tuple[bytes, list[int]]:
        assert self._socket is not None  # noqa: S101 - it is there while the loop reads it
        if self._path:
            return receive(self._socket, _CHUNK)
        return self._socket.recv(_CHUNK), []

    def _ended(self) -> None:
        super()._ended()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self.start()

    def close(self) -> None:
        for made in (self._socket, self._listener):
            if made is not None:
                self.loop.forget(made.fileno())
                made.close()
        self._socket = None
        self._in = self._out = -1
        if self._listener is not None and self._path and not self._given:
            _unlink(self._path)
        self._listener = None


def _retry(props: dict[str, str]) -> float:
    """Seconds between attempts to connect; 0 for just one."""
    return float(props.get("reconnect", 0)) or float(props.get("reconnect-ms", 0)) / 1000


def _unlink(path: str) -> None:
    try:
        os.unlink(path)  # noqa: PTH108 - pathlib is not for the start
    except OSError as err:
        if err.errno != errno.ENOENT:
            raise


def _say(line: str) -> None:
    sys.stderr.write(f"qemu-system-x86_64: {line}\n")
    sys.stderr.flush()


class _Ring(Backend):
    """Keeps the last bytes (`ringbuf`)."""

    def __init__(self, spec: Chardev, loop: Loop) -> None:
        super().__init__(spec, loop)
        self._size = int(dict(spec.props).get("size", 65536))
        self.kept = b""

    def write(self, data: bytes) -> None:
        self.kept = (self.kept + data)[-self._size :]


_KINDS: Final = {
    "socket": _Socket,
    "stdio": _Stdio,
    "file": _File,
    "pipe": _File,
    "null": Backend,
    "ringbuf": _Ring,
}


def open_chardev(spec: Chardev, loop: Loop) -> Backend:
    """The chardev, opened, its frontend still to come; FatalError when that cannot be."""
    made = _KINDS.get(spec.kind)
    if made is None:
        raise FatalError(f"{spec.where}: the emulator has no chardev {spec.kind!r}")
    return made(spec, loop)

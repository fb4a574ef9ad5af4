# SPDX-License-Identifier: Apache-2.0
"""A snapshot's stream on its way between an emulator and a file of the harness.

1. The emulator gets one end of a socket pair over QMP (`getfd`): it needs no child process, no name of a file and no
   right to open one. No plain file, which QEMU 11 refuses behind ``fd:``, and no pipe, from which no source reads.
2. The harness's end never waits: the event loop reads or writes when there is something to do.
3. A stream that comes out is whole when its emulator has closed its end. What cannot be kept of it is read all the same:
   an emulator whose stream nobody takes fails, and would be told as the one at fault.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from typing import TYPE_CHECKING, Final, Self

from migmatrix.harness.errors import StoreError
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.model import StreamInfo

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from migmatrix.harness.hops.qmp import QmpSession

__all__ = ["FD_NAME", "StreamIn", "StreamOut"]

FD_NAME = "migmatrix"
_CHUNK: Final = 1 << 20
_ZEROS: Final = bytes(_CHUNK)
# No honest stream is longer: a sandbox has half of that memory.
_LONGEST: Final = 8 << 30


class _Pair:
    """A socket pair with one end for an emulator, and a file; what is open is closed on exit."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def _give(self, qmp: QmpSession) -> str:
        """Give the emulator its end; the URI by which it migrates there."""
        uri = await qmp.give_fd(self._theirs.fileno(), FD_NAME)
        self._theirs.close()
        return uri

    def _close(self) -> None:
        """Close the harness's end, and call back for it no more."""
        if self._ours.fileno() >= 0:
            self._loop.remove_reader(self._ours)
            self._loop.remove_writer(self._ours)
            self._ours.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._theirs.close()
        os.close(self._file)


class StreamOut(_Pair):
    """What an emulator saves, written to `target` and hashed as it comes."""

    def __init__(self, target: Path) -> None:
        super().__init__(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        self._digest, self._size = hashlib.sha256(), 0
        self._lost = ""
        self._end = self._loop.create_future()

    async def give(self, qmp: QmpSession) -> str:
        """The URI for `migrate`."""
        uri = await self._give(qmp)
        self._loop.add_reader(self._ours, self._take)
        return uri

    async def whole(self, role: str) -> StreamInfo:
        """The stream, when the emulator has closed its end; StoreError, or Problem when it is too long to be one."""
        await self._end
        if self._size > _LONGEST:
            raise Problem("malformed", f"a stream of {self._size} bytes, {_LONGEST} are the most", role)
        if self._lost:
            raise StoreError(f"cannot keep a stream: {self._lost}")
        return StreamInfo(self._digest.hexdigest(), self._size)

    def _take(self) -> None:
        try:
            data = self._ours.recv(_CHUNK)
        except ConnectionError:  # it closed its end with something unread
            data = b""
        if data:
            self._size += len(data)
            self._keep(data)
            return
        self._close()
        self._end.set_result(None)

    def _keep(self, data: bytes) -> None:
        """Write it where it belongs; holes stay holes."""
        if self._lost or self._size > _LONGEST:
            return
        self._digest.update(data)
        try:
            if data == _ZEROS[: len(data)]:
                os.truncate(self._file, self._size)
            else:
                _write(self._file, data, self._size - len(data))
        except OSError as err:
            self._lost = err.strerror or str(err)


class StreamIn(_Pair):
    """What an emulator loads, from the file `source`."""

    def __init__(self, source: Path) -> None:
        super().__init__(os.open(source, os.O_RDONLY | os.O_CLOEXEC))
        self._at = 0

    async def give(self, qmp: QmpSession) -> str:
        """The URI for `migrate-incoming`."""
        uri = await self._give(qmp)
        self._loop.add_writer(self._ours, self._send)
        return uri

    def _send(self) -> None:
        try:
            sent = os.sendfile(self._ours.fileno(), self._file, self._at, _CHUNK)
        except BlockingIOError:
            return
        except ConnectionError:  # it has read enough, or refuses the rest
            sent = 0
        self._at += sent
        if not sent:
            self._close()


def _write(file: int, data: bytes, at: int) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        done = os.pwrite(file, rest, at)
        rest, at = rest[done:], at + done

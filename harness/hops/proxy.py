# SPDX-License-Identifier: Apache-2.0
"""The link of a live leg led through the harness, which may break it at a byte.

1. What a source sends is passed on in order, and so is what comes back; of the former each byte is counted.
2. When it breaks, every connection ends at once, exactly so many bytes after the moment at which that was asked for.
3. Memory is bounded: who sends waits for the slower side.
4. Both ends may be hostile: the names are looked up beneath the directory in which they meet, no link is followed,
   and what is said there is passed on unread.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from migmatrix.harness.beneath import Beneath

__all__ = ["Proxy"]

_CHUNK: Final = 64 << 10


class Proxy:
    """Listens at one socket of a directory and connects to another, once for each connection; `close` ends it."""

    def __init__(self, files: Beneath) -> None:
        self._files = files
        self._server: asyncio.Server | None = None
        self._target = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._connecting = asyncio.Lock()  # connections arrive in the order in which they were made
        self._left: int | None = None  # bytes until it breaks
        self.broken = asyncio.Event()

    async def listen(self, name: str, target: str) -> None:
        """Accept connections at the socket `name` and lead them to the socket `target`; OSError."""
        self._target = target
        self._server = await asyncio.start_unix_server(self._accept, self._files.path(name), limit=_CHUNK)
        self._files.open_socket(name)

    def break_after(self, count: int) -> None:
        """Break the link when `count` more bytes have gone from the source to the destination."""
        self._left = count
        if not count:
            self._break()

    async def close(self) -> None:
        """End all connections and listen no more."""
        self._break()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _break(self) -> None:
        self._left = 0
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.broken.set()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            async with self._connecting:
                there, back = await self._connect()
        except OSError:  # whom the source wants to reach is gone; so is the connection, then
            writer.transport.abort()
            return
        self._writers.add(back)
        if self.broken.is_set():
            self._break()
        answers = self._begin(_pass_on(there, writer))
        self._begin(self._forward(reader, back, writer, answers))

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        with self._files.socket(self._target) as path:
            ours = socket.socket(socket.AF_UNIX)
            try:
                ours.setblocking(False)
                await asyncio.get_running_loop().sock_connect(ours, path)
            except BaseException:
                ours.close()
                raise
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=_CHUNK)
        writer.transport.set_write_buffer_limits(0)  # what counts as gone has left the harness
        return reader, writer

    async def _forward(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        source: asyncio.StreamWriter,
        answers: asyncio.Task[None],
    ) -> None:
        """Pass on what a source sends, as long as the link is whole."""
        try:
            while data := await reader.read(_CHUNK):
                if self._left is not None:
                    data = data[: self._left]
                    self._left -= len(data)
                writer.write(data)
                await writer.drain()
                if self._left == 0:
                    self._break()
                    return
            writer.write_eof()
        except OSError:  # one side is gone: the other learns it from the end of its connection
            writer.transport.abort()
            await answers  # the last of them come before that end
            source.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what a destination answers."""
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:  # as above
        writer.transport.abort()

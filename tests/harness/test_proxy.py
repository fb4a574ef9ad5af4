# SPDX-License-Identifier: Apache-2.0
"""The link through the harness: all bytes arrive in both directions, and it breaks at the very byte."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.hops.proxy import Proxy
from migmatrix.harness.hops.recovery import moment
from migmatrix.harness.model import Mode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

MUCH = os.urandom(1 << 20)


class There:
    """What listens behind the proxy: keeps what each connection sent, and answers each with its number."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.ended: list[asyncio.Event] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.sent)
        self.sent.append(b"")
        self.ended.append(asyncio.Event())
        writer.write(b"%d" % number)
        while data := await reader.read(1 << 16):
            self.sent[number] += data
        self.ended[number].set()
        writer.close()


@asynccontextmanager
async def led(tmp_path: Path) -> AsyncIterator[tuple[Proxy, There, str]]:
    """A proxy between the socket `front`, whose path comes third, and `There`."""
    files, there = Beneath.open(tmp_path), There()
    server = await asyncio.start_unix_server(there.serve, tmp_path / "back")
    proxy = Proxy(files)
    await proxy.listen("front", "back")
    try:
        yield proxy, there, str(tmp_path / "front")
    finally:
        await proxy.close()
        server.close()
        files.close()


async def connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection that has been answered by the other side."""
    reader, writer = await asyncio.open_unix_connection(path)
    assert len(await reader.read(1)) == 1
    return reader, writer


def test_all_bytes_arrive_and_an_end_is_an_end(tmp_path: Path) -> None:
    async def through() -> None:
        async with led(tmp_path) as (_, there, front):
            _, first = await connect(front)
            reader, second = await asyncio.open_unix_connection(front)
            assert await reader.read(1) == b"1"  # connections keep their order
            first.write(MUCH)
            first.write_eof()
            second.write(b"little")
            second.write_eof()
            await asyncio.gather(*(ended.wait() for ended in there.ended))
            assert there.sent == [MUCH, b"little"]
            assert await reader.read() == b""
            first.close()
            second.close()

    asyncio.run(through())


@pytest.mark.parametrize("count", [0, 1, 4097, 70_000, len(MUCH) - 1])
def test_it_breaks_at_the_byte(tmp_path: Path, count: int) -> None:
    async def through() -> None:
        async with led(tmp_path) as (proxy, there, front):
            reader, writer = await connect(front)
            proxy.break_after(count)
            writer.write(MUCH)
            await there.ended[0].wait()
            assert there.sent[0] == MUCH[:count]
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(1)
            assert proxy.broken.is_set()
            # from 3.13 on asyncio takes the socket's name away, too
            with pytest.raises(OSError, match=r"refused|No such file"):
                await asyncio.open_unix_connection(front)
            writer.close()

    asyncio.run(through())


def test_a_source_learns_that_its_destination_is_gone(tmp_path: Path) -> None:
    """It hears the last words, and cannot go on writing."""

    async def last_words(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"no")
        writer.close()

    async def write(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(MUCH)
            await writer.drain()

    async def through() -> None:
        files = Beneath.open(tmp_path)
        server = await asyncio.start_unix_server(last_words, tmp_path / "back")
        proxy = Proxy(files)
        await proxy.listen("front", "back")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "front")
        assert await reader.read() == b"no"
        with pytest.raises(ConnectionError):
            await write(writer)
        writer.close()
        await proxy.close()
        server.close()
        files.close()

    asyncio.run(through())


def test_nobody_behind_it_ends_the_connection(tmp_path: Path) -> None:
    async def through() -> None:
        files = Beneath.open(tmp_path)
        proxy = Proxy(files)
        await proxy.listen("front", "nobody")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "front")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        await proxy.close()
        files.close()

    asyncio.run(through())


def test_what_stands_in_the_place_of_the_socket_is_not_followed(tmp_path: Path) -> None:
    """A hostile destination puts a link to a socket of the host's where it should listen."""

    async def through() -> None:
        there = There()
        server = await asyncio.start_unix_server(there.serve, tmp_path / "elsewhere")
        (tmp_path / "link").mkdir()
        (tmp_path / "link" / "back").symlink_to(tmp_path / "elsewhere")
        files = Beneath.open(tmp_path / "link")
        proxy = Proxy(files)
        await proxy.listen("front", "back")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "link" / "front")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        assert there.sent == []
        writer.close()
        await proxy.close()
        server.close()
        files.close()

    asyncio.run(through())


def test_the_moment_is_drawn_by_seed_and_leg() -> None:
    mode = Mode("m", "unix", ("postcopy-ram",), postcopy=True, cut_within=1000, cut_seed=1)
    other = Mode("m", "unix", ("postcopy-ram",), postcopy=True, cut_within=1000, cut_seed=2)
    moments = [moment(mode, f"leg {n}") for n in range(200)]
    assert moments == [moment(mode, f"leg {n}") for n in range(200)]
    assert moments != [moment(other, f"leg {n}") for n in range(200)]
    assert 0 <= min(moments) < 50
    assert 950 < max(moments) < 1000

# SPDX-License-Identifier: Apache-2.0
"""Streams between emulators and files: whole or told, whatever becomes of the emulator or of the disk."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import StoreError
from migmatrix.harness.hops import carry
from migmatrix.harness.hops.carry import StreamIn, StreamOut
from migmatrix.harness.hops.qmp import QmpSession
from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from migmatrix.harness.model import StreamInfo

DATA = b"begin" + bytes(3 << 20) + b"end"


class Other:
    """The other side of a QMP session; it takes one descriptor."""

    def __init__(self, path: Path) -> None:
        self._session = socket.socket(socket.AF_UNIX)
        self._session.connect(str(path))
        self._session.sendall(
            b'{"QMP": {"version": {"qemu": {"major": 10, "minor": 0, "micro": 0}}, "capabilities": []}}\n'
        )

    def answer(self) -> list[int]:
        """Take one command, answer that it is done, and return what descriptors came with it."""
        told, sent = b"", list[int]()
        while not told.strip().endswith(b"}"):
            data, fds, _, _ = socket.recv_fds(self._session, 65536, 1)
            told, sent = told + data, sent + fds
        reply = {"return": {}, "id": json.loads(told).get("id")}
        self._session.sendall(json.dumps({k: v for k, v in reply.items() if v is not None}).encode() + b"\n")
        return sent

    def close(self) -> None:
        self._session.close()


@asynccontextmanager
async def session(tmp_path: Path) -> AsyncIterator[tuple[QmpSession, Other]]:
    qmp = QmpSession(lambda: 0.0)
    await qmp.listen(str(tmp_path / "qmp"))
    accepted = asyncio.create_task(qmp.accept())
    other = await asyncio.to_thread(Other, tmp_path / "qmp")
    await asyncio.to_thread(other.answer)
    await accepted
    try:
        yield qmp, other
    finally:
        other.close()
        await qmp.close()


async def given(stream: StreamIn | StreamOut, qmp: QmpSession, other: Other) -> socket.socket:
    """The end that an emulator gets."""
    uri = asyncio.create_task(stream.give(qmp))
    (fd,) = await asyncio.to_thread(other.answer)
    assert await uri == f"fd:{carry.FD_NAME}"
    return socket.socket(fileno=fd)


async def saved(tmp_path: Path, target: Path, data: bytes) -> StreamInfo:
    """What becomes of a stream of these bytes; all of them are taken."""
    async with session(tmp_path) as (qmp, other):
        with StreamOut(target) as stream:
            with await given(stream, qmp, other) as end:
                await asyncio.to_thread(end.sendall, data)
            return await stream.whole("source")


def test_a_stream_out_is_its_bytes_and_holes_stay_holes(tmp_path: Path) -> None:
    info = asyncio.run(saved(tmp_path, tmp_path / "out", DATA))

    assert (info.bytes, info.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert (tmp_path / "out").read_bytes() == DATA
    assert (tmp_path / "out").stat().st_blocks * 512 < len(DATA)


def test_a_full_disk_is_the_hosts_and_the_emulator_does_not_notice(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No space left"):
        asyncio.run(saved(tmp_path, Path("/dev/full"), DATA))


def test_what_is_too_long_for_a_stream_is_the_emulators(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carry, "_LONGEST", 1 << 20)

    with pytest.raises(Problem, match="malformed"):
        asyncio.run(saved(tmp_path, tmp_path / "out", DATA))

    assert (tmp_path / "out").stat().st_size <= 1 << 20


@pytest.mark.parametrize("most", [len(DATA), 1])
def test_a_stream_in_ends_with_its_file_or_with_its_reader(tmp_path: Path, most: int) -> None:
    (tmp_path / "in").write_bytes(DATA)

    async def load() -> bytes:
        async with session(tmp_path) as (qmp, other):
            with (
                StreamIn(tmp_path / "in") as stream,
                await given(stream, qmp, other) as end,
                end.makefile("rb") as file,
            ):
                read = await asyncio.to_thread(file.read, most)
                last = await asyncio.to_thread(file.read) if most > 1 else b""
            return read + last

    assert asyncio.run(load()) == DATA[:most]


def test_nothing_stays_open(tmp_path: Path) -> None:
    asyncio.run(saved(tmp_path, tmp_path / "out", DATA))
    before = len(list(Path("/proc/self/fd").iterdir()))
    (tmp_path / "qmp").unlink(missing_ok=True)  # from 3.13 on Python does it

    asyncio.run(saved(tmp_path, tmp_path / "out", DATA))

    assert len(list(Path("/proc/self/fd").iterdir())) == before

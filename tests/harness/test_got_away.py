# SPDX-License-Identifier: Apache-2.0
"""A process that ends with status 0: whether another goes on in its place is asked of its monitor's socket."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest

from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import EngineError
from migmatrix.harness.hops.emulator import Emulator
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.model import Guest

if TYPE_CHECKING:
    from pathlib import Path

GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}\n'
EVENT = b'{"event": "STOP", "timestamp": {"seconds": 0, "microseconds": 0}}\n'


class Job:
    """A process of which only the end is known: the status, once it is set."""

    def __init__(self) -> None:
        self.ended = asyncio.get_running_loop().create_future()

    async def wait(self) -> int:
        return int(await asyncio.shield(self.ended))


class Sandbox:
    """Where nothing runs."""

    id = "away"  # of the build

    def job(self) -> Job:
        return Job()


def begin(monitor: socket.socket, path: Path) -> None:
    """Connect and negotiate, as an emulator."""
    monitor.connect(str(path))
    monitor.sendall(GREETING)
    monitor.recv(65536)
    monitor.sendall(b'{"return": {}}\n')


def made() -> Emulator:
    sandbox = cast("Any", Sandbox())
    return Emulator(sandbox, sandbox, Role.DESTINATION, Guest("paused", "paused"), lambda: 0.0)


async def ends(path: Path, monitor: socket.socket, *, status: int, gone_on: bool) -> None:
    """Race a load against a process that ends; who took over its monitor ends when the load lets go of its stream."""
    emulator = made()
    await emulator.qmp.listen(str(path))
    accepted = asyncio.create_task(emulator.qmp.accept())
    await asyncio.to_thread(begin, monitor, path)
    await accepted

    async def load() -> None:
        monitor.sendall(EVENT)  # which nobody has read when the process ends
        if not gone_on:
            monitor.close()
        cast("Any", emulator.job).ended.set_result(status)
        try:
            await asyncio.Event().wait()
        finally:
            monitor.close()

    try:
        await emulator.race(load(), 600.0)
    finally:
        await emulator.qmp.close()


@pytest.mark.parametrize(
    ("status", "gone_on", "told"),
    [(0, True, EngineError), (0, False, Problem), (1, True, Problem), (1, False, Problem)],
)
def test_who_goes_on_is_known_when_the_process_has_ended(
    tmp_path: Path, status: int, gone_on: bool, told: type[Exception]
) -> None:
    with socket.socket(socket.AF_UNIX) as monitor, pytest.raises(told) as error:
        asyncio.run(ends(tmp_path / "qmp", monitor, status=status, gone_on=gone_on))

    assert ("another goes on in its place" in str(error.value)) == (told is EngineError)


async def starts(path: Path, monitor: socket.socket, status: int) -> None:
    """Race a start against its process, which ends before anybody is at the monitor."""
    emulator = made()
    await emulator.qmp.listen(str(path))
    cast("Any", emulator.job).ended.set_result(status)
    following = asyncio.create_task(asyncio.to_thread(begin, monitor, path)) if not status else None

    async def rest() -> None:
        await emulator.qmp.accept()
        await asyncio.Event().wait()  # whatever comes then

    try:
        await emulator.race(rest(), 600.0)
    finally:
        await emulator.qmp.close()
        if following is not None:
            await following


@pytest.mark.parametrize(("status", "told"), [(0, EngineError), (1, Problem)])
def test_who_follows_may_come_to_the_monitor_afterwards(
    tmp_path: Path, status: int, told: type[Exception]
) -> None:
    with socket.socket(socket.AF_UNIX) as monitor, pytest.raises(told):
        asyncio.run(starts(tmp_path / "qmp", monitor, status))


def test_who_never_comes_is_not_waited_for_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migmatrix.harness.hops.emulator._FOLLOWS", 0.05)

    async def alone() -> None:
        emulator = made()
        await emulator.qmp.listen(str(tmp_path / "qmp"))
        cast("Any", emulator.job).ended.set_result(0)
        await emulator.race(emulator.qmp.accept(), 600.0)

    with pytest.raises(Problem):
        asyncio.run(alone())

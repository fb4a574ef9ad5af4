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


async def ends(path: Path, monitor: socket.socket, *, status: int, gone_on: bool) -> None:
    """Race a load against a process that ends; who took over its monitor ends when the load lets go of its stream."""
    sandbox = cast("Any", Sandbox())
    emulator = Emulator(sandbox, sandbox, Role.DESTINATION, Guest("paused", "paused"), lambda: 0.0)
    await emulator.qmp.listen(str(path))
    accepted = asyncio.create_task(emulator.qmp.accept())
    await asyncio.to_thread(monitor.connect, str(path))
    monitor.sendall(GREETING)
    await asyncio.to_thread(monitor.recv, 65536)
    monitor.sendall(b'{"return": {}}\n')
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

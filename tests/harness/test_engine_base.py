# SPDX-License-Identifier: Apache-2.0
"""What an engine has begun to make or remove is made or removed, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import os

import psutil
import pytest

from migmatrix.harness.builds import BuildFacts, PreparedBuild
from migmatrix.harness.engines import Engines, Needs, Role, Workspace
from migmatrix.harness.engines.base import to_its_end

FACTS = BuildFacts("0" * 64, "10.0", "", (), (), ())


def test_what_is_cancelled_twice_is_through_before_it_ends() -> None:
    async def cancel() -> list[str]:
        may_end = asyncio.Event()
        done: list[str] = []

        async def work() -> None:
            await may_end.wait()
            done.append("through")

        task = asyncio.ensure_future(to_its_end(work()))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return done

    assert asyncio.run(cancel()) == ["through"]


def test_an_error_is_told() -> None:
    async def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        asyncio.run(to_its_end(fail()))


def test_what_fails_after_a_cancellation_is_its_cause() -> None:
    async def cancel() -> BaseException | None:
        may_end = asyncio.Event()

        async def fail() -> None:
            await may_end.wait()
            raise OSError("no space")

        task = asyncio.ensure_future(to_its_end(fail()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError) as ended:
            await task
        return ended.value.__cause__

    assert isinstance(asyncio.run(cancel()), OSError)


@pytest.mark.parametrize("steps", range(6))
def test_a_run_that_is_ended_while_a_supervisor_starts_leaves_nothing(steps: int) -> None:
    build = PreparedBuild("one", "binary", "here", FACTS, binary="/bin/true")

    async def run(workspace: Workspace) -> None:
        async with Engines(workspace, print) as engine:
            await engine.sandbox(build, Role.SOURCE, Needs())

    async def cancelled() -> str:
        with Workspace() as workspace:
            running = asyncio.ensure_future(run(workspace))
            for _ in range(steps):
                await asyncio.sleep(0)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            return str(workspace.root)

    root = asyncio.run(cancelled())
    mine = psutil.Process(os.getpid()).children(recursive=True)
    assert not [child for child in mine if root in child.cmdline()]


def test_a_supervisor_that_cannot_start_is_the_error() -> None:
    build = PreparedBuild("one", "binary", "here", FACTS, binary="/bin/true", supervisor="/nowhere")

    async def run() -> None:
        with Workspace() as workspace:
            async with Engines(workspace, print) as engine:
                await engine.sandbox(build, Role.SOURCE, Needs())

    with pytest.raises(FileNotFoundError):
        asyncio.run(run())

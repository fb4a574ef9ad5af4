# SPDX-License-Identifier: Apache-2.0
"""Questions to a started machine: `ask` starts one emulator, lets the caller talk QMP with it, and ends it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

from migmatrix.harness.engines.base import Needs, Role
from migmatrix.harness.hops.emulator import Emulator
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.judge.text import clean
from migmatrix.harness.model import Guest, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from typing import Any

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.engines import Engine
    from migmatrix.harness.hops.qmp import QmpSession

__all__ = ["ask"]

T = TypeVar("T")


async def ask(
    engine: Engine,
    build: PreparedBuild,
    machine: str,
    arguments: tuple[str, ...],
    deadlines: Mapping[Stage, float],
    work: Callable[[QmpSession], Coroutine[Any, Any, T]],
) -> T:
    """What `work` makes of a started machine whose guest does not run.

    `Problem` when an emulator fails; of one that ended without a reason `detail` has the last that it printed.
    """
    sandbox = await engine.sandbox(build, Role.SOURCE, Needs())
    began = time.monotonic()
    emulator = Emulator(
        sandbox, build, Role.SOURCE, Guest("paused", "paused"), lambda: time.monotonic() - began
    )
    try:
        start = emulator.start(machine, arguments, incoming=False)
        await emulator.race(start, deadlines[Stage.START])
        answer = await emulator.race(work(emulator.qmp), deadlines[Stage.RUN])
        await emulator.quit(deadlines[Stage.QUIT])
    except Problem as problem:
        if problem.problem != "exited" or problem.detail:
            raise
        words = clean(emulator.job.output("stderr")).splitlines()
        raise Problem("exited", words[-1] if words else "it said nothing", problem.role) from problem
    finally:
        await emulator.end()
    return answer

"""What commands need that run things no matrix has: a bench on engines of its own, and questions to a started machine.

`open_bench` opens and closes everything around an `explain.Bench`; `ask` starts one emulator, lets the caller talk
QMP with it, and ends it. Which trials to run and what to ask is the business of `advise`, `mutate` and `compat`.
"""

from __future__ import annotations

import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar

from harness.engines import Engines, Workspace
from harness.engines.base import Needs, Role
from harness.explain.bench import Bench
from harness.explain.origin import Origin
from harness.hops.emulator import Emulator
from harness.model import Guest, Stage
from harness.runner import Settings
from harness.store import HopStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
    from typing import Any

    from harness.builds import PreparedBuild
    from harness.engines import Engine
    from harness.hops.qmp import QmpSession
    from harness.session import Prepared

__all__ = ["ask", "open_bench", "origin_of"]

T = TypeVar("T")


def origin_of(prepared: Prepared) -> Origin:
    """A matrix with its builds ready, as `explain` wants it."""
    matrix = prepared.matrix
    return Origin(
        builds=prepared.builds,
        profiles={profile.name: profile for profile in matrix.profiles},
        modes={mode.name: mode for mode in matrix.modes},
        guests={guest.name: guest for guest in matrix.guests},
        default_args=matrix.default_args,
        deadlines=matrix.policy.deadlines,
        retries=matrix.policy.retries,
    )


@asynccontextmanager
async def open_bench(
    origin: Origin, store: Path | None, jobs: int, log: Callable[[str], None]
) -> AsyncIterator[Bench]:
    """A bench on the builds of `origin`; without `store` nothing that was done before counts."""
    settings = Settings(jobs, origin.deadlines, origin.retries)
    with _directory(store) as directory, Workspace() as workspace:
        async with Engines(workspace, log) as engine:
            yield Bench(origin.builds, engine, HopStore(directory, log), workspace, settings, log)


@contextmanager
def _directory(store: Path | None) -> Iterator[Path]:
    if store is not None:
        yield store
        return
    with TemporaryDirectory(prefix="migmatrix-bench-") as directory:
        yield Path(directory)


async def ask(
    engine: Engine,
    build: PreparedBuild,
    machine: str,
    arguments: tuple[str, ...],
    deadlines: Mapping[Stage, float],
    work: Callable[[QmpSession], Coroutine[Any, Any, T]],
) -> T:
    """What `work` makes of a started machine whose guest does not run; `Problem` when an emulator fails."""
    place = await engine.place(build, Role.SOURCE, Needs())
    began = time.monotonic()
    emulator = Emulator(
        place, build, Role.SOURCE, Guest("paused", "paused"), lambda: time.monotonic() - began
    )
    try:
        start = emulator.start(machine, arguments, incoming=False)
        await emulator.race(start, deadlines[Stage.START])
        answer = await emulator.race(work(emulator.qmp), deadlines[Stage.RUN])
        await emulator.quit(deadlines[Stage.QUIT])
    finally:
        await emulator.end()
    return answer

# SPDX-License-Identifier: Apache-2.0
"""Live legs: both sides run at the same time, and a chain is one guest that is never put down.

A running guest cannot be copied, so a live path is run as a whole; every migration of it leaves evidence under its
own key, and a path that is a beginning of a longer one costs nothing extra.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from migmatrix.harness.engines.base import Role
from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.hops.checks import check_guest, let_run, release
from migmatrix.harness.hops.emulator import Emulator, refuse_stopped
from migmatrix.harness.hops.patience import patience
from migmatrix.harness.hops.task import Problem, Recorder
from migmatrix.harness.hops.transports import Link, needs_of
from migmatrix.harness.model import EmulatorEvidence, LegEvidence, Stage

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path
    from typing import Any

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Engine
    from migmatrix.harness.hops.task import LiveTask

__all__ = ["run_live_path"]

# Seconds that a destination gets to tell why, after its source has failed.
_LAST_WORDS = 10.0
# Bytes per second of precopy in a postcopy leg.
_HELD_BACK = 4096


async def run_live_path(engine: Engine, task: LiveTask, link_directory: Path) -> list[LegEvidence]:
    """Evidence of each migration, up to and with the first that failed; InfrastructureError on a host failure."""
    found: list[LegEvidence] = []
    source: Emulator | None = None
    try:
        for index in range(len(task.keys)):
            leg = _LiveLeg(engine, task, index, link_directory)
            source, evidence = await leg.run(source)
            found.append(evidence)
            if source is None:
                break
    finally:
        if source is not None:
            await source.end()
    return found


class _LiveLeg:
    """One migration of a live path."""

    def __init__(self, engine: Engine, task: LiveTask, index: int, link_directory: Path) -> None:
        self._engine, self._task, self._index = engine, task, index
        self._links = link_directory
        self._recorder = Recorder()

    async def run(self, source: Emulator | None) -> tuple[Emulator | None, LegEvidence]:
        """Migrate `source` (None: start one first); returns the destination if all went well."""
        sides: list[Emulator] = [] if source is None else [source]
        ok = False
        ended: list[EmulatorEvidence] = []
        try:
            await self._stages(sides)
            ok = True
        except Problem as problem:  # the recorder has it
            await refuse_stopped(problem, *sides)
        finally:
            survivor = sides.pop() if ok else None
            ended.extend([await side.end() for side in sides])
        if survivor is not None:
            ended.append(survivor.evidence())
        key = self._task.keys[self._index]
        return survivor, LegEvidence(key, tuple(self._recorder.stages), tuple(ended))

    async def _stages(self, sides: list[Emulator]) -> None:
        task, recorder = self._task, self._recorder
        with recorder.stage(Stage.START):
            if not sides:
                await self._start(sides, task.builds[0], Role.SOURCE)
            await self._start(sides, task.builds[self._index + 1], Role.DESTINATION)
        source, destination = sides
        if task.guest.kind == "firmware":
            with recorder.stage(Stage.RUN):
                await let_run(source, task.guest, task.deadlines[Stage.RUN])
            destination.beats = source.beats
        link = Link(task.mode, self._links)
        with link.open(), recorder.stage(Stage.MIGRATE):
            await self._migrate(link, source, destination)
        with recorder.stage(Stage.CHECK):
            await check_guest(destination, task.guest, task.deadlines[Stage.CHECK])
        await source.quit(task.deadlines[Stage.QUIT])

    async def _start(self, sides: list[Emulator], build: PreparedBuild, role: Role) -> None:
        task = self._task
        sandbox = await self._engine.sandbox(build, role, needs_of(task.mode))
        emulator = Emulator(sandbox, build, role, task.guest, self._recorder.clock)
        sides.append(emulator)
        deadline = task.deadlines[Stage.START]
        incoming = role is Role.DESTINATION
        await emulator.race(emulator.start(task.machine, task.arguments, incoming=incoming), deadline)
        await emulator.race(emulator.set_up(task.mode), deadline)
        if task.guest.kind == "firmware":
            await emulator.race(release(emulator), deadline)

    async def _migrate(self, link: Link, source: Emulator, destination: Emulator) -> None:
        deadline = self._task.deadlines[Stage.MIGRATE]
        if self._index:
            source.become_source()
            await source.race(source.set_up(self._task.mode), deadline)
        if link.sequential:
            await source.race(link.send(source, destination), deadline)
            await source.race(_done(source), deadline)
            await destination.race(link.listen(destination), deadline)
            await destination.race(_done(destination), deadline)
            return
        await destination.race(link.listen(destination), deadline)
        if self._task.mode.postcopy:
            await source.race(_hold_back(source), deadline)
        await source.race(link.send(source, destination), deadline)
        if self._task.mode.postcopy:
            await source.race(_go_postcopy(source), deadline)
        await _both(source.race(_done(source), deadline), destination.race(_done(destination), deadline))


async def _done(emulator: Emulator) -> None:
    await emulator.migration_status()


async def _hold_back(source: Emulator) -> None:
    """Keep precopy from finishing first; postcopy has a limit of its own, which is off."""
    await source.qmp.execute("migrate-set-parameters", {"max-bandwidth": _HELD_BACK})


async def _go_postcopy(source: Emulator) -> None:
    """Ask for it as soon as there is a migration; one that was faster is nobody's fault but ours."""
    await source.qmp.execute("migrate-start-postcopy")
    if await source.migration_status("postcopy-active") != "postcopy-active":
        raise InfrastructureError("the migration ended before postcopy could begin")


def _only_waited(side: asyncio.Future[None]) -> bool:
    """Whether one side ended by its deadline."""
    problem = side.exception() if side.done() and not side.cancelled() else None
    return isinstance(problem, Problem) and problem.problem == "deadline"


async def _both(source: Coroutine[Any, Any, None], destination: Coroutine[Any, Any, None]) -> None:
    """Wait for both sides; a destination's problem is told first, as it is the one that rejects a stream.

    But a destination that only waits for a source that has failed has no problem of its own.
    """
    sides = asyncio.ensure_future(destination), asyncio.ensure_future(source)
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_EXCEPTION)
        if not sides[0].done():  # the source failed: the destination's reason follows, if it has one
            with contextlib.suppress(TimeoutError):
                async with patience(_LAST_WORDS):
                    await asyncio.wait(sides[:1])
        only_waited = [_only_waited(side) for side in sides]
        for side in reversed(sides) if only_waited == [True, False] else sides:
            if side.done():
                side.result()
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)

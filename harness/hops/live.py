# SPDX-License-Identifier: Apache-2.0
"""Live legs: both sides run at the same time, and a chain is one guest that is never put down.

A running guest cannot be copied, so a live path is run as a whole; every migration of it leaves evidence under its
own key, and a path that is a beginning of a longer one costs nothing extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.harness.engines.base import Role
from migmatrix.harness.hops.checks import check_guest, let_run, release
from migmatrix.harness.hops.emulator import Emulator, refuse_stopped
from migmatrix.harness.hops.furnish import Furnishing
from migmatrix.harness.hops.postcopy import go_postcopy, hold_back
from migmatrix.harness.hops.recovery import CUT, cut_and_recover, moment
from migmatrix.harness.hops.sides import both, done
from migmatrix.harness.hops.task import HOST, Problem, Recorder
from migmatrix.harness.hops.transports import Link, needs_of
from migmatrix.harness.model import EmulatorEvidence, LegEvidence, Stage
from migmatrix.harness.pulse.heard import PULSE

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Engine
    from migmatrix.harness.hops.task import LiveTask
    from migmatrix.harness.model import Mode

__all__ = ["REFUSED", "run_live_path"]

# The fact of a leg whose mode was refused as it should be: in which words.
REFUSED = "refused"


async def run_live_path(engine: Engine, task: LiveTask, link_directory: Path) -> list[LegEvidence]:
    """Evidence of each migration, up to and with the first that failed; InfrastructureError on a host failure."""
    found: list[LegEvidence] = []
    source: Emulator | None = None
    with Furnishing(task.mode, link_directory) as furnishing:
        try:
            for index in range(len(task.keys)):
                leg = _LiveLeg(engine, task, index, link_directory, furnishing)
                source, evidence = await leg.run(source)
                found.append(evidence)
                if evidence.failed:
                    break
        finally:
            if source is not None:
                await source.end()
    return found


class _LiveLeg:
    """One migration of a live path."""

    def __init__(
        self, engine: Engine, task: LiveTask, index: int, link_directory: Path, furnishing: Furnishing
    ) -> None:
        self._engine, self._task, self._index = engine, task, index
        self._links, self._furnishing = link_directory, furnishing
        self._recorder = Recorder()
        self._facts: dict[str, Any] = {}

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
            if _expected(problem, self._task.mode):
                self._facts[REFUSED] = problem.detail
                self._recorder.excuse()
        finally:
            survivor = sides.pop() if ok else None
            heard = [side.console.heard for side in (*sides, survivor) if side is not None and side.beats]
            ended.extend([await side.end() for side in sides])
        if survivor is not None:
            ended.append(survivor.evidence())
        if said := [each.facts() for each in heard if each is not None]:
            self._facts[PULSE] = said
        key = self._task.keys[self._index]
        began = self._recorder.at.isoformat(timespec="seconds")
        return survivor, LegEvidence(
            key, tuple(self._recorder.stages), tuple(ended), facts=self._facts, began=began, host=HOST
        )

    async def _stages(self, sides: list[Emulator]) -> None:
        task, recorder = self._task, self._recorder
        with recorder.stage(Stage.START):
            if not sides:  # the first, or the one before was refused
                await self._start(sides, task.builds[self._index], Role.SOURCE)
            await self._start(sides, task.builds[self._index + 1], Role.DESTINATION)
        source, destination = sides
        if task.guest.kind != "paused":
            with recorder.stage(Stage.RUN):
                await let_run(source, task.guest, task.deadlines[Stage.RUN])
            destination.beats = source.beats
        link = Link(task.mode, self._links)
        async with link.open():
            with recorder.stage(Stage.MIGRATE):
                await self._migrate(link, source, destination)
                if task.mode.refused:
                    raise Problem("not-refused", f"nobody refused it with {task.mode.refused!r}", "source")
        with recorder.stage(Stage.CHECK):
            await check_guest(destination, task.guest, task.deadlines[Stage.CHECK])
            await self._furnishing.check(source, destination, task.arguments, task.deadlines[Stage.CHECK])
        await source.quit(task.deadlines[Stage.QUIT])

    async def _start(self, sides: list[Emulator], build: PreparedBuild, role: Role) -> None:
        task = self._task
        sandbox = await self._engine.sandbox(build, role, needs_of(task.mode))
        emulator = Emulator(sandbox, build, role, task.guest, self._recorder.clock)
        sides.append(emulator)
        deadline = task.deadlines[Stage.START]
        incoming = role is Role.DESTINATION
        arguments = (*task.arguments, *self._furnishing.arguments(emulator, task.arguments))
        await emulator.race(emulator.start(task.machine, arguments, incoming=incoming), deadline)
        await emulator.race(emulator.set_up(task.mode), deadline)
        if task.guest.kind != "paused":
            await emulator.race(release(emulator), deadline)

    async def _migrate(self, link: Link, source: Emulator, destination: Emulator) -> None:
        deadline, mode = self._task.deadlines[Stage.MIGRATE], self._task.mode
        if source.role is Role.DESTINATION:
            source.become_source()
            await source.race(source.set_up(mode), deadline)
        if link.sequential:
            await source.race(link.send(source, destination), deadline)
            await source.race(done(source), deadline)
            await destination.race(link.listen(destination), deadline)
            await destination.race(done(destination), deadline)
            return
        await destination.race(link.listen(destination), deadline)
        if mode.postcopy:
            await source.race(hold_back(source, mode), deadline)
        await source.race(link.send(source, destination), deadline)
        if mode.postcopy:
            await source.race(go_postcopy(source, mode), deadline)
        if mode.cut_within:
            self._facts[CUT] = count = moment(mode, self._task.keys[self._index])
            await cut_and_recover(link, mode, source, destination, count, deadline)
        await both(source.race(done(source), deadline), destination.race(done(destination), deadline))


def _expected(problem: Problem, mode: Mode) -> bool:
    """Whether a mode was refused as it should be."""
    words = mode.refused
    return bool(words) and problem.problem in ("qmp-error", "migration-failed") and words in problem.detail

# SPDX-License-Identifier: Apache-2.0
"""Runs a plan: legs on demand, each once, cells in the plan's order.

Rules:
1. A cell asks for its probes, then for its legs one after another, and stops at the first that failed.
2. A leg is done only when no store entry answers for it; its stream in is fetched, or made again, first.
3. Evidence is stored before anything is judged.
4. A failure of the host is retried, then reported as such; what failed several times in a row is started no more
   (`Failures`).
5. A crash, a hang or a silent guest counts when the leg, done again, gives the same answer; else it is flaky, told and
   not stored.
6. Memory and workspace are bounded; what they no longer have comes from the store again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import stamina

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.hops.live import run_live_path
from migmatrix.harness.hops.snapshot import SILENT, run_snapshot_leg
from migmatrix.harness.hops.task import LegTask, LiveTask
from migmatrix.harness.judge import (
    CellJudgement,
    LegJudgement,
    doubtful,
    flaky,
    judge_cell,
    judge_leg,
    started,
)
from migmatrix.harness.model import Cell, LegEvidence, Stage, Verdict
from migmatrix.harness.run.confirm import confirmed
from migmatrix.harness.run.echo import echo_file, with_echo
from migmatrix.harness.run.failures import Failures
from migmatrix.harness.run.sandboxes import sandboxes
from migmatrix.harness.run.tasks import cancel, shared
from migmatrix.harness.store.basis import Basis
from migmatrix.harness.store.streams import StreamCache

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Engine, Sandbox
    from migmatrix.harness.engines.workspace import Workspace
    from migmatrix.harness.plan import Leg, Plan
    from migmatrix.harness.store.legs import LegStore

__all__ = ["Judged", "Runner", "Settings"]

# Cells that are on their way at once, for each emulator that may run at once: enough that a wait for
# another process's leg, or for a chain's own last leg, leaves no core idle.
_WINDOW = 8
# Bytes of uncompressed streams kept in the workspace.
_STREAMS_LIMIT = 2 << 30


@dataclass(frozen=True, slots=True)
class Settings:
    """How a plan is run; seconds by stage, attempts after a failure of the host."""

    jobs: int
    deadlines: Mapping[Stage, float]
    retries: int = 2


@dataclass(frozen=True, slots=True)
class Judged:
    """A finished cell, and what its verdict rests on; `known` makes a result of it."""

    judgement: CellJudgement
    basis: Basis


class Runner:
    """Runs one plan on one engine and one store; `on_leg` is told of each leg, and whether it was reused."""

    def __init__(
        self,
        plan: Plan,
        builds: Mapping[str, PreparedBuild],
        engine: Engine,
        store: LegStore,
        workspace: Workspace,
        settings: Settings,
        on_leg: Callable[[LegEvidence, bool], None],
    ) -> None:
        self._plan, self._builds, self._engine = plan, builds, engine
        self._store, self._workspace, self._settings = store, workspace, settings
        self._on_leg = on_leg
        self._probes = {key for cell in plan.cells for key in plan.probes_of(cell).values()}
        self._slots = asyncio.Semaphore(settings.jobs)
        self._work: dict[str, asyncio.Task[LegEvidence]] = {}
        self._live: dict[str, asyncio.Task[list[LegEvidence]]] = {}
        self._fetching: dict[str, asyncio.Task[None]] = {}
        self._streams = StreamCache(workspace.streams, _STREAMS_LIMIT)
        self._failures = Failures()
        self._told: set[str] = set()
        self._done: set[str] = set()  # of them those that were not reused
        self._warming: asyncio.Future[list[Sandbox | BaseException]] | None = None

    def _tell(self, evidence: LegEvidence, *, reused: bool) -> None:
        """Tell of a leg, once; a live leg is met again as the beginning of a longer path."""
        if evidence.key not in self._told:
            self._told.add(evidence.key)
            if not reused:
                self._done.add(evidence.key)
            self._on_leg(evidence, reused)

    async def unusable_profiles(self) -> dict[str, dict[str, str]]:
        """Profiles that no build can start on any of their machines: what the emulator of each build said."""
        probes: dict[str, list[tuple[str, str]]] = {}
        for (_, profile, build), key in self._plan.probes.items():
            probes.setdefault(profile, []).append((build, key))
        tried = await asyncio.gather(*(self._start_somewhere(probe) for probe in probes.values()))
        return {profile: said for profile, said in zip(probes, tried, strict=True) if said}

    async def _start_somewhere(self, probes: Sequence[tuple[str, str]]) -> dict[str, str]:
        """Try probes until one starts; what each build said first when none does."""
        said: dict[str, str] = {}
        for build, key in probes:
            probe = await self._leg(key)
            judgement = judge_leg(probe)
            if not probe.failed_at(Stage.START) or judgement.verdict is Verdict.FAIL:
                return {}  # what a build does wrong is a result, not the profile's mistake
            cause = judgement.cause
            said.setdefault(build, cause.message if cause else "it did not start")
        return said

    async def run(self) -> AsyncIterator[Judged]:
        """Every cell of the plan as it finishes."""
        window = self._settings.jobs * _WINDOW
        waiting = iter(self._plan.cells)
        running: set[asyncio.Task[Judged]] = set()
        done: set[asyncio.Task[Judged]] = set()
        try:
            while True:
                while len(running) < window and (cell := next(waiting, None)) is not None:
                    running.add(asyncio.create_task(self.cell(cell)))
                if not running:
                    return
                done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    yield task.result()
        finally:
            await cancel(
                [*running, *done]
            )  # of those that are done, so that asyncio prints no error of theirs
            await self.close()

    async def close(self) -> None:
        """Stop what is still under way; a sandbox that is being opened is waited for, so that it can be closed."""
        await cancel([*self._work.values(), *self._live.values(), *self._fetching.values()])
        if self._warming is not None:
            await self._warming

    def _warm_up(self) -> None:
        """With the first emulator, ask for every sandbox that the plan needs: an engine takes a while for each."""
        if self._warming is None:
            needed = {needed for leg in self._plan.legs.values() for needed in sandboxes(leg)}
            asked = (self._engine.sandbox(self._builds[name], role, needs) for name, role, needs in needed)
            # A leg that uses a sandbox gets its error.
            self._warming = asyncio.gather(*asked, return_exceptions=True)

    async def cell(self, cell: Cell) -> Judged:
        """Run and judge one cell."""
        probes = {b: await self._leg(k) for b, k in self._plan.probes_of(cell).items()}
        legs: list[LegEvidence | None] = []
        if not any(p.failed_at(Stage.START) or p.infrastructure for p in probes.values()):
            legs.extend(await self._path(cell))
        keys = self._plan.legs_of(cell)
        legs.extend([None] * (len(keys) - len(legs)))
        rests_on = {leg.key for leg in (*legs, *probes.values()) if leg is not None}
        basis = Basis(tuple(legs), probes, keys[-1], reused=rests_on.isdisjoint(self._done))
        return Judged(judge_cell(cell, legs, probes), basis)

    async def _path(self, cell: Cell) -> Sequence[LegEvidence]:
        keys = self._plan.legs_of(cell)
        if self._plan.leg(keys[-1]).mode.live:
            return await self._live_path(keys)
        found: list[LegEvidence] = []
        for key in keys:
            found.append(await self._leg(key))
            if found[-1].failed or found[-1].infrastructure:
                break
        return found

    # -- snapshot legs: each step below adds one thing to the next

    async def _leg(self, key: str) -> LegEvidence:
        """Evidence of a leg; however many cells ask, it is worked out once."""
        return await shared(self._work, key, lambda: self._reuse_or_do(self._plan.leg(key)))

    async def _reuse_or_do(self, leg: Leg) -> LegEvidence:
        """Add the store: what it holds is told as reused, anything else is done, and tried again if the host fails."""
        found = self._found(leg)
        if found is not None:
            self._tell(found, reused=True)
            return found
        evidence = await self._retried(leg.key, _builds_of([leg]), lambda: self._with_incoming(leg))
        self._tell(evidence, reused=False)
        return evidence

    def _stored(self, key: str) -> LegEvidence | None:
        """What the store has; no failure that was the host's, was seen once only, or came of a shorter deadline."""
        evidence = self._store.get(key)
        if evidence is None or evidence.impatient(self._settings.deadlines):
            return None
        if not evidence.failed:
            return evidence
        judgement = self._judged(evidence)
        unconfirmed = doubtful(judgement) and evidence.again is None
        return None if judgement.verdict is Verdict.ERROR or unconfirmed else evidence

    def _found(self, leg: Leg, *, with_stream: bool = False) -> LegEvidence | None:
        """Stored evidence, if it answers all that is asked of this leg."""
        evidence = self._stored(leg.key)
        if evidence is None or evidence.failed:
            return evidence
        if self._plan.needs_out(leg.key) and evidence.stream is None:
            return None
        return None if with_stream and not self._store.has_stream(leg.key) else evidence

    async def _with_incoming(self, leg: Leg, *, with_stream: bool = False) -> LegEvidence:
        """Add the stream that the leg loads: fetch it, and keep it as long as the leg is under way."""
        if leg.incoming is None:
            return await self._claimed(leg, None, with_stream=with_stream)
        await self._have_stream(leg.incoming)
        with self._streams.pinned(leg.incoming) as incoming:
            return await self._claimed(leg, incoming, with_stream=with_stream)

    async def _claimed(self, leg: Leg, incoming: Path | None, *, with_stream: bool) -> LegEvidence:
        """Add the lock on the leg: run it and store it, unless another process has just done that."""
        async with self._store.claim(leg.key):
            found = self._found(leg, with_stream=with_stream)
            if found is not None:
                return found
            draft = self._streams.draft(leg.key)
            save_to = draft if self._plan.needs_out(leg.key) else None
            self._warm_up()
            async with self._slots:  # not while a stream is compressed: the next emulator may start
                (evidence,) = await confirmed(lambda: self._compared(leg, incoming, save_to), self._judged)
            if self._counts(evidence):
                await asyncio.to_thread(self._store.put, evidence, draft if evidence.stream else None)
            if evidence.stream:
                draft.replace(self._streams.path(leg.key))
                self._streams.add(leg.key)
            self._failures.done(_builds_of([leg]))
            return evidence

    async def _compared(self, leg: Leg, incoming: Path | None, save_to: Path | None) -> list[LegEvidence]:
        """Add the check that the mode asks for."""
        if not leg.mode.check or incoming is None or leg.incoming is None:
            return [await self._snapshot(leg, incoming, save_to)]
        paused = leg.guest.kind == "paused"
        echo = echo_file(save_to, self._streams.draft(leg.key), paused=paused)
        try:
            evidence = await self._snapshot(leg, incoming, save_to, echo)
            before = self._builds[self._plan.leg(leg.incoming).build]
            return [await with_echo(evidence, incoming, echo, before, self._builds[leg.build])]
        finally:
            if echo != save_to:
                echo.unlink(missing_ok=True)

    async def _snapshot(
        self, leg: Leg, incoming: Path | None, save_to: Path | None, echo: Path | None = None
    ) -> LegEvidence:
        task = LegTask(
            key=leg.key,
            build=self._builds[leg.build],
            machine=leg.machine,
            arguments=leg.arguments,
            mode=leg.mode,
            guest=leg.guest,
            deadlines=self._settings.deadlines,
            incoming=incoming,
            save_to=save_to,
            echo_to=echo,
            silent=self._silent(leg),
        )
        return await run_snapshot_leg(self._engine, task)

    def _silent(self, leg: Leg) -> bool:
        """Whether the guest that a leg loads was never heard."""
        before = self._store.get(leg.incoming) if leg.incoming and leg.guest.kind != "paused" else None
        return before is not None and bool(before.facts.get(SILENT))

    async def _have_stream(self, key: str) -> None:
        """Get the stream of a leg that passed into the cache."""
        while key not in self._streams:
            await shared(self._fetching, key, lambda: self._fetch(self._plan.leg(key)))
            self._fetching.pop(key, None)

    async def _fetch(self, leg: Leg) -> None:
        evidence = self._stored(leg.key)
        if evidence is None or not await self._fetched(evidence):
            evidence = await self._with_incoming(leg, with_stream=True)
            if evidence.stream is None:
                raise InfrastructureError(
                    f"leg {leg.key[:16]} passed before and failed when it was done again"
                )

    async def _fetched(self, evidence: LegEvidence) -> bool:
        path = self._streams.path(evidence.key)
        if not await asyncio.to_thread(self._store.fetch_stream, evidence, path):
            return False
        self._streams.add(evidence.key)
        return True

    # -- live paths

    async def _live_path(self, keys: Sequence[str]) -> Sequence[LegEvidence]:
        found = self._found_live(keys)
        if found is not None:
            return found
        longest = self._longest(keys)
        return (await shared(self._live, longest[-1], lambda: self._run_live(longest)))[: len(keys)]

    def _found_live(self, keys: Sequence[str]) -> list[LegEvidence] | None:
        found: list[LegEvidence] = []
        for key in keys:
            evidence = self._stored(key)
            if evidence is None:
                return None
            found.append(evidence)
            if evidence.failed:
                break
        for evidence in found:
            self._tell(evidence, reused=True)
        return found

    def _longest(self, keys: Sequence[str]) -> tuple[str, ...]:
        """A planned path that begins with `keys` and is not the beginning of another."""
        path = tuple(keys)
        while consumers := self._plan.consumers(path[-1]):
            path = (*path, consumers[0])
        return path

    async def _run_live(self, keys: tuple[str, ...]) -> list[LegEvidence]:
        found: list[LegEvidence] = []
        builds = _builds_of([self._plan.leg(key) for key in keys])

        async def run() -> LegEvidence:
            async with self._store.claim(keys[-1]), self._slots:
                self._warm_up()
                task, links = self._live_task(keys), self._workspace.link
                found[:] = await confirmed(lambda: run_live_path(self._engine, task, links), self._judged)
                for evidence in found:
                    if self._counts(evidence):
                        await asyncio.to_thread(self._store.put, evidence, None)
                self._failures.done(builds)
                return found[-1]

        last = await self._retried(keys[len(found)], builds, run)
        if last.infrastructure:
            return [*found, last]
        for evidence in found:
            self._tell(evidence, reused=False)
        return found

    def _live_task(self, keys: tuple[str, ...]) -> LiveTask:
        legs = [self._plan.leg(key) for key in keys]
        names = [legs[0].source, *(leg.build for leg in legs)]
        return LiveTask(
            keys=keys,
            builds=tuple(self._builds[name] for name in names if name is not None),
            machine=legs[0].machine,
            arguments=legs[0].arguments,
            mode=legs[0].mode,
            guest=legs[0].guest,
            deadlines=self._settings.deadlines,
        )

    # -- failures of the host

    async def _retried(
        self, key: str, builds: frozenset[str], work: Callable[[], Coroutine[Any, Any, LegEvidence]]
    ) -> LegEvidence:
        """What `work` returns; evidence of the host's failure when it fails for all attempts."""
        if down := self._failures.down(builds):
            return LegEvidence(key, (), (), infrastructure=down)
        try:
            async for attempt in stamina.retry_context(
                on=InfrastructureError, attempts=self._settings.retries + 1, wait_initial=0.2, timeout=None
            ):
                with attempt:
                    return await work()
        except InfrastructureError as err:
            if not isinstance(err, _HostRefused):
                self._failures.failed(builds, err)
            return LegEvidence(key, (), (), infrastructure=str(err))
        raise AssertionError("retry_context ends by return or by an error")

    def _judged(self, evidence: LegEvidence) -> LegJudgement:
        """A leg that is no probe is done when its builds' probes have started; a plan of trials has none."""
        judgement = judge_leg(evidence)
        probed = bool(self._probes) and evidence.key not in self._probes
        return started(judgement) if probed else judgement

    def _counts(self, evidence: LegEvidence) -> bool:
        """Whether to keep it: not when it is flaky; InfrastructureError when the host failed (a full disk, a port taken)."""
        judged = [self._judged(done) for done in (evidence.again, evidence) if done is not None]
        for judgement in judged:
            if judgement.verdict is Verdict.ERROR and not flaky(judgement):
                raise _HostRefused(judgement.cause.message if judgement.cause else "the host failed")
        return not flaky(judged[-1])


class _HostRefused(InfrastructureError):
    """The host lacks what this leg needs (userfaultfd, say); others may do well."""


def _builds_of(legs: Iterable[Leg]) -> frozenset[str]:
    """Ids of the builds that are at work in legs of one path."""
    return frozenset(name for leg in legs for name in (leg.source, leg.build) if name is not None)

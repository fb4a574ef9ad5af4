# SPDX-License-Identifier: Apache-2.0
"""Runs trials: anything that is not in the matrix's own plan, on the same engine, store and judge as its cells.

1. A trial becomes a plan of its own. Its legs have the keys that a matrix gives them (`plan.legs`), so a leg that the
   store has is not run again.
2. A trial has no probes: a build that does not start makes it `unsupported`, which reproduces nothing.
3. Every trial is in the journal, and every leg that it needed is counted once, found or run.
4. A failure of the host is an InfrastructureError: nothing is concluded from it.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.known import plain_result
from migmatrix.harness.model import Cell, Verdict
from migmatrix.harness.plan import Plan
from migmatrix.harness.plan.keys import build_digest
from migmatrix.harness.plan.legs import Legs
from migmatrix.harness.run.opening import opened, silent
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.qom import look_at
from migmatrix.harness.trials.records import Attempt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.model import LegEvidence
    from migmatrix.harness.plan import Leg
    from migmatrix.harness.run.definition import Origin
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.qom import MachineView
    from migmatrix.harness.trials.records import Step, Trial

__all__ = ["TrialRunner", "open_trials"]


@asynccontextmanager
async def open_trials(
    origin: Origin, store: Path | None, jobs: int, log: Callable[[str], None]
) -> AsyncIterator[TrialRunner]:
    """A runner of trials on the builds of `origin`; without `store` nothing that was run before counts."""
    async with opened(store, Settings(jobs, origin.deadlines, origin.retries), log) as where:
        yield TrialRunner(origin.builds, where, log)


class _TrialPlan(Plan):
    """A plan without probes (rule 2)."""

    def probes_of(self, cell: Cell) -> dict[str, str]:
        del cell
        return {}


@dataclass
class TrialRunner:
    """Everything that a trial needs; `legs` and `journal` tell what was used so far.

    `emulators` counts the starts that were only looked at (`view`); they migrate nothing and are no legs. `on_leg` is told
    of each leg, and whether the store had it.
    """

    builds: Mapping[str, PreparedBuild]
    opened: Opened
    log: Callable[[str], None]
    journal: list[Attempt] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    emulators: int = 0
    on_leg: Callable[[LegEvidence, bool], None] = silent
    _views: dict[tuple[object, ...], MachineView] = field(default_factory=dict)
    _known: dict[Trial, Attempt] = field(default_factory=dict)

    @property
    def legs(self) -> int:
        """Distinct legs that were needed so far."""
        return len(self.used)

    async def run(self, purpose: str, trials: Sequence[Trial]) -> list[Attempt]:
        """Run trials, those not known yet at once; attempts in the order of `trials`."""
        new = [trial for trial in dict.fromkeys(trials) if trial not in self._known]
        if new:
            await self._run(purpose, new)
        return [self._known[trial] for trial in trials]

    async def one(self, purpose: str, trial: Trial) -> Attempt:
        """Run one trial."""
        return (await self.run(purpose, [trial]))[0]

    async def _run(self, purpose: str, trials: Sequence[Trial]) -> None:
        planned = _Planned.of(trials, self.builds)
        runner = self.opened.runner(planned.plan, planned.builds, self.on_leg)
        try:
            judged = await asyncio.gather(*(runner.cell(cell) for cell in planned.plan.cells))
        finally:
            await runner.close()
        for trial, done in zip(trials, judged, strict=True):
            result = plain_result(done.judgement)
            if result.verdict is Verdict.ERROR:
                raise InfrastructureError(f"{purpose}: {trial.route}: {result.reason}")
            new = set(result.legs) - self.used
            self.used |= new
            attempt = Attempt(purpose, trial, result, len(new))
            self.journal.append(attempt)
            self._known[trial] = attempt
            self.log(_line(attempt))

    def stream(self, key: str) -> bytes | None:
        """The stream that a leg left, None when it left none or it is gone."""
        evidence = self.opened.store.get(key)
        path = self.opened.workspace.streams / f"look-{key}"
        if evidence is None or not self.opened.store.fetch_stream(evidence, path):
            return None
        try:
            return path.read_bytes()
        finally:
            path.unlink()

    def evidence(self, key: str) -> LegEvidence | None:
        """What was recorded about a leg."""
        return self.opened.store.get(key)

    async def view(self, step: Step, machine: str, arguments: tuple[str, ...]) -> MachineView:
        """The objects of a machine that was started and does not run, with their properties."""
        build = _variant(self.builds[step.build], step)
        key = build.id, machine, arguments
        if key not in self._views:
            self.emulators += 1
            self._views[key] = await look_at(
                self.opened.engine, build, machine, arguments, self.opened.settings.deadlines
            )
        return self._views[key]


def _line(attempt: Attempt) -> str:
    result = attempt.result
    what = result.signature or result.reason
    return (
        f"{attempt.purpose}: {attempt.trial.machine} {attempt.trial.route}: {result.verdict} {what}".rstrip()
    )


def _variant(build: PreparedBuild, step: Step) -> PreparedBuild:
    """The build with a step's arguments, under a name of its own where they are not the build's."""
    args = (*(build.args if step.args is None else step.args), *step.arguments)
    if args == build.args:
        return build
    told = step.arguments if step.args in (None, build.args) else ("", *args)
    return replace(build, id=f"{build.id}+{_short(told)}", args=args)


def _short(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Planned:
    plan: Plan
    builds: Mapping[str, PreparedBuild]

    @classmethod
    def of(cls, trials: Sequence[Trial], builds: Mapping[str, PreparedBuild]) -> _Planned:
        variants: dict[str, PreparedBuild] = {}
        legs: dict[str, Leg] = {}
        cells: dict[Cell, tuple[str, ...]] = {}
        for trial in trials:
            path = [_variant(builds[step.build], step) for step in trial.path]
            variants.update((build.id, build) for build in path)
            ids = tuple(build.id for build in path)
            profile = f"arguments-{_short(trial.arguments)}"
            made = Legs(
                trial.machine, "", trial.arguments, trial.mode, trial.guest,
                {build.id: build_digest(build, trial.arguments) for build in path}, legs,
            )  # fmt: skip
            cells[Cell(trial.machine, profile, ids, trial.mode.name, trial.guest.name)] = made.path(ids)
        plan = _TrialPlan(tuple(cells), MappingProxyType(legs), MappingProxyType(cells), MappingProxyType({}))
        return cls(plan, variants)

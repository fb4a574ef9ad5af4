"""Runs trials: anything that is not in the matrix's own plan, on the same engine, store and judge as its cells.

1. A trial becomes a plan of its own, whose hops have keys as all hops have: what was done before is not done again.
2. A trial has no probes: a build that does not start makes it `unsupported`, which is no reproduction of anything.
3. Every trial is journalled, and every hop that the explanation rests on is counted once, found or done.
4. A failure of the host is an InfrastructureError here: nothing is concluded from it.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from harness.errors import InfrastructureError
from harness.explain.machine import look_at
from harness.explain.records import Attempt
from harness.model import Cell, Verdict
from harness.plan import Hop, Plan
from harness.plan.keys import GroupKeys, build_digest
from harness.runner import Runner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from harness.builds import PreparedBuild
    from harness.engines import Engine, Workspace
    from harness.explain.machine import MachineView
    from harness.explain.records import Step, Trial
    from harness.model import HopEvidence
    from harness.runner import Settings
    from harness.store import HopStore

__all__ = ["Bench"]


class _TrialPlan(Plan):
    """A plan without probes (rule 2)."""

    def probes_of(self, cell: Cell) -> dict[str, str]:
        del cell
        return {}


@dataclass
class Bench:
    """Everything that a trial needs; `hops` and `journal` tell what was used so far.

    `emulators` counts the starts that were only looked at (`view`); they migrate nothing and are no hops.
    """

    builds: Mapping[str, PreparedBuild]
    engine: Engine
    store: HopStore
    workspace: Workspace
    settings: Settings
    log: Callable[[str], None]
    journal: list[Attempt] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    emulators: int = 0
    _views: dict[tuple[object, ...], MachineView] = field(default_factory=dict)
    _known: dict[Trial, Attempt] = field(default_factory=dict)

    @property
    def hops(self) -> int:
        """Distinct hops that were needed so far."""
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
        runner = Runner(
            planned.plan, planned.builds, self.engine, self.store, self.workspace, self.settings, _nothing
        )
        try:
            judged = await asyncio.gather(*(runner.cell(cell) for cell in planned.plan.cells))
        finally:
            await runner.close()
        for trial, done in zip(trials, judged, strict=True):
            if done.result.verdict is Verdict.ERROR:
                raise InfrastructureError(f"{purpose}: {trial.route}: {done.result.reason}")
            new = set(done.result.hops) - self.used
            self.used |= new
            attempt = Attempt(purpose, trial, done.result, len(new))
            self.journal.append(attempt)
            self._known[trial] = attempt
            self.log(_line(attempt))

    def stream(self, key: str) -> bytes | None:
        """The stream that a hop left, None when it left none or it is gone."""
        evidence = self.store.get(key)
        path = self.workspace.streams / f"look-{key}"
        if evidence is None or not self.store.fetch_stream(evidence, path):
            return None
        try:
            return path.read_bytes()
        finally:
            path.unlink()

    def evidence(self, key: str) -> HopEvidence | None:
        """What was recorded about a hop."""
        return self.store.get(key)

    async def view(self, step: Step, machine: str, arguments: tuple[str, ...]) -> MachineView:
        """The objects of a machine that was started and does not run, with their properties."""
        build = _variant(self.builds[step.build], step.arguments)
        key = build.id, machine, arguments
        if key not in self._views:
            self.emulators += 1
            self._views[key] = await look_at(self.engine, build, machine, arguments, self.settings.deadlines)
        return self._views[key]


def _nothing(*_: object) -> None:
    """Nobody is told of single hops."""


def _line(attempt: Attempt) -> str:
    result = attempt.result
    what = result.signature or result.reason
    return (
        f"{attempt.purpose}: {attempt.trial.machine} {attempt.trial.route}: {result.verdict} {what}".rstrip()
    )


def _variant(build: PreparedBuild, arguments: tuple[str, ...]) -> PreparedBuild:
    """The build with more arguments, under a name of its own."""
    if not arguments:
        return build
    return replace(build, id=f"{build.id}+{_short(arguments)}", args=(*build.args, *arguments))


def _short(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode()).hexdigest()[:12]


@dataclass(frozen=True)
class _Planned:
    plan: Plan
    builds: Mapping[str, PreparedBuild]

    @classmethod
    def of(cls, trials: Sequence[Trial], builds: Mapping[str, PreparedBuild]) -> _Planned:
        variants: dict[str, PreparedBuild] = {}
        hops: dict[str, Hop] = {}
        cells: dict[Cell, tuple[str, ...]] = {}
        for trial in trials:
            path = [_variant(builds[step.build], step.arguments) for step in trial.path]
            variants.update((build.id, build) for build in path)
            keys = _hops(trial, path, hops)
            ids = tuple(build.id for build in path)
            profile = f"arguments-{_short(trial.arguments)}"
            cells[Cell(trial.machine, profile, ids, trial.mode.name, trial.guest.name)] = keys
        plan = _TrialPlan(tuple(cells), MappingProxyType(hops), MappingProxyType(cells), MappingProxyType({}))
        return cls(plan, variants)


def _hops(trial: Trial, path: Sequence[PreparedBuild], hops: dict[str, Hop]) -> tuple[str, ...]:
    """The keys of a trial's hops, which are added to `hops`; as the plan of a matrix makes them."""
    group = GroupKeys(trial.machine, trial.arguments, trial.mode, trial.guest)
    keys: list[str] = []
    for index in range(trial.mode.live, len(path)):
        incoming = keys[-1] if keys else None
        source = path[index - 1] if trial.mode.live else None
        key = group.key(build_digest(path[index]), incoming, build_digest(source) if source else None)
        hops.setdefault(
            key,
            Hop(
                key,
                path[index].id,
                trial.machine,
                "",
                trial.arguments,
                trial.mode,
                trial.guest,
                incoming,
                source.id if source else None,
                index,
            ),
        )
        keys.append(key)
    return tuple(keys)

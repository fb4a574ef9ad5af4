# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explore`: runs candidates in the order of `order`, and learns from each.

1. A candidate is first migrated from each build that knows it to itself. A build that refuses to start is not asked to
   migrate; its reason is kept, and counts for everything that holds what it refused (`refusals`).
2. Then it goes between neighbours in age, both ways, and between the oldest and the newest. Where anything fails it goes
   between all.
3. Plain candidates are tried on every machine type; any other on one of each family, which take turns, or on all.
4. Legs are those of any run: the store answers for those that it has, so that the same call goes on where it ended.
5. A failure of the host ends a candidate, not the search; `_HOST` of them in a row end the search.
6. Plain candidates that migrate, and what refuses to, are started with ``-only-migratable`` too (`migratable`).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import count, islice, pairwise, permutations
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.explore.coverage import Coverage, Reached
from migmatrix.harness.explore.findings import Collector
from migmatrix.harness.explore.migratable import Asked, untrue, with_option
from migmatrix.harness.explore.novelty import Seen
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.explore.refusals import Refusals
from migmatrix.harness.explore.space import by_age
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import machine_parts
from migmatrix.harness.run.opening import silent
from migmatrix.harness.trials.records import Step, Trial
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.arguments import Writer
    from migmatrix.harness.explore.order import Order
    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.model import Guest, LegEvidence, Mode
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.records import Attempt

__all__ = ["Budget", "Plan", "Search"]

_BATCH = 8  # candidates that run side by side
_HOST = 5


@dataclass(frozen=True, slots=True)
class Budget:
    """When a search ends by itself: after so many legs, stored ones too, or seconds; None is no bound.

    What is under way then is done first: of a bound of legs one candidate, of one of time a batch.
    """

    legs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched: builds, machine types, what every command line has, and how guests move.

    `origin` is what a stored run keeps of itself (`Origin.of_meta`), so that a finding can be run again.
    """

    builds: dict[str, PreparedBuild]
    machines: tuple[str, ...]
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    depth: Phase = Phase.WALK
    every_machine: bool = False
    shard: tuple[int, int] = (1, 1)
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Case:
    """A candidate on a machine, and the builds that start it, oldest first."""

    candidate: Candidate
    machine: str
    arguments: tuple[str, ...]
    builds: tuple[str, ...]


@dataclass
class Search:
    """A search under way; `tell` is told how far it is, after each batch, `on_leg` of each leg, and whether it was stored."""

    plan: Plan
    where: Opened
    order: Order
    writer: Writer
    budget: Budget
    log: Callable[[str], None]
    tell: Callable[[Search], None]
    on_leg: Callable[[LegEvidence, bool], None] = silent
    coverage: Coverage = field(default_factory=Coverage)
    refusals: Refusals = field(default_factory=Refusals)
    seen: Seen = field(default_factory=Seen)
    asked: Asked = field(default_factory=Asked)
    phase: Phase = Phase.PLAIN
    legs: set[str] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)
    _failed: int = 0
    _dearest: int = 0  # legs that a candidate took, on average in the dearest batch

    def __post_init__(self) -> None:
        self.collector = Collector(self.plan.builds, self.where, self.log, self.on_leg)
        self._ages = [build.id for build in by_age(self.plan.builds)]

    async def run(self) -> str:
        """Search until the candidates end or the budget does: ``complete`` or ``budget``."""
        first, step = self.plan.shard
        for phase in list(Phase)[: list(Phase).index(self.plan.depth) + 1]:
            self.phase = phase
            # a phase begins when the one before has been run: walks vary what was learned from it
            share = islice(self._candidates(phase), first - 1, None, step)
            while not self._over() and (batch := list(islice(share, self.size()))):
                before = self.spent
                await self._batch(batch)
                self._dearest = max(self._dearest, (self.spent - before) // len(batch))
                self.tell(self)
        return "budget" if self._over() else "complete"

    @property
    def reached(self) -> Reached:
        """How far it is."""
        coverage = self.coverage
        return Reached(
            self.phase,
            coverage.candidates,
            devices=sum(coverage.devices.values()),
            options=sum(coverage.options.values()),
            pairs=sum(coverage.pairs.values()),
            seen=len(self.seen.features),
            findings=len(self.collector.findings),
            legs=self.spent,
        )

    @property
    def spent(self) -> int:
        """Legs so far, stored ones and those of reductions too."""
        return len(self.legs) + self.collector.legs

    def _candidates(self, phase: Phase) -> Iterator[Candidate]:
        if phase is not Phase.WALK:
            yield from self.order.of(phase)
            return
        for number in count():
            if (candidate := self.order.walk(self.seen.corpus, number)) is None:
                return
            yield candidate

    def size(self) -> int:
        """How many candidates run side by side: near the end of a budget of legs fewer, at its beginning one."""
        if self.budget.legs is None:
            return _BATCH
        left = self.budget.legs - self.spent
        return min(_BATCH, max(1, left // self._dearest)) if self._dearest else 1

    def _over(self) -> bool:
        legs, seconds = self.budget.legs, self.budget.seconds
        return (legs is not None and self.spent >= legs) or (
            seconds is not None and time.monotonic() - self._began >= seconds
        )

    async def _batch(self, candidates: Sequence[Candidate]) -> None:
        runner = TrialRunner(self.plan.builds, self.where, silent, on_leg=self.on_leg)
        cases = [case for candidate in candidates for case in self._cases(candidate)]
        alone = await self._run(runner, cases, lambda case: [(b, b) for b in case.builds])
        starting = [self._starting(case, attempts) for case, attempts in zip(cases, alone, strict=True)]
        for case, attempts in zip(starting, alone, strict=True):
            self._look(runner, case, attempts)
        between = await self._run(runner, starting, _neighbours)
        failing = [
            case
            for case, mine, theirs in zip(starting, alone, between, strict=True)
            if any(a.result.verdict is Verdict.FAIL for a in (*mine, *theirs))
        ]
        rest = await self._run(runner, failing, lambda case: list(permutations(case.builds, 2)))
        wrong = await self._untrue(runner, starting, alone)
        self.legs |= runner.used
        for case, mine, theirs in zip(starting, alone, between, strict=True):
            every = rest[failing.index(case)] if case in failing else theirs
            await self.collector.take(case.candidate, [*mine, *every])
        for candidate, plain, asked in wrong:
            await self.collector.take_untrue(candidate, plain, asked)

    async def _untrue(
        self, runner: TrialRunner, cases: Sequence[_Case], alone: Sequence[Sequence[Attempt]]
    ) -> list[tuple[Candidate, Attempt, Attempt]]:
        """Rule 6: candidates of which ``-only-migratable`` says another thing than the migration."""
        pairs = [
            (case.candidate, attempt)
            for case, attempts in zip(cases, alone, strict=True)
            for attempt in self.asked.of(case.candidate, attempts)
        ]
        trials = [with_option(attempt.trial) for _, attempt in pairs]
        done = await self._attempts(runner, trials)
        return [
            (candidate, plain, done[trial])
            for (candidate, plain), trial in zip(pairs, trials, strict=True)
            if trial in done and untrue(plain, done[trial])
        ]

    def _cases(self, candidate: Candidate) -> Iterator[_Case]:
        """The candidate on the machines that it is tried on, each with the builds that may start it."""
        placed = False
        for machine in self._machines(candidate):
            arguments = self.writer.arguments(candidate, machine)
            if arguments is None:
                continue
            placed = True
            known = [b for b in self._ages if self.plan.builds[b].facts.knows_machine(machine)]
            builds = self.refusals.left(candidate, machine, self.writer.knowing(candidate, machine, known))
            yield _Case(candidate, machine, (*self.plan.arguments, *arguments), tuple(builds))
        self.coverage.planned(candidate, placed=placed)

    def _machines(self, candidate: Candidate) -> list[str]:
        """Rule 3."""
        if self.plan.every_machine or candidate.phase is Phase.PLAIN:
            return list(self.plan.machines)
        families: dict[str, list[str]] = {}
        for machine in self.plan.machines:
            families.setdefault(machine_parts(machine)[0], []).append(machine)
        turn = self.coverage.candidates
        return [machines[turn % len(machines)] for machines in families.values()]

    async def _run(
        self, runner: TrialRunner, cases: Sequence[_Case], pairs: Callable[[_Case], list[tuple[str, str]]]
    ) -> list[list[Attempt]]:
        """The attempts of each case."""
        trials = [[self._trial(case, pair) for pair in pairs(case)] for case in cases]
        done = await self._attempts(runner, [trial for row in trials for trial in row])
        return [[done[trial] for trial in row if trial in done] for row in trials]

    def _trial(self, case: _Case, path: Iterable[str]) -> Trial:
        steps = tuple(Step(build) for build in path)
        return Trial(case.machine, case.arguments, steps, self.plan.mode, self.plan.guest)

    async def _attempts(self, runner: TrialRunner, trials: Sequence[Trial]) -> dict[Trial, Attempt]:
        """Rule 5: all at once, and one by one where the host failed one of them."""
        try:
            return dict(zip(trials, await runner.run("explore", trials), strict=True))
        except InfrastructureError as err:
            self.log(f"one by one after: {err}")
        found: dict[Trial, Attempt] = {}
        for trial in dict.fromkeys(trials):
            try:
                found[trial] = await runner.one("explore", trial)
                self._failed = 0
            except InfrastructureError as err:
                self.coverage.host(trial, str(err))
                self._failed += 1
                if self._failed >= _HOST:
                    raise
        return found

    def _starting(self, case: _Case, attempts: Sequence[Attempt]) -> _Case:
        """The case with the builds that start it; what the others said is learned."""
        starts: list[str] = []
        refused: dict[str, str] = {}
        for attempt in attempts:
            build, result = attempt.trial.path[0].build, attempt.result
            if result.verdict is Verdict.UNSUPPORTED:
                refused[build] = result.cause.message if result.cause else result.reason
                self.refusals.learn(case.candidate, case.machine, build, refused[build])
            else:
                starts.append(build)
        self.coverage.tried(case.candidate, starts=bool(starts), said=refused)
        return _Case(case.candidate, case.machine, case.arguments, tuple(starts))

    def _look(self, runner: TrialRunner, case: _Case, attempts: Sequence[Attempt]) -> None:
        """Whether a state was saved that no candidate had saved before."""
        for attempt in attempts[-1:]:
            stream = runner.stream(attempt.result.legs[0]) if attempt.result.legs else None
            if stream is not None:
                self.seen.look(case.candidate, stream)


def _neighbours(case: _Case) -> list[tuple[str, str]]:
    """Rule 2: pairs of builds next to each other in age, and the two ends, both ways."""
    steps = [*pairwise(case.builds)]
    if len(case.builds) > 2:  # noqa: PLR2004 - of two the ends are the neighbours
        steps.append((case.builds[0], case.builds[-1]))
    return [pair for step in steps for pair in (step, step[::-1])]

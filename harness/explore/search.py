# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explore`: runs candidates in the order of `order`, and learns from each.

1. A plain candidate is first migrated from each build that knows it to itself. A build that refuses to start is not
   asked to migrate; its reason is kept, and counts for everything that holds what it refused (`refusals`).
2. Then it goes between neighbours in age, both ways, and between the oldest and the newest. Any other candidate begins
   here, and goes from builds to themselves where one did not start. Where anything fails it goes between all, and from
   each to itself; not where it fails as its devices do plain.
3. Plain candidates are tried on every machine type, on the first of each family before the others; any other on one of
   each family, which take turns, or on all. What is likely, and pairs, are tried on one family first, then all the rest,
   then, like walks, all on the other families: an option is its device's, and boards have options of their own.
4. Legs are those of any run: the store answers for those that it has, so that the same call goes on where it ended.
5. A failure of the host ends a candidate, not the search; `_HOST` of them in a row end the search.
6. Plain candidates that migrate, and what refuses to, are started with ``-only-migratable`` too (`migratable`).
7. The machine alone comes first: a build that does not start it is asked nothing more of that machine.
8. Options alone, covering arrays, couples, and plain devices on the other machine types go by many in one guest (`gather`):
   devices that pass plain, and what is no device. Where such a guest saves something new, each of its members is asked
   for it. What some device or family has taken before goes by more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from itertools import count, islice, product
from typing import TYPE_CHECKING
from zlib import crc32

from migmatrix.harness.errors import InfrastructureError, UserError
from migmatrix.harness.explore.coverage import Coverage, Reached
from migmatrix.harness.explore.findings import Collector, failures_of
from migmatrix.harness.explore.gather import AGAIN, SIZE, gather, parted
from migmatrix.harness.explore.migratable import Asked, untrue, with_option
from migmatrix.harness.explore.novelty import Seen
from migmatrix.harness.explore.pairs import at_once, first_pairs, is_clear, neighbours
from migmatrix.harness.explore.plan import Stretch
from migmatrix.harness.explore.records import Candidate, Case, Kind, Phase
from migmatrix.harness.explore.refusals import Refusals
from migmatrix.harness.explore.space import by_age
from migmatrix.harness.explore.spoilers import Spoilers, halves
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import machine_parts
from migmatrix.harness.run.opening import silent
from migmatrix.harness.trials.records import Step, Trial
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from migmatrix.harness.explore.arguments import Writer
    from migmatrix.harness.explore.order import Order
    from migmatrix.harness.explore.plan import Budget, Plan
    from migmatrix.harness.model import LegEvidence
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.records import Attempt

__all__ = ["Search"]

_BATCH = 8  # candidates that run side by side
_WINDOW = 48  # gathered for each place in a group: fewer fill none, as builds that know a device and machine types differ
_HOST = 5
_TURN = 256  # whose lower bits say the family, the others the machine type


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
    legs: set[str] = field(default_factory=set)
    _began: float = field(default_factory=time.monotonic)
    _failed: int = 0
    _dearest: int = 0  # legs that a candidate took, on average in the dearest batch
    _stretch: Stretch = field(default_factory=partial(Stretch, Phase.PLAIN))
    _halves: list[Candidate] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.collector = Collector(
            self.plan.builds, self.where, self.log, self.on_leg, common=self.plan.arguments
        )
        self.spoilers = Spoilers(self.plan.machines)
        self._families: dict[str, list[str]] = {}
        for machine in self.plan.machines:
            self._families.setdefault(machine_parts(machine)[0], []).append(machine)
        self._ages = [build.id for build in by_age(self.plan.builds)]

    async def run(self) -> str:
        """Search until the candidates end or the budget does: ``complete`` or ``budget``.

        UserError when no build starts any machine, with nothing added to what the matrix gives all of them.
        """
        await self._alone()
        first, step = self.plan.shard
        depth = list(Phase).index(self.plan.depth)
        for stretch in self._course():
            if list(Phase).index(Phase.WALK if stretch.family else stretch.phase) > depth:
                continue
            self._stretch = stretch
            # a stretch begins when the one before has been run: walks vary what was learned from it
            share: Iterator[Candidate] = islice(stretch.candidates(), first - 1, None, step)
            if stretch.together:
                share = filter(None, map(self.spoilers.without, share))
            while not self._over() and (batch := self._next(share)):
                before = self.spent
                cases = [case for candidate in batch for case in self._cases(candidate)]
                await self._batch(await self._gathered(cases) if stretch.many > 1 else cases)
                self._dearest = max(self._dearest, (self.spent - before) // len(batch))
                self.tell(self)
        return "budget" if self._over() else "complete"

    async def _alone(self) -> None:
        """Rule 7."""
        alone = Candidate((), Phase.PLAIN)
        for later in (False, True):
            self._stretch = Stretch(Phase.PLAIN, later=later)
            await self._batch([*self._cases(alone)])
        if not self.coverage.migrated and not self.coverage.host_failures:
            words = "; ".join(said for its in self.refusals.words().values() for said in its)
            raise UserError(f"no build starts any machine with the arguments of the matrix: {words}")

    @property
    def reached(self) -> Reached:
        """How far it is."""
        coverage = self.coverage
        return Reached(
            self._stretch.phase,
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

    def _course(self) -> Iterator[Stretch]:
        """Rule 3."""
        order = self.order
        yield Stretch(Phase.PLAIN, partial(order.of, Phase.PLAIN))
        yield Stretch(Phase.PLAIN, partial(order.of, Phase.PLAIN), many=SIZE, later=True)
        yield Stretch(Phase.SINGLE, order.likely, many=SIZE)
        yield Stretch(Phase.PAIR, order.together, together=True)
        yield Stretch(Phase.PAIR, order.arrays, together=True, many=SIZE)
        yield Stretch(Phase.SINGLE, order.unlikely, many=AGAIN)
        yield Stretch(Phase.PAIR, order.couples, many=SIZE)
        others = () if self.plan.every_machine else range(1, len(self._families))
        for family, phase in product(others, (Phase.SINGLE, Phase.PAIR)):
            many = AGAIN if phase is Phase.SINGLE else SIZE
            yield Stretch(phase, partial(order.of, phase), family, many=many)
        yield Stretch(Phase.WALK, self._walks)

    def _next(self, share: Iterator[Candidate]) -> list[Candidate]:
        """A batch: halves of crowds that were refused, then what the share has."""
        many = self._stretch.many
        size = self.size(_WINDOW * many if many > 1 else _BATCH)
        halves, self._halves = self._halves[:size], self._halves[size:]
        return [*halves, *islice(share, size - len(halves))]

    def _walks(self) -> Iterator[Candidate]:
        for number in count():
            if (candidate := self.order.walk(self.seen.corpus, number)) is None:
                return
            yield candidate

    def size(self, most: int = _BATCH) -> int:
        """How many candidates run side by side: near the end of a budget of legs fewer, at its beginning one."""
        if self.budget.legs is None:
            return most
        left = self.budget.legs - self.spent
        return min(most, max(1, left // self._dearest)) if self._dearest else 1

    def _over(self) -> bool:
        legs, seconds = self.budget.legs, self.budget.seconds
        return (legs is not None and self.spent >= legs) or (
            seconds is not None and time.monotonic() - self._began >= seconds
        )

    async def _gathered(self, cases: Sequence[Case]) -> list[Case]:
        """Rule 8; the cases that are left to be tried alone."""
        runner = TrialRunner(self.plan.builds, self.where, silent, on_leg=self.on_leg)
        alone = [case for case in cases if not self._may_join(case)]
        groups = gather((case for case in cases if self._may_join(case)), self._stretch.many)
        while many := [group for group in groups if len(group) > 1]:
            alone += [case for group in groups if len(group) == 1 for case in group]
            joined = [self._joined(group) for group in many]
            done = await self._run(runner, joined, first_pairs)
            groups = []
            for group, case, attempts in zip(many, joined, done, strict=True):
                whole = len(attempts) == len(first_pairs(case))  # else the host failed some
                if whole and all(a.result.verdict is Verdict.PASS for a in attempts):
                    await self._passed(runner, group, case, attempts)
                else:
                    groups += parted(group, _printed(runner, attempts))
        self.legs |= runner.used
        return [*alone, *(case for group in groups for case in group)]

    def _may_join(self, case: Case) -> bool:
        """Whether nothing is known of a case that would spoil what others do."""
        plain = case.candidate.phase is Phase.PLAIN
        parts = case.candidate.parts
        where = self._families[machine_parts(case.machine)[0]][0] if plain else case.machine
        return (
            bool(case.builds)
            and all(part.kind is not Kind.TOPOLOGY for part in parts)
            and bool(self.spoilers.sound(parts, [where]))
            and (plain or parts not in self.spoilers.failed)
        )

    def _joined(self, group: Sequence[Case]) -> Case:
        """A group as one case."""
        first = group[0]
        parts = tuple(part for case in group for part in case.candidate.parts)
        candidate = Candidate(parts, first.candidate.phase)
        added = self.writer.arguments(candidate, first.machine) or ()  # each part has a place there
        return Case(candidate, first.machine, (*self.plan.arguments, *added), first.builds)

    async def _passed(
        self, runner: TrialRunner, group: Sequence[Case], joined: Case, attempts: Sequence[Attempt]
    ) -> None:
        """Count each member of a group that passed as what it is, and ask each for what is new."""
        if self.seen.is_new(_stream(runner, attempts)):
            each = await self._run(runner, group, lambda case: first_pairs(case)[-1:])
            for case, mine in zip(group, each, strict=True):
                self.seen.look(case.candidate, _stream(runner, mine))
            self.seen.look(joined.candidate, _stream(runner, attempts))
        for case in group:
            self.coverage.tried(case.candidate, starts=True, said={})

    async def _batch(self, cases: Sequence[Case]) -> None:
        runner = TrialRunner(self.plan.builds, self.where, silent, on_leg=self.on_leg)
        alone = await self._own(runner, cases)
        starting = [self._starting(case, attempts) for case, attempts in zip(cases, alone, strict=True)]
        between = await self._run(runner, starting, neighbours)
        for case, mine, theirs in zip(starting, alone, between, strict=True):
            self.seen.look(case.candidate, _stream(runner, mine or theirs))
        failing = [
            case
            for case, mine, theirs in zip(starting, alone, between, strict=True)
            if self.spoilers.news(case.candidate, case.machine, failures_of([*mine, *theirs]))
        ]
        done = await self._run(runner, failing, lambda case: [*product(case.builds, case.builds)])
        rest = dict(zip(map(id, failing), done, strict=True))
        wrong = await self._untrue(runner, starting, alone)
        self.legs |= runner.used
        for whole, case, mine, theirs in zip(cases, starting, alone, between, strict=True):
            every = rest.get(id(case), [*mine, *theirs])
            sound = case.builds == whole.builds and all(a.result.verdict is Verdict.PASS for a in every)
            if id(case) in rest:
                self.spoilers.failed.add(case.candidate.parts)
                self.spoilers.show(case.candidate, case.machine, failures_of(every))
            else:
                every = self.collector.take_known(every)
            self.spoilers.learn(
                case.candidate, case.machine, starts=bool(case.builds) or not whole.builds, sound=sound
            )
            await self.collector.take(case.candidate, every)
        for case, plain, asked in wrong:
            await self.collector.take_untrue(case, plain, asked)

    async def _own(self, runner: TrialRunner, cases: Sequence[Case]) -> list[list[Attempt]]:
        """The attempts from builds to themselves; none of a case that all of its builds start and save (rule 2)."""
        begun = await self._run(runner, cases, at_once)
        clear = {id(case) for case, attempts in zip(cases, begun, strict=True) if is_clear(attempts)}
        return await self._run(
            runner, cases, lambda case: [] if id(case) in clear else [(b, b) for b in case.builds]
        )

    async def _untrue(
        self, runner: TrialRunner, cases: Sequence[Case], alone: Sequence[Sequence[Attempt]]
    ) -> list[tuple[Case, Attempt, Attempt]]:
        """Rule 6: cases of which ``-only-migratable`` says another thing than the migration."""
        pairs = [
            (case, attempt)
            for case, attempts in zip(cases, alone, strict=True)
            for attempt in self.asked.of(case.candidate, attempts)
        ]
        trials = [with_option(attempt.trial) for _, attempt in pairs]
        done = await self._attempts(runner, trials)
        return [
            (case, plain, done[trial])
            for (case, plain), trial in zip(pairs, trials, strict=True)
            if trial in done and untrue(plain, done[trial])
        ]

    def _cases(self, candidate: Candidate) -> Iterator[Case]:
        """The candidate on the machines that it is tried on, each with the builds that may start it."""
        placed = False
        for machine in self._machines(candidate):
            arguments = self.writer.arguments(candidate, machine)
            if arguments is None:
                continue
            placed = True
            known = [b for b in self._ages if self.plan.builds[b].facts.knows_machine(machine)]
            knowing = self.writer.knowing(candidate, machine, known)
            builds = self.refusals.left(candidate, machine, knowing, elsewhere=self._stretch.family > 0)
            yield Case(candidate, machine, (*self.plan.arguments, *arguments), tuple(builds))
        if not self._stretch.family and not self._stretch.later:  # else it was counted before
            self.coverage.planned(candidate, placed=placed)

    def _machines(self, candidate: Candidate) -> list[str]:
        """Rule 3; whose turn it is depends on the candidate alone, so that each part of the course finds it the same."""
        firsts = [family[0] for family in self._families.values()]
        if candidate.phase is Phase.PLAIN:
            later = self._stretch.later
            return [machine for machine in self.plan.machines if (machine in firsts) is not later]
        if self._stretch.later:
            return []
        if self.plan.every_machine:
            return list(self.plan.machines)
        turn = crc32(candidate.text.encode())
        several = candidate.parts if len(candidate.parts) > 1 else ()
        having = [
            machines[turn // _TURN % len(machines)]
            for family in self._families.values()
            if (machines := self.spoilers.sound(several, family) or family)
            and self.writer.arguments(candidate, machines[0]) is not None
        ]
        return (
            [having[(turn + self._stretch.family) % len(having)]]
            if self._stretch.family < len(having)
            else []
        )

    async def _run(
        self, runner: TrialRunner, cases: Sequence[Case], pairs: Callable[[Case], list[tuple[str, str]]]
    ) -> list[list[Attempt]]:
        """The attempts of each case."""
        trials = [[self._trial(case, pair) for pair in pairs(case)] for case in cases]
        done = await self._attempts(runner, [trial for row in trials for trial in row])
        return [[done[trial] for trial in row if trial in done] for row in trials]

    def _trial(self, case: Case, path: Iterable[str]) -> Trial:
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

    def _starting(self, case: Case, attempts: Sequence[Attempt]) -> Case:
        """The case with the builds that start it, all where no attempt was needed; what the others said is learned."""
        starts = [] if attempts else [*case.builds]
        refused: dict[str, str] = {}
        for attempt in attempts:
            build, result = attempt.trial.path[0].build, attempt.result
            if result.verdict is Verdict.UNSUPPORTED:
                refused[build] = result.cause.message if result.cause else result.reason
                self.refusals.learn(case.candidate, case.machine, build, refused[build])
            else:
                starts.append(build)
        self.coverage.tried(case.candidate, starts=bool(starts), said=refused)
        if len(starts) < len(case.builds):
            self._halves += halves(case.candidate)
        return Case(case.candidate, case.machine, case.arguments, tuple(starts))


def _stream(runner: TrialRunner, attempts: Sequence[Attempt]) -> bytes:
    """What the last of some attempts saved; empty where it saved nothing."""
    legs = attempts[-1].result.legs if attempts else ()
    return (runner.stream(legs[0]) if legs else None) or b""


def _printed(runner: TrialRunner, attempts: Iterable[Attempt]) -> str:
    """What emulators said that did not start."""
    refused = (
        a.result.legs[-1] for a in attempts if a.result.verdict is Verdict.UNSUPPORTED and a.result.legs
    )
    found = (evidence for key in refused if (evidence := runner.evidence(key)))
    return "\n".join(emulator.stderr for evidence in found for emulator in evidence.emulators)

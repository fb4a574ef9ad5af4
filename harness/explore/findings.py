# SPDX-License-Identifier: Apache-2.0
"""What failed in a search, as one finding per problem.

1. Failures of one `judge.family` are one problem, those of each `Problem` apart: a failure is a build's own defect when
   that build shows it with itself. Where a family does not tell the place, as a crash without an assertion, failures of
   other roots (`roots`) are other problems.
2. A problem that is met for the first time is repeated, and no leg of the first time counts for that. One that does not
   come again is not `steady`. What the end of the search, or the host, kept from being repeated is not `repeated`.
3. It is reduced by `explain.reduce` to the smallest command line, and that goes between all builds, so that a finding
   says which pairs fail and which pass. It starts on every build that started what showed it.
4. A refusal to migrate is a finding that nobody has to mend: an emulator that says that it cannot migrate keeps its word.
   It breaks its word when ``-only-migratable`` says another thing (`migratable`).
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from itertools import product
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.explain.reduce import reduce, same_failure
from migmatrix.harness.explore.migratable import told, untrue, with_option, without_option
from migmatrix.harness.explore.roots import holds, root_of
from migmatrix.harness.explore.space import by_age
from migmatrix.harness.judge import family, tells_place
from migmatrix.harness.model import Verdict
from migmatrix.harness.run.opening import silent
from migmatrix.harness.trials.records import Step
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.records import Candidate, Case
    from migmatrix.harness.explore.spoilers import Failure
    from migmatrix.harness.model import CellResult, LegEvidence
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.records import Attempt, Trial

__all__ = ["Collector", "Finding", "Problem", "failures_of"]


class Problem(StrEnum):
    """What sort of problem a finding is."""

    BREAK = "break"  # between builds
    DEFECT = "defect"  # of one build: it does not save, or does not load what it saved
    UNMIGRATABLE = "unmigratable"  # it refuses to migrate, and says so
    ONLY_MIGRATABLE = "only-migratable"  # the option says another thing than the migration

    @property
    def fails(self) -> bool:
        """Whether a migration fails that should not."""
        return self in (Problem.BREAK, Problem.DEFECT)


@dataclass(slots=True)
class Finding:
    """One problem. `pairs` has the verdict of each pair of builds with the smallest command line, ``A>B``.

    `candidate` is what showed it first; `seen` counts the candidates that did. `arguments` are whole, those of the
    search included. `steady` says whether it came again; only then it is reduced. It is not `repeated` when that could
    not be tried. `root` is what `roots.root_of` says.
    """

    key: str
    kind: Problem
    own: bool
    signature: str
    message: str
    stage: str
    machine: str
    path: tuple[str, ...]
    arguments: tuple[str, ...]
    candidate: str
    mode: str
    guest: str
    steady: bool
    repeated: bool = True
    pairs: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, int] = field(default_factory=dict)
    seen: int = 1
    known: str = ""
    profile: str = ""
    root: str = ""

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        return asdict(self)


@dataclass
class Collector:
    """The findings of a search so far, in the order in which they were met."""

    builds: Mapping[str, PreparedBuild]
    where: Opened
    log: Callable[[str], None]
    on_leg: Callable[[LegEvidence, bool], None] = silent
    legs: int = 0  # that were needed to repeat and to reduce
    common: tuple[str, ...] = ()  # arguments of every command line
    findings: dict[tuple[str, Problem, str], Finding] = field(default_factory=dict)
    blocked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def take(self, candidate: Candidate, attempts: Sequence[Attempt]) -> None:
        """Sort what came of a candidate; a new problem is repeated and reduced."""
        met: dict[tuple[str, Problem], list[Attempt]] = defaultdict(list)
        for attempt in attempts:
            if problem := _problem(attempt, attempts):
                met[_family(attempt.result), problem].append(attempt)
        for (key, problem), alike in met.items():
            await self._count(candidate, key, problem, alike, _started(attempts))
        for attempt in attempts:
            if attempt.result.verdict is Verdict.BLOCKED and attempt.result.cause:
                self.blocked[attempt.result.cause.message].add(candidate.text)

    def take_known(self, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Count what a candidate shows as its device does plain, between some of the builds only; return the others."""
        failing = [a for a in attempts if a.result.verdict is Verdict.FAIL]
        for key in {_family(attempt.result) for attempt in failing}:
            alike = [attempt for attempt in failing if _family(attempt.result) == key]
            met = (self._met(key, problem, alike[0]) for problem in (Problem.BREAK, Problem.DEFECT))
            if finding := next(filter(None, met), None):
                finding.seen += 1
                _add(finding, alike)
        return [attempt for attempt in attempts if attempt not in failing]

    async def take_untrue(self, case: Case, plain: Attempt, asked: Attempt) -> None:
        """Keep that ``-only-migratable`` says another thing than the migration; `case` has the builds that start it."""
        key, message = _family(asked.result), told(plain, asked)
        await self._count(case.candidate, key, Problem.ONLY_MIGRATABLE, [asked], case.builds, message)

    async def _count(
        self,
        candidate: Candidate,
        key: str,
        problem: Problem,
        alike: Sequence[Attempt],
        started: Sequence[str],
        message: str = "",
    ) -> None:
        finding = self._met(key, problem, alike[0])
        if finding is None:
            # kept before it is repeated, for who interrupts that
            first = self._keep(
                _finding(candidate, key, problem, alike[0], steady=False, repeated=False), alike[0]
            )
            finding = await self._new(candidate, key, problem, alike[0], started)
            del self.findings[first]
            finding.message = message or finding.message
            finding = self.findings[self._keep(finding, alike[0])]
        else:
            finding.seen += 1
        _add(finding, alike)

    def _met(self, key: str, problem: Problem, attempt: Attempt) -> Finding | None:
        """The finding that a failure is one more of (rule 1)."""
        if _tells_place(attempt.result):
            return self.findings.get((key, problem, ""))
        root = root_of(attempt.trial.arguments, self.common, attempt.trial.machine)
        alike = (f for (k, p, _), f in self.findings.items() if (k, p) == (key, problem))
        return next((finding for finding in alike if holds(finding.root, root)), None)

    def _keep(self, finding: Finding, attempt: Attempt) -> tuple[str, Problem, str]:
        """Its place among the findings; where one of its root is there, that has been seen once more."""
        finding.root = root_of(finding.arguments, self.common, finding.machine)
        family, root = finding.key, "" if _tells_place(attempt.result) else finding.root
        finding.key = f"{family}: {root}" if root else family
        place = family, finding.kind, root
        if place in self.findings:
            self.findings[place].seen += 1
        else:
            self.findings[place] = finding
        return place

    async def _new(
        self, candidate: Candidate, key: str, problem: Problem, attempt: Attempt, started: Sequence[str]
    ) -> Finding:
        self.log(f"found: {key}: {candidate.text} on {attempt.trial.machine} {attempt.trial.route}")
        runner = TrialRunner(self.builds, self.where.repeating(), silent, on_leg=self.on_leg)
        try:
            smallest = await _smallest(runner, problem, attempt, started)
            if smallest is None:
                return _finding(candidate, key, problem, attempt, steady=False)
            finding = _finding(candidate, key, problem, smallest, steady=True)
            finding.pairs = await self._pairs(runner, smallest.trial, problem)
        except InfrastructureError as err:
            self.log(f"not repeated: {err}")
            return _finding(candidate, key, problem, attempt, steady=False, repeated=False)
        finally:
            self.legs += runner.legs
        return finding

    async def _pairs(self, runner: TrialRunner, trial: Trial, problem: Problem) -> dict[str, str]:
        """Rule 3; of builds that know the machine. What no second build is needed for is a matter of each alone."""
        known = [b.id for b in by_age(self.builds) if b.facts.knows_machine(trial.machine)]
        pairs = product(known, repeat=2) if problem.fails else zip(known, known, strict=True)
        trials = [replace(trial, path=(Step(a), Step(b))) for a, b in pairs]
        done = await runner.run("all pairs", trials)
        return {attempt.trial.route: _verdict(attempt.result) for attempt in done}


async def _smallest(
    runner: TrialRunner, problem: Problem, attempt: Attempt, started: Sequence[str]
) -> Attempt | None:
    """The problem as small as it gets on builds that `started` it; None when it does not come again."""
    again = await runner.one("again", attempt.trial)
    if not same_failure(again, attempt):
        return None
    if problem is not Problem.ONLY_MIGRATABLE:
        return (await reduce(runner, again, started)).attempt
    # what is refused is small with the option, and what is blocked without it: nothing needs the option to be blocked
    blocked = again.result.verdict is Verdict.BLOCKED
    first = await runner.one("again", without_option(again.trial)) if blocked else again
    bare = without_option((await reduce(runner, first, started if blocked else ())).trial)
    plain, asked = await runner.run("again", [bare, with_option(bare)])
    return asked if untrue(plain, asked) else None


def _finding(
    candidate: Candidate,
    key: str,
    problem: Problem,
    attempt: Attempt,
    *,
    steady: bool,
    repeated: bool = True,
) -> Finding:
    trial, result = attempt.trial, attempt.result
    return Finding(
        key=key,
        kind=problem,
        own=problem is not Problem.BREAK,
        signature=result.signature or "",
        message=result.cause.message if result.cause else result.reason,
        stage=str(result.stage or ""),
        machine=trial.machine,
        path=tuple(step.build for step in trial.path),
        arguments=trial.arguments,
        candidate=candidate.text,
        mode=trial.mode.name,
        guest=trial.guest.name,
        steady=steady,
        repeated=repeated,
    )


def _started(attempts: Sequence[Attempt]) -> list[str]:
    """The builds that start and load a candidate, or save it, by themselves."""
    return [
        attempt.trial.path[0].build
        for attempt in attempts
        if len({step.build for step in attempt.trial.path}) == 1
        and attempt.result.verdict not in (Verdict.UNSUPPORTED, Verdict.ERROR)
    ]


def _verdict(result: CellResult) -> str:
    """The verdict, of a failure with its signature."""
    return f"{result.verdict.value} {result.signature or ''}".strip()


def _family(result: CellResult) -> str:
    """By what failures are one problem: the signature without what differs from one to the next."""
    return family(result.cause) if result.cause else (result.signature or result.reason)


def _add(finding: Finding, alike: Iterable[Attempt]) -> None:
    """Count the signatures of what a finding was seen by."""
    for attempt in alike:
        signature = attempt.result.signature or ""
        finding.signatures[signature] = finding.signatures.get(signature, 0) + 1


def _tells_place(result: CellResult) -> bool:
    return result.cause is None or result.verdict is not Verdict.FAIL or tells_place(result.cause)


def failures_of(attempts: Sequence[Attempt]) -> set[Failure]:
    """What failed, and between which builds."""
    return {(a.trial.route, _family(a.result)) for a in attempts if a.result.verdict is Verdict.FAIL}


def _problem(attempt: Attempt, attempts: Sequence[Attempt]) -> Problem | None:
    """What an attempt shows; None when nothing is wrong with it."""
    if attempt.result.verdict is Verdict.BLOCKED:
        return Problem.UNMIGRATABLE
    if attempt.result.verdict is not Verdict.FAIL:
        return None
    return Problem.DEFECT if _is_own(attempt, attempts) else Problem.BREAK


def _is_own(attempt: Attempt, attempts: Sequence[Attempt]) -> bool:
    """Whether one of the two builds shows the same with itself (rule 1)."""
    alone = {
        other.trial.path[0].build
        for other in attempts
        if other.result.verdict is Verdict.FAIL
        and len({step.build for step in other.trial.path}) == 1
        and other.trial.machine == attempt.trial.machine
        and _family(other.result) == _family(attempt.result)
    }
    return any(step.build in alone for step in attempt.trial.path)

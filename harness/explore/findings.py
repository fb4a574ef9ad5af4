# SPDX-License-Identifier: Apache-2.0
"""What failed in a search, as one finding per problem.

1. Failures of one `judge.family` are one problem, a build's own apart from those between builds: a failure is a build's
   own when that build shows it with itself.
2. A problem that is met for the first time is repeated with nothing stored. One that does not come again is `unsteady`.
3. It is reduced by `explain.reduce` to the smallest command line, and that goes between all builds, so that a finding
   says which pairs fail and which pass.
4. A refusal to migrate is no failure; what is refused is kept beside, with the words.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.explain.reduce import reduce, same_failure
from migmatrix.harness.explore.space import by_age
from migmatrix.harness.judge import family
from migmatrix.harness.model import Verdict
from migmatrix.harness.run.opening import silent
from migmatrix.harness.trials.records import Step
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.records import Attempt, Trial

__all__ = ["Collector", "Finding"]


@dataclass(slots=True)
class Finding:
    """One problem. `pairs` has the verdict of each pair of builds with the smallest command line, ``A>B``.

    `candidate` is what showed it first; `seen` counts the candidates that did. `arguments` are whole, those of the
    search included. `steady` says whether it came again; only then it is reduced.
    """

    key: str
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
    pairs: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, int] = field(default_factory=dict)
    seen: int = 1
    known: str = ""
    profile: str = ""

    def to_json(self) -> dict[str, Any]:
        """The published form."""
        return asdict(self)


@dataclass
class Collector:
    """The findings of a search so far, in the order in which they were met."""

    builds: Mapping[str, PreparedBuild]
    where: Opened
    log: Callable[[str], None]
    findings: dict[tuple[str, bool], Finding] = field(default_factory=dict)
    blocked: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    async def take(self, candidate: Candidate, attempts: Sequence[Attempt]) -> None:
        """Sort what came of a candidate; a new problem is repeated and reduced."""
        failing = [a for a in attempts if a.result.verdict is Verdict.FAIL]
        met: dict[tuple[str, bool], list[Attempt]] = defaultdict(list)
        for attempt in failing:
            met[_family(attempt.result), _is_own(attempt, failing)].append(attempt)
        for (key, own), alike in met.items():
            finding = self.findings.get((key, own))
            if finding is None:
                finding = self.findings[key, own] = await self._new(candidate, key, own, alike[0])
            else:
                finding.seen += 1
            for attempt in alike:
                signature = attempt.result.signature or ""
                finding.signatures[signature] = finding.signatures.get(signature, 0) + 1
        for attempt in attempts:
            if attempt.result.verdict is Verdict.BLOCKED and attempt.result.cause:
                self.blocked[attempt.result.cause.message].add(candidate.text)

    async def _new(self, candidate: Candidate, key: str, own: bool, attempt: Attempt) -> Finding:
        self.log(f"found: {key}: {candidate.text} on {attempt.trial.machine} {attempt.trial.route}")
        with self.where.with_empty_store() as fresh:
            runner = TrialRunner(self.builds, fresh, silent)
            try:
                again = await runner.one("again", attempt.trial)
                if not same_failure(again, attempt):
                    return _finding(candidate, key, own, attempt, steady=False)
                smallest = (await reduce(runner, again)).attempt
                finding = _finding(candidate, key, own, smallest, steady=True)
                finding.pairs = await self._pairs(runner, smallest.trial)
            except InfrastructureError as err:
                self.log(f"not reduced: {err}")
                return _finding(candidate, key, own, attempt, steady=False)
        return finding

    async def _pairs(self, runner: TrialRunner, trial: Trial) -> dict[str, str]:
        """Rule 3; of builds that know the machine."""
        known = [b.id for b in by_age(self.builds) if b.facts.knows_machine(trial.machine)]
        trials = [replace(trial, path=(Step(a), Step(b))) for a, b in product(known, repeat=2)]
        done = await runner.run("all pairs", trials)
        return {attempt.trial.route: _verdict(attempt.result) for attempt in done}


def _finding(candidate: Candidate, key: str, own: bool, attempt: Attempt, *, steady: bool) -> Finding:
    trial, result = attempt.trial, attempt.result
    return Finding(
        key=key,
        own=own,
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
    )


def _verdict(result: CellResult) -> str:
    """The verdict, of a failure with its signature."""
    return f"{result.verdict.value} {result.signature or ''}".strip()


def _family(result: CellResult) -> str:
    return family(result.cause) if result.cause else (result.signature or result.reason)


def _is_own(attempt: Attempt, failing: Sequence[Attempt]) -> bool:
    """Whether one of the two builds shows the same with itself (rule 1)."""
    steps = attempt.trial.path
    alone = {
        other.trial.path[0].build
        for other in failing
        if len({step.build for step in other.trial.path}) == 1
        and other.trial.machine == attempt.trial.machine
        and _family(other.result) == _family(attempt.result)
    }
    return any(step.build in alone for step in steps)

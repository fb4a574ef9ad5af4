# SPDX-License-Identifier: Apache-2.0
"""A search's answer, for people and as JSON: culprit or range, side, confidence, cost, evidence, how to resume."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.bisect.points import stretches
from migmatrix.harness.bisect.records import Kind, Shown
from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from migmatrix.harness.bisect.records import Finding, Run

__all__ = ["Answer", "exit_code", "published", "render", "sides"]

# Does the verdict change along (one, other) with the rest at its later end, and then at its earlier end?
_SIDES = (
    ((True, False, True, False), "the {one} alone turned the verdict"),
    ((False, True, False, True), "the {other} alone turned the verdict"),
    ((True, True, False, False), "it takes the change on the {one} and the one on the {other}"),
    ((False, False, True, True), "either change is enough, on the {one} or on the {other}"),
)
_NAMED = 6  # points of a range that are named one by one


@dataclass(frozen=True, slots=True)
class Answer:
    """A finding with names: `points` are the titles of all points, `cell` what was run, `side` the open step."""

    points: tuple[str, ...]
    cell: str
    side: str
    finding: Finding
    runs: tuple[Run, ...]
    journal: Path
    command: str

    @property
    def changed(self) -> bool:
        """Whether the verdict changes along the points."""
        return self.finding.kind in (Kind.FOUND, Kind.RANGE)

    @property
    def found(self) -> bool:
        """Whether one point is named."""
        return self.finding.kind is Kind.FOUND

    def to_json(self) -> dict[str, Any]:
        """The published form: names instead of numbers."""
        finding = self.finding
        return {
            **asdict(finding),
            "kind": finding.kind.value,
            "culprits": [self.points[i] for i in finding.culprits],
            "parent": None if finding.parent is None else self.points[finding.parent],
            "skipped": [self.points[i] for i in finding.skipped],
            "confidence": round(finding.confidence, 6),
            "cell": self.cell,
            "side": self.side,
            "points": list(self.points),
            "evidence": [{**run.to_json(), "point": self.points[run.point]} for run in self.runs],
            "journal": str(self.journal),
            "resume": self.command,
            "text": list(render(self)),
        }


def exit_code(answers: Sequence[Answer]) -> ExitCode:
    """0 when a point was found, 1 when there is a range only, or nothing."""
    return ExitCode.OK if any(answer.found for answer in answers) else ExitCode.REGRESSIONS


def published(answers: Sequence[Answer]) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {"sides": sides(answers), "answers": [answer.to_json() for answer in answers]}


def sides(answers: Sequence[Answer]) -> str:
    """Which side's change turned the verdict, of the four searches that a path with two ranges asks for; else empty.

    Their order is that of `lines_of`: each side with the other one at its later end, then at its earlier end.
    """
    if len(answers) != len(_SIDES[0][0]):
        return ""
    changed = tuple(answer.changed for answer in answers)
    one, other = answers[0].side, answers[1].side
    words = next((words for pattern, words in _SIDES if pattern == changed), "see each search")
    return words.format(one=one, other=other)


def render(answer: Answer) -> Iterator[str]:
    """The answer in lines of text."""
    finding = answer.finding
    yield f"{answer.cell}, {answer.side}: {_headline(answer)}"
    if finding.signature:
        yield f"  failure     {finding.signature}"
    if answer.changed:
        yield f"  confidence  {_percent(finding.confidence)}, {finding.text}"
        if finding.flaky:
            yield f"  rates       {finding.failing:.0%} of runs fail on one side, {finding.false_failures:.1%} on the other"
        yield f"  runs        {_cost(finding)}"
    for line in _untestable(answer):
        yield f"  untestable  {line}"
    yield from (f"  evidence    {line}" for line in _evidence(answer))
    yield f"  journal     {answer.journal}"
    yield f"  resume      {answer.command}"


def _percent(value: float) -> str:
    return f"{min(value, 0.9999):.2%}"  # no number of runs makes certain


def _headline(answer: Answer) -> str:
    finding, names = answer.finding, answer.points
    what = "breaks" if finding.broke else "repairs"
    match finding.kind:
        case Kind.FOUND:
            return f"{names[finding.culprits[0]]} {what} it"
        case Kind.RANGE:
            listed = _listed([names[i] for i in finding.culprits])
            return f"one of {len(finding.culprits)} {what} it: {listed}"
        case Kind.NO_CHANGE:
            return finding.text
        case Kind.END_UNTESTABLE:
            return f"the end {names[finding.culprits[0]]} {finding.text}"


def _listed(names: Sequence[str]) -> str:
    if len(names) <= _NAMED:
        return ", ".join(names)
    return f"{names[0]} .. {names[-1]}"


def _cost(finding: Finding) -> str:
    searched = f"{finding.search_runs} to search"
    least = f"theory asks for at least {finding.minimum}" if finding.minimum else "no fewer could do"
    return f"{finding.runs}, {searched} ({least}), the others at the ends and to confirm"


def _untestable(answer: Answer) -> Iterator[str]:
    """Stretches of points that cannot be tested, with the last reason seen in each."""
    names = answer.points
    for stretch in stretches(answer.finding.skipped):
        reasons = [r.signature or r.reason for r in answer.runs if r.point in stretch]
        where = names[stretch[0]] if len(stretch) == 1 else f"{names[stretch[0]]} .. {names[stretch[-1]]}"
        yield f"{where}: {reasons[-1]}"


def _evidence(answer: Answer) -> Iterator[str]:
    """How the culprits and their parent fared."""
    finding = answer.finding
    shown = [*finding.culprits[:1], *finding.culprits[-1:]]
    for point in sorted({*shown, *([] if finding.parent is None else [finding.parent])}):
        runs = [run for run in answer.runs if run.point == point]
        counts = Counter(run.signature or run.shown.value for run in runs)
        said = next((run.reason for run in runs if run.shown is not Shown.PASS), "")
        yield (
            f"{answer.points[point]}: "
            + ", ".join(f"{n} x {what}" for what, n in counts.items())
            + (f" ({said})" if said else "")
        )

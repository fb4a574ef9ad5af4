# SPDX-License-Identifier: Apache-2.0
"""What results say at all: what was tested, what was not and why, and whether that is what the policy demands.

1. A cell was tested when its guest set out: `pass` and `fail`. `unsupported`, `blocked` and `error` say nothing about
   a migration.
2. Results answer something when a cell passed and, where paths between two different builds were asked for, a cell of
   such a path was tested.
3. A demand of the policy counts passes only: a known issue, a refusal and a cell that was not run do not meet it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import CellResult, Outcome, Verdict
from migmatrix.harness.select import Selection

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["Demand", "Untested", "between_builds", "silence", "untested"]

_TESTED = (Verdict.PASS, Verdict.FAIL)


@dataclass(frozen=True, slots=True)
class Demand:
    """Cells of which at least `percent` must pass: those for which all terms ``key=pattern`` hold."""

    terms: tuple[str, ...]
    percent: int = 100

    @property
    def text(self) -> str:
        """As the policy has it: ``profile=virtio*, path=A>*``."""
        return ", ".join(self.terms)

    def to_json(self) -> dict[str, Any]:
        """The form that a run keeps."""
        return {"select": list(self.terms), "percent": self.percent}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Demand:
        """Inverse of `to_json`."""
        return cls(tuple(data["select"]), data["percent"])

    def unmet(self, results: Sequence[CellResult], *, part: bool) -> str:
        """Why it is not met, or empty; of a `part` of a run no cell of the demand need be there."""
        selection = Selection.parse(self.terms)
        asked = [result for result in results if selection.selects(result.cell)]
        passed = sum(result.verdict is Verdict.PASS for result in asked)
        if not asked:
            return "" if part else f"must pass: {self.text}: no such cell was planned"
        if passed * 100 >= self.percent * len(asked):
            return ""
        wanted = "all" if self.percent == 100 else f"{self.percent} %"  # noqa: PLR2004 - per cent
        return f"must pass: {self.text}: {passed:,} of {len(asked):,} cells passed, {wanted} must"


@dataclass(frozen=True, slots=True)
class Untested:
    """Cells that were not tested for one reason; names are sorted, `example` is one of the cells."""

    verdict: Verdict
    reason: str
    cells: int
    machines: tuple[str, ...]
    profiles: tuple[str, ...]
    example: str


def untested(results: Iterable[CellResult]) -> list[Untested]:
    """What was not tested and is not counted as a problem, by reason, most cells first."""
    members: dict[tuple[str, str], list[CellResult]] = {}
    for result in results:
        skipped = result.verdict is Verdict.BLOCKED and result.outcome is Outcome.OK
        if skipped or result.outcome is Outcome.SKIPPED:
            what = result.signature if skipped and result.signature else _reason(result)
            members.setdefault((result.verdict, what), []).append(result)
    return sorted(map(_untested, members.values()), key=lambda u: (-u.cells, u.verdict, u.reason))


def _untested(cells: Sequence[CellResult]) -> Untested:
    first = min(cells, key=lambda result: (len(result.cell.path), result.cell))
    return Untested(
        verdict=first.verdict,
        reason=_reason(first),
        cells=len(cells),
        machines=tuple(sorted({result.cell.machine for result in cells})),
        profiles=tuple(sorted({result.cell.profile for result in cells})),
        example=first.cell.id,
    )


def _reason(result: CellResult) -> str:
    said = result.cause.message if result.cause else ""
    return result.reason or said or "no reason is known"


def between_builds(results: Iterable[CellResult]) -> list[CellResult]:
    """The results of paths that lead from one build to another."""
    return [result for result in results if len(set(result.cell.path)) > 1]


def silence(results: Sequence[CellResult]) -> str:
    """Why the results answer nothing (rule 2), or empty."""
    if not results:
        return "there was no cell to run"
    crossing = between_builds(results)
    if not _any_tested(results):
        return f"nothing migrated: {_counts(results)}"
    if not any(result.verdict is Verdict.PASS for result in results):
        return f"nothing passed: {_counts(results)}"
    if crossing and not _any_tested(crossing):
        return f"no cell between two different builds ran: {_counts(crossing)}"
    return ""


def _any_tested(results: Iterable[CellResult]) -> bool:
    return any(result.verdict in _TESTED for result in results)


def _counts(results: Sequence[CellResult]) -> str:
    """``36 of 36 cells blocked``, ``2 of 3 cells blocked, 1 unsupported``."""
    counts = Counter(result.verdict for result in results)
    (first, number), *others = counts.most_common()
    noun = "cell" if len(results) == 1 else "cells"
    rest = "".join(f", {count:,} {verdict}" for verdict, count in others)
    return f"{number:,} of {len(results):,} {noun} {first}{rest}"

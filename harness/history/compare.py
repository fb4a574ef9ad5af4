# SPDX-License-Identifier: Apache-2.0
"""What is otherwise on one side than on an older one, by problem: `compare`.

1. A cell is *new* when it is red and was not, or when what was known no longer is; *still* when it failed and fails with the same
   signature; *changed* with another one; *fixed* when it failed and passes; *gone* when it failed and has no verdict now.
2. Cells of one kind are put together as reports do (`report.problems`); problems of one kind are in the order of their
   names, so that equal comparisons are equal texts.
3. A flaky cell is never new; it is listed as flaky. What had a verdict and has none is counted, whatever it was.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from migmatrix.harness.history.changes import Change, changes_between
from migmatrix.harness.history.states import RED
from migmatrix.harness.history.surge import Surge, find_surge
from migmatrix.harness.model import CellResult, Outcome
from migmatrix.harness.report.problems import Group, group

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from migmatrix.harness.history.side import Side

__all__ = ["Comparison", "Kind", "Problem", "compare"]

_BROKEN = (*RED, Outcome.KNOWN)
_SILENT = (Outcome.INCOMPLETE, Outcome.SKIPPED)


class Kind(StrEnum):
    """What became of cells, worst first."""

    NEW = "new"
    CHANGED = "changed signature"
    FLAKY = "flaky"
    STILL = "still"
    FIXED = "fixed"
    GONE = "gone"


@dataclass(frozen=True)
class Problem:
    """One problem of one kind: its cells as a report groups them, their ids in order, and how it was before.

    `group` is of the newer side, of *fixed* and *gone* of the older. `before` are the signatures that *changed* cells had;
    `earlier` counts the cells of the older side that have a signature of this problem.
    """

    group: Group
    cells: tuple[str, ...]
    before: tuple[str, ...] = ()
    earlier: int = 0


@dataclass(frozen=True)
class Comparison:
    """`problems` by kind, `silenced` the ids of cells that had a verdict and have none, `changes` of builds and host."""

    old: str
    new: str
    cells: tuple[int, int]  # of the older and the newer side
    problems: Mapping[Kind, Sequence[Problem]]
    silenced: tuple[str, ...]
    changes: tuple[Change, ...]
    surge: Surge | None

    @property
    def worse(self) -> bool:
        """Whether something is newly broken."""
        return bool(self.problems[Kind.NEW])


def compare(old: Side, new: Side) -> Comparison:
    """Compare two sides."""
    members: dict[Kind, list[CellResult]] = {kind: [] for kind in Kind}
    silenced = []
    for id_ in sorted({*old.results, *new.results}):
        before, after = old.results.get(id_), new.results.get(id_)
        kind = _kind(before, after)
        if kind is not None:
            shown = before if kind in (Kind.FIXED, Kind.GONE) else after
            members[kind].append(shown or _either(before, after))
        if before is not None and before.outcome not in _SILENT and not _answers(after):
            silenced.append(id_)
    had = Counter(r.signature for r in old.results.values() if r.outcome in _BROKEN)
    changes = changes_between(old.night, new.night) if old.night and new.night else []
    return Comparison(
        old.name,
        new.name,
        (len(old.results), len(new.results)),
        {kind: _problems(kind, found, old, new, had) for kind, found in members.items()},
        tuple(silenced),
        tuple(changes),
        find_surge([result.cell for result in members[Kind.NEW]], _answered(new), changes),
    )


def _either(before: CellResult | None, after: CellResult | None) -> CellResult:
    found = after or before
    if found is None:
        raise AssertionError("a cell of neither side")
    return found


def _answers(result: CellResult | None) -> bool:
    return result is not None and result.outcome not in _SILENT


def _answered(side: Side) -> list[CellResult]:
    return [result for result in side.results.values() if _answers(result)]


def _kind(before: CellResult | None, after: CellResult | None) -> Kind | None:
    """By rules 1 and 3; None for a cell that is as good as before."""
    if after is not None and after.outcome is Outcome.FLAKY:
        return Kind.FLAKY
    broken = before is not None and before.outcome in _BROKEN
    if after is None or after.outcome in _SILENT:
        return Kind.GONE if broken else None
    if after.outcome not in _BROKEN:
        return Kind.FIXED if broken else None
    if before is None or not broken:
        return Kind.NEW if after.outcome in RED else Kind.STILL
    if before.signature != after.signature:
        return Kind.CHANGED
    return Kind.NEW if after.outcome in RED and before.outcome is Outcome.KNOWN else Kind.STILL


def _problems(
    kind: Kind, results: Iterable[CellResult], old: Side, new: Side, had: Mapping[str | None, int]
) -> list[Problem]:
    """The problems of one kind; `had` counts the broken cells of the older side by signature."""
    among = (old if kind in (Kind.FIXED, Kind.GONE) else new).results
    results = list(results)
    found = []
    for one in group(results, among=among.values()):
        signatures = {variant.signature for variant in one.variants}
        cells = tuple(sorted(result.cell.id for result in one.results))
        told = {old.results[id_].signature or "" for id_ in cells if id_ in old.results}
        before = tuple(sorted(told)) if kind is Kind.CHANGED else ()
        earlier = sum(had.get(signature, 0) for signature in signatures)
        found.append(Problem(one, cells, before, earlier))
    return sorted(found, key=lambda problem: (problem.group.own, problem.group.key, problem.cells))

# SPDX-License-Identifier: Apache-2.0
"""The problems of a night with their past: when each began, and what changed then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.history.changes import Change, shared_changes
from migmatrix.harness.history.states import RED, Break, break_of
from migmatrix.harness.model import Outcome
from migmatrix.harness.report.problems import Group, group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from migmatrix.harness.history.records import KnownIssueNote, Night

__all__ = ["Standing", "standings"]


@dataclass(frozen=True)
class Standing:
    """One problem of a night: `first_bad` is the first night on which any of its cells was red in a row that lasts.

    `last_good` is the last good night before that, None when it was never good; `changes` are between these two and shared
    by all cells that were good. `first_seen` is the first night of its signature at all, `issue` the known issue that
    covers it; `red` says that at least one of its cells is not covered.
    """

    group: Group
    cells: tuple[str, ...]
    red: bool
    first_seen: Night | None
    first_bad: Night
    last_good: Night | None
    changes: tuple[Change, ...]
    issue: KnownIssueNote | None


def standings(nights: Sequence[Night], at: int, first_seen: Mapping[str, Night]) -> list[Standing]:
    """The problems of the night `at`: those with red cells first, then as reports order them."""
    night = nights[at]
    every = night.results()
    broken = [result for result in every if result.outcome in (*RED, Outcome.KNOWN)]
    groups = group(broken, among=every, matrix_file=night.matrix_file)
    found = [_standing(nights, at, one, first_seen) for one in groups]
    return sorted(found, key=lambda standing: not standing.red)


def _standing(nights: Sequence[Night], at: int, one: Group, first_seen: Mapping[str, Night]) -> Standing:
    results = one.results
    breaks = [found for result in results if (found := break_of(nights, result.cell, at))]
    first = min(breaks, key=lambda found: found.first_bad.time)
    return Standing(
        group=one,
        cells=tuple(sorted(result.cell.id for result in results)),
        red=any(result.outcome in RED for result in results),
        first_seen=first_seen.get(one.signature or ""),
        first_bad=first.first_bad,
        last_good=first.last_good,
        changes=tuple(_shared(breaks, first)),
        issue=next(
            (note for r in results for note in nights[at].known_issues if note.id == r.known_issue), None
        ),
    )


def _shared(breaks: Sequence[Break], first: Break) -> list[Change]:
    """What all cells that were good and broke on the same night as the first have in common."""
    return shared_changes(b.changes for b in breaks if b.last_good and b.first_bad is first.first_bad)

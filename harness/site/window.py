# SPDX-License-Identifier: Apache-2.0
"""The last nights of a history as a site shows them: every cell, and what each was on each night, as small integers.

1. Cells stand in the order of a report: machine, profile, path. A cell's place is the same on all nights.
2. What a cell was is a row of `States`, numbered from 1; 0 says that it was not in the matrix of that night.
3. A cell of the matrix that a night has no line of is `NOT_RUN` there: what is missing is seen.
4. Flaky is what the history says is flaky (`harness.history.states`), whatever the run said of that night alone.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.harness.history import State
from migmatrix.harness.history.states import in_matrix
from migmatrix.harness.model import Outcome, Verdict
from migmatrix.harness.report.html_data import OWN_BIT, Table
from migmatrix.harness.report.page import BLOCKED, OWN
from migmatrix.harness.report.problems import natural, own_failures

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.history import History, Night
    from migmatrix.harness.model import Cell

__all__ = ["ABSENT", "NIGHTS", "NOT_RUN", "Row", "Window", "look"]

NIGHTS: Final = 60  # of a site
NOT_RUN: Final = "not run"  # in place of a verdict, and as a status
ABSENT: Final = 0
_RED: Final = (Outcome.REGRESSION, Outcome.WRONG_FAILURE)


class Row(NamedTuple):
    """What a cell was on a night: signature and issue are "" for none, hop is 0; `own` as of `own_failures`."""

    verdict: str
    outcome: str
    hop: int = 0
    signature: str = ""
    issue: str = ""
    own: bool = False
    reused: bool = False

    @property
    def flags(self) -> int:
        """The bits that the page's list knows."""
        return OWN_BIT if self.own else 0

    @property
    def status(self) -> str:
        """What the cell is shown as, by the rule of `report.html`."""
        if self.own and self.outcome in _RED:
            return OWN
        blocked = self.outcome == Outcome.OK and self.verdict == Verdict.BLOCKED
        return BLOCKED if blocked else self.outcome


@dataclass(frozen=True)
class Window:
    """The nights that a site shows, oldest first; `codes[night][cell]` numbers a row of `states` from 1 (rule 2)."""

    history: History
    nights: Sequence[Night]
    cells: Sequence[Cell]
    states: Sequence[Row]
    codes: Sequence[Sequence[int]]

    @property
    def last(self) -> Night:
        """The night that the first screen is about."""
        return self.nights[-1]

    def rows(self, night: int) -> Iterator[tuple[Cell, Row]]:
        """The cells that were in the matrix of a night, an index of `nights`."""
        for cell, code in zip(self.cells, self.codes[night], strict=True):
            if code != ABSENT:
                yield cell, self.states[code - 1]

    def counts(self, night: int) -> Counter[str]:
        """Cells of a night by status."""
        found: Counter[str] = Counter()
        for code, cells in Counter(self.codes[night]).items():
            if code != ABSENT:
                found[self.states[code - 1].status] += cells
        return found


def look(history: History, length: int = NIGHTS) -> Window:
    """The last `length` nights of a history that has one at least."""
    nights = list(history.window(length=length))
    cells = _ordered(history, nights)
    places = {cell.id: place for place, cell in enumerate(cells)}
    table: Table[Row] = Table(base=1)
    flaky = _flaky(history, nights)
    codes = [_codes(night, flaky[night.number], places, table) for night in nights]
    _name_what_is_missing(nights, cells, codes, table[Row(NOT_RUN, NOT_RUN)])
    return Window(history, nights, cells, table.values(), codes)


def _ordered(history: History, nights: Sequence[Night]) -> list[Cell]:
    builds: dict[str, int] = {}
    profiles: dict[str, int] = {}
    for night in reversed(nights):
        for build in night.builds:
            builds.setdefault(build.id, len(builds))
        for profile in night.profiles:
            profiles.setdefault(profile, len(profiles))
    machines = {cell.machine: natural(cell.machine) for cell in history.cells.values()}
    here = {id_ for night in nights for id_ in night.cells.ids}

    def key(cell: Cell) -> tuple[Any, ...]:
        steps = [builds.get(build, len(builds)) for build in cell.path]
        return (machines[cell.machine], profiles.get(cell.profile, len(profiles)), len(steps), steps, cell)

    return sorted((cell for id_, cell in history.cells.items() if id_ in here), key=key)


def _flaky(history: History, nights: Sequence[Night]) -> Mapping[int, set[str]]:
    """The flaky cells of each night, by its number; only a cell with two verdicts can be one."""
    first: dict[str, Verdict] = {}
    moved: set[str] = set()
    for night in history.nights:
        columns = night.cells
        for id_, verdict, outcome in zip(columns.ids, columns.verdicts, columns.outcomes, strict=True):
            if first.setdefault(id_, verdict) is not verdict or outcome is Outcome.FLAKY:
                moved.add(id_)
    start = len(history.nights) - len(nights)
    return {
        night.number: {id_ for id_ in moved if history.state(id_, at) is State.FLAKY}
        for at, night in enumerate(nights, start)
    }


def _codes(night: Night, flaky: set[str], places: Mapping[str, int], table: Table[Row]) -> list[int]:
    codes = [ABSENT] * len(places)
    columns = night.cells
    broken = own_failures(_failed(night))
    known: dict[tuple[Any, ...], int] = {}
    for index, id_ in enumerate(columns.ids):
        own = bool(broken) and columns.cells[index] in broken
        key = (
            columns.verdicts[index], columns.outcomes[index], columns.hop[index], columns.signature[index],
            columns.issues.get(index), columns.reuse[index], own, id_ in flaky,
        )  # fmt: skip
        if key not in known:
            known[key] = table[_row(key, columns.signatures)]
        codes[places[id_]] = known[key]
    return codes


def _failed(night: Night) -> list[Any]:
    return [result for result in night.results() if result.verdict is Verdict.FAIL or result.outcome in _RED]


def _row(key: tuple[Any, ...], signatures: Sequence[str]) -> Row:
    verdict, outcome, hop, signature, issue, reused, own, flaky = key
    return Row(
        verdict.value,
        Outcome.FLAKY.value if flaky else outcome.value,
        hop,
        signatures[signature - 1] if signature else "",
        issue or "",
        own,
        bool(reused),
    )


def _name_what_is_missing(
    nights: Sequence[Night], cells: Sequence[Cell], codes: Sequence[list[int]], missing: int
) -> None:
    """Rule 3, by `in_matrix`; a cell is missed from its first night on."""
    for place, cell in enumerate(cells):
        seen = False
        for night, row in zip(nights, codes, strict=True):
            if row[place] != ABSENT:
                seen = True
            elif seen and in_matrix(cell, night):
                row[place] = missing

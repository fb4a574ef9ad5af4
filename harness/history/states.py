# SPDX-License-Identifier: Apache-2.0
"""Where a cell stands on a night: `State`, flakes, and the break that made it red.

1. An *answer* is a verdict that says something of the cell: not `incomplete`, not `skipped`, not `flaky`.
2. *Flaky*: the same key in the same `Environment` had another verdict on a night not more than `WINDOW` nights before,
   or the leg gave two answers that night (`Outcome.FLAKY`). By definition; nothing is counted but nights. A reused verdict
   has the environment of the night that made it.
3. *New*: red, and the last answer before was not. *Still*: red, as before. *Fixed*: green, and the last answer before was
   red or known. *Known*: a known issue covers it.
4. *Not run*: the night's matrix has its builds and its profile, an earlier night has the cell, this one has no verdict of it;
   *stale* when the last verdict is `STALE` nights old. A cell whose builds or profile left the matrix has no state.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.history.changes import Change, changes_between
from migmatrix.harness.history.records import State
from migmatrix.harness.model import Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.history.records import Environment, KnownIssueNote, Night, NightCell
    from migmatrix.harness.model import Cell

__all__ = [
    "RED",
    "STALE",
    "WINDOW",
    "Break",
    "Flake",
    "break_of",
    "flake_of",
    "in_matrix",
    "state_of",
    "unsteady",
]

WINDOW: Final = 30  # nights of a strip, and how long a flake is told
STALE: Final = 7  # nights
RED: Final = (Outcome.REGRESSION, Outcome.WRONG_FAILURE)
_PAST: Final = 4 * WINDOW  # nights in which the making of a reused verdict is looked for
_BROKEN: Final = (*RED, Outcome.KNOWN)
_GREEN: Final = (Outcome.OK, Outcome.FIXED)


@dataclass(frozen=True, slots=True)
class Flake:
    """A cell that gave two answers: `seen` counts verdicts over the nights of the key that did, first and last of them.

    `issue` is the known issue that carries it, with owner and expiry date; nobody carries it when that is None.
    """

    cell: Cell
    first: Night
    last: Night
    seen: tuple[tuple[str, int], ...]
    tonight: NightCell | None
    issue: KnownIssueNote | None

    @property
    def owner(self) -> str:
        """Who carries it, or nobody."""
        return self.issue.owner if self.issue and self.issue.owner else "nobody"


@dataclass(frozen=True, slots=True)
class Break:
    """The first night of a row of red ones, the last good night before it, and what changed between them.

    `last_good` is None when the cell was never seen good; `unanswered` nights lie between the two.
    """

    first_bad: Night
    last_good: Night | None
    changes: tuple[Change, ...]
    unanswered: int = 0


def in_matrix(cell: Cell, night: Night) -> bool:
    """Whether the night's matrix had the builds and the profile of a cell."""
    profiles = night.profiles
    return all(build in night.built for build in cell.path) and (not profiles or cell.profile in profiles)


def state_of(nights: Sequence[Night], cell: Cell, at: int, *, steady: bool = False) -> State | None:
    """The state of a cell on the night `at`; None when it left the matrix or was not there yet (rule 4).

    A `steady` one is not `unsteady`: it need not be looked at as flaky.
    """
    found = nights[at].cells.get(cell.id)
    if found is None or found.outcome is Outcome.INCOMPLETE:
        return _unanswered(nights, cell, at, there=found is not None)
    if found.outcome is Outcome.SKIPPED:
        return State.SKIPPED
    if not steady and at in _flaky(nights, cell.id, at):
        return State.FLAKY
    if found.outcome is Outcome.KNOWN:
        return State.KNOWN
    before = next((old for _, old in answers(nights, cell.id, at)), None)
    if found.outcome in RED:
        return State.STILL if before and before.outcome in RED else State.NEW
    was_broken = before is not None and before.outcome in _BROKEN
    return State.FIXED if was_broken or found.outcome is Outcome.FIXED else State.OK


def _unanswered(nights: Sequence[Night], cell: Cell, at: int, *, there: bool) -> State | None:
    if not (there or in_matrix(cell, nights[at])):
        return None
    ages = (at - index for index in range(at - 1, -1, -1) if _judged(nights[index].cells.get(cell.id)))
    age = next(ages, None)
    if age is None:
        return State.NOT_RUN if there else None
    return State.STALE if age >= STALE else State.NOT_RUN


def _judged(found: NightCell | None) -> bool:
    return found is not None and found.outcome is not Outcome.INCOMPLETE


def answers(nights: Sequence[Night], id_: str, before: int) -> Iterator[tuple[int, NightCell]]:
    """The answers of a cell on the nights before one, the latest first."""
    for index in range(before - 1, -1, -1):
        found = nights[index].cells.get(id_)
        if found is not None and found.outcome in (*_BROKEN, *_GREEN):
            yield index, found


def _flaky(nights: Sequence[Night], id_: str, at: int) -> list[int]:
    """The nights of the window that ends with `at` on which a cell was flaky (rule 2), in order."""
    last: dict[tuple[str, Environment], dict[Verdict | None, int]] = {}
    found = []
    for index, cell, where in _looks(nights, id_, at):
        verdict = None if _two_answers(cell) else cell.verdict
        before = last.setdefault((cell.key, where), {}) if cell.key else {}
        others = (night for said, night in before.items() if said is not verdict)
        if verdict is None or any(night >= index - WINDOW for night in others):
            found.append(index)
        before[verdict] = index
    return [index for index in found if index >= at - WINDOW]


def _looks(nights: Sequence[Night], id_: str, at: int) -> Iterator[tuple[int, NightCell, Environment]]:
    """A cell on the nights up to `at` on which it said something, with the environment that its verdict was made in.

    That of a reused verdict is the one in which the same legs said so last.
    """
    made: dict[tuple[str, Verdict], Environment] = {}
    for index in range(max(0, at - _PAST), at + 1):
        found = nights[index].cells.get(id_)
        if found is None or (found.verdict is Verdict.ERROR and not _two_answers(found)):
            continue
        here = nights[index].environment
        said = (found.key, found.verdict)
        where = made.get(said, here) if found.reused else here
        made[said] = where
        yield index, found, where


def _two_answers(found: NightCell) -> bool:
    return found.outcome is Outcome.FLAKY


def flake_of(nights: Sequence[Night], cell: Cell, at: int) -> Flake | None:
    """What is known of a cell as flaky in the window that ends with the night `at`; None when it is not."""
    bad = _flaky(nights, cell.id, at)
    if not bad:
        return None
    looks = {i: (found, where) for i, found, where in _looks(nights, cell.id, at) if i >= at - WINDOW}
    keys = {(found.key, where) for i, (found, where) in looks.items() if i in bad}
    same = [found for found, where in looks.values() if (found.key, where) in keys]
    seen = Counter("two answers" if _two_answers(found) else found.verdict.value for found in same)
    issue = next((note for i in reversed(bad) if (note := _issue(nights[i], looks[i][0]))), None)
    tonight = nights[at].cells.get(cell.id)
    return Flake(cell, nights[bad[0]], nights[bad[-1]], tuple(sorted(seen.items())), tonight, issue)


def _issue(night: Night, found: NightCell) -> KnownIssueNote | None:
    return next((note for note in night.known_issues if note.id == found.known_issue), None)


def break_of(nights: Sequence[Night], cell: Cell, at: int) -> Break | None:
    """What made a cell red that is red or known on the night `at`; None for every other."""
    found = nights[at].cells.get(cell.id)
    if found is None or found.outcome not in _BROKEN:
        return None
    first, good = (at, found), None
    for index, old in answers(nights, cell.id, at):
        if old.outcome in _GREEN:
            good = index, old
            break
        first = index, old
    if good is None:
        return Break(nights[first[0]], None, ())
    before, after = nights[good[0]], nights[first[0]]
    changes = changes_between(before, after, cell, ends=(good[1], first[1]))
    return Break(after, before, tuple(changes), first[0] - good[0] - 1)


def unsteady(nights: Sequence[Night], at: int) -> set[str]:
    """Ids of the cells that can be flaky in the window that ends with the night `at`: their verdict changed, or was two."""
    window = nights[max(0, at - 2 * WINDOW) : at + 1]
    found: set[str] = set()
    for night in window:
        cells = night.cells
        found.update(i for i, o in zip(cells.ids, cells.outcomes, strict=True) if o is Outcome.FLAKY)
    last: dict[str, Verdict] = {}
    for night in window:
        cells = night.cells
        if last:
            found.update(i for i, v in zip(cells.ids, cells.verdicts, strict=True) if last.get(i, v) is not v)
        last.update(zip(cells.ids, cells.verdicts, strict=True))
    return found

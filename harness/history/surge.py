# SPDX-License-Identifier: Apache-2.0
"""Many cells newly red at once have one cause more often than many: find what they share.

1. It is a surge when more than `SHARE` of the cells that have a verdict are newly red.
2. They share a part of a cell (build as source or destination, build, machine, profile, mode, guest) when all but a few have
   it, and when those that have it are red more often than cells at large. A part that changed wins; then the one whose cells
   are red most often.
3. A change of the host or the harness is shared by all cells. It is told when no part explains them better.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.history.changes import INSIDE

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.history.changes import Change
    from migmatrix.harness.model import Cell, CellResult

__all__ = ["SHARE", "Surge", "find_surge"]

SHARE: Final = 0.2
_MOST: Final = 0.95
_MORE_OFTEN: Final = 1.2


@dataclass(frozen=True, slots=True)
class Surge:
    """`red` of `cells` are newly so. `what` and `name` is the part that `sharing` of them have, of `having` cells that do.

    `what` is empty when they share no part; `changes` are those of that part, else of host and harness, else of all.
    """

    red: int
    cells: int
    what: str
    name: str
    sharing: int
    having: int
    changes: tuple[Change, ...]

    @property
    def text(self) -> str:
        """What is to be said first."""
        said = f"{self.red:,} of {self.cells:,} cells are newly red at once"
        if self.what:
            said += (
                f"; {self.sharing:,} of them share {self.what} {self.name} ({self.having:,} cells have it)"
            )
        elif not self.changes:
            return f"{said}; they share nothing that is known"
        changed = ", ".join(change.text for change in self.changes)
        return f"{said}; changed: {changed}" if changed else said


def find_surge(
    red: Sequence[Cell], answered: Sequence[CellResult], changes: Sequence[Change]
) -> Surge | None:
    """What newly red cells share, of all that have a verdict; None when they are no surge."""
    if not answered or len(red) <= SHARE * len(answered):
        return None
    having = Counter(part for result in answered for part in set(_parts(result.cell)))
    sharing = Counter(part for cell in red for part in set(_parts(cell)))
    base = len(red) / len(answered)
    shared = [
        (count / having[part], count, part)
        for part, count in sharing.items()
        if count >= _MOST * len(red) and count / having[part] >= _MORE_OFTEN * base
    ]
    around = tuple(change for change in changes if change.what not in INSIDE)
    if not shared:
        return Surge(len(red), len(answered), "", "", 0, 0, around or tuple(changes))
    _, count, (what, name) = max(shared, key=lambda one: (_changed(one[2], changes), *one))
    its = tuple(change for change in changes if change.name == name)
    return Surge(len(red), len(answered), what, name, count, having[what, name], its or around)


def _changed(part: tuple[str, str], changes: Sequence[Change]) -> bool:
    return any(change.name == part[1] for change in changes)


def _parts(cell: Cell) -> Iterator[tuple[str, str]]:
    yield from (("build", build) for build in cell.path)
    yield "source", cell.path[0]
    yield "destination", cell.path[-1]
    yield "machine", cell.machine
    yield "profile", cell.profile
    yield "mode", cell.mode
    yield "guest", cell.guest

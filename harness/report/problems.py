# SPDX-License-Identifier: Apache-2.0
"""Cells that need attention, as problems: which cells are one, and what a build shows without another.

1. Cells with one signature are one problem. So are signatures of one family (`judge.family`) where the migrations that
   went wrong with one are among those of the other: one change, seen on several devices.
2. A failure is a build's *own* when the cell of one of the two builds with itself (A>A or B>B) fails with the same
   signature. Own and other failures are never one problem: the ones hold up no upgrade more than yesterday's build.
3. Problems between builds come first, then the larger, so that the first ones are what an upgrade breaks.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from migmatrix.harness.judge import family
from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Profile, Verdict

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = [
    "Group",
    "Variant",
    "group",
    "group_key",
    "natural",
    "numbered",
    "own_failures",
    "repeat_command",
    "run_arguments",
]


@dataclass(frozen=True, slots=True)
class Variant:
    """The cells of a problem that have one signature; `cause` is that of the smallest of them."""

    signature: str | None
    cause: Cause | None
    cells: int


@dataclass(frozen=True, slots=True)
class Group:
    """One problem: cells with one signature, or with several of one family, its `variants`, largest first.

    `smallest` is the smallest reproducing cell and `command` repeats it; `signature` and `cause` are of the largest
    variant. `routes` are (source, destination) builds of the migrations that went wrong, most frequent first. `own`
    says that a build shows it with itself too. `results` are those of its cells.
    """

    key: str
    signature: str | None
    cause: Cause | None
    cells: int
    outcomes: tuple[tuple[Outcome, int], ...]
    machines: tuple[str, ...]
    profiles: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]
    smallest: CellResult
    command: str
    variants: tuple[Variant, ...]
    own: bool = False
    results: tuple[CellResult, ...] = field(default=(), repr=False, compare=False)

    @property
    def sources(self) -> tuple[str, ...]:
        """The source builds involved, each once."""
        return tuple(dict.fromkeys(source for source, _ in self.routes))


def numbered(cell: Cell, number: int | None) -> str:
    """Return a cell id behind its number in the plan, if that is known."""
    return cell.id if number is None else f"#{number} {cell.id}"


def repeat_command(cell: Cell, matrix_file: str, seed: int | None = None) -> str:
    """Return ``migmatrix run`` for one cell; the id is escaped as a glob and quoted for a shell."""
    return shlex.join([*run_arguments(matrix_file, seed), f"cell={glob.escape(cell.id)}"])


def run_arguments(matrix_file: str, seed: int | None) -> list[str]:
    """What stands before the selection in the command that repeats a cell."""
    seeded = [] if seed is None else ["--seed", str(seed)]
    return ["migmatrix", "run", "-f", matrix_file, *seeded, "--select"]


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``pc-q35-9.2`` before ``pc-q35-10.0``."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in parts)


def group(
    results: Collection[CellResult],
    *,
    among: Collection[CellResult] | None = None,
    matrix_file: str = "matrix.yaml",
    seed: int | None = None,
    profiles: Iterable[Profile] = (),
) -> list[Group]:
    """Make problems of `results`, in the order of rule 3, equal sizes by signature.

    `among` are all results of the run, which tell what is a build's own; by default `results`. Cells without a
    signature are grouped by known issue, else by reason, else by verdict.
    """
    order = _Smallest({p.name: len(p.args) for p in profiles})
    alone = own_failures(results if among is None else among)
    members: dict[tuple[str, bool], list[CellResult]] = {}
    for result in results:
        members.setdefault((group_key(result), result.cell in alone), []).append(result)
    groups = [
        _group(parts, own, order, matrix_file, seed)
        for own in (False, True)
        for parts in _joined([cells for (_, its), cells in members.items() if its is own])
    ]
    return sorted(groups, key=lambda g: (g.own, -g.cells, g.key))


def group_key(result: CellResult) -> str:
    """What makes cells one problem at least."""
    return result.signature or result.known_issue or result.reason or result.verdict.value


def own_failures(results: Collection[CellResult]) -> set[Cell]:
    """The cells that fail as one of the two builds does with itself (rule 2)."""
    wrong = [result for result in results if _went_wrong(result)]
    shown = {(result.cell, result.signature) for result in wrong if _alone(result.cell)}
    return {result.cell for result in wrong if _is_own(result, shown)}


def _went_wrong(result: CellResult) -> bool:
    return result.verdict is Verdict.FAIL or result.outcome in (Outcome.REGRESSION, Outcome.WRONG_FAILURE)


def _alone(cell: Cell) -> bool:
    return len(cell.path) == 2 and cell.path[0] == cell.path[1]  # noqa: PLR2004 - a pair


def _is_own(result: CellResult, shown: Collection[tuple[Cell, str | None]]) -> bool:
    cell, pair = result.cell, result.failing_pair
    return any(
        (Cell(cell.machine, cell.profile, (build, build), cell.mode, cell.guest), result.signature) in shown
        for build in pair or ()
    )


def _joined(members: list[list[CellResult]]) -> Iterator[list[list[CellResult]]]:
    """Put signatures of one family together, by rule 1: each with the largest that has all of its routes."""
    heads: dict[str, list[tuple[set[tuple[str, str]], list[list[CellResult]]]]] = {}
    for cells in sorted(members, key=lambda cells: (-len(cells), group_key(cells[0]))):
        routes = {_route(result) for result in cells}
        cause = cells[0].cause
        one = family(cause) if cause and cells[0].signature else group_key(cells[0])
        kin = heads.setdefault(one, [])
        for theirs, parts in kin:
            if routes <= theirs:
                parts.append(cells)
                break
        else:
            kin.append((routes, [cells]))
    return (parts for kin in heads.values() for _, parts in kin)


class _Smallest:
    """Finds the smallest of some cells: path, profile, then mode and guest, then names."""

    def __init__(self, arguments: Mapping[str, int]) -> None:
        self._arguments = arguments

    def of(self, cells: Iterable[CellResult]) -> CellResult:
        return min(cells, key=lambda result: self._size(result.cell))

    def _size(self, cell: Cell) -> tuple[object, ...]:
        return (
            len(cell.path),
            self._arguments.get(cell.profile, 0),
            len(cell.profile),
            cell.mode != "snapshot",
            cell.guest != "paused",
            natural(cell.machine),
            cell,
        )


def _group(parts: list[list[CellResult]], own: bool, order: _Smallest, file: str, seed: int | None) -> Group:
    firsts = [order.of(cells) for cells in parts]
    smallest = order.of(firsts)
    every = [result for cells in parts for result in cells]
    routes = Counter(map(_route, every))
    return Group(
        key=group_key(firsts[0]),
        signature=firsts[0].signature,
        cause=firsts[0].cause,
        cells=len(every),
        outcomes=tuple(sorted(Counter(r.outcome for r in every).items())),
        machines=tuple(sorted({r.cell.machine for r in every}, key=natural)),
        profiles=tuple(sorted({r.cell.profile for r in every}, key=natural)),
        routes=tuple(sorted(routes, key=lambda route: (-routes[route], route))),
        smallest=smallest,
        command=repeat_command(smallest.cell, file, seed),
        variants=tuple(
            Variant(first.signature, first.cause, len(cells))
            for first, cells in zip(firsts, parts, strict=True)
        ),
        own=own,
        results=tuple(every),
    )


def _route(result: CellResult) -> tuple[str, str]:
    """The two ends of the migration that went wrong, of the whole path when none is named."""
    return result.failing_pair or (result.cell.path[0], result.cell.path[-1])

# SPDX-License-Identifier: Apache-2.0
"""The plan as numbered plain text: machine, profile, mode and guest, paths; totals first and last.

Cells are numbered from 1 in the order of the plan, so that a number in a log can be found again.
"""

from __future__ import annotations

from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.model import Cell
    from migmatrix.harness.plan.records import Dropped, Plan

__all__ = ["render_plan"]

MANY_PATHS = 4
SCREEN = 60  # lines
FEW = 3


def render_plan(plan: Plan, *, verbose: bool = False) -> Iterator[str]:
    """Lines of text without line ends; long lists of paths, and profiles of long plans, as counts unless `verbose`."""
    yield f"plan: {_totals(plan)}"
    body = list(_body(plan, verbose))
    yield from body if verbose or len(body) <= SCREEN else _folded(plan)
    yield from _dropped(plan, verbose)
    yield f"total: {_totals(plan)}"


def _folded(plan: Plan) -> Iterator[str]:
    """A line for each machine."""
    number = 1
    for place, (machine, group) in enumerate(groupby(plan.cells, key=lambda cell: cell.machine), 1):
        cells = list(group)
        last = number + len(cells) - 1
        profiles = _count(len({cell.profile for cell in cells}), "profile")
        paths = _paths(list(dict.fromkeys(cell.path for cell in cells)))
        yield f"{place}. {machine}: cells {number}-{last}: {profiles}: {paths}"
        number = last + 1
    yield "   -v prints each profile and path"


def _body(plan: Plan, verbose: bool) -> Iterator[str]:
    number = 1
    by_machine = groupby(plan.cells, key=lambda cell: cell.machine)
    for place, (machine, of_machine) in enumerate(by_machine, 1):
        yield f"{place}. {machine}"
        by_profile = groupby(of_machine, key=lambda cell: cell.profile)
        for below, (profile, of_profile) in enumerate(by_profile, 1):
            cells = list(of_profile)
            yield f"   {place}.{below} {profile}"
            yield from _profile(cells, number, verbose)
            number += len(cells)


def _profile(cells: Sequence[Cell], number: int, verbose: bool) -> Iterator[str]:
    for (mode, guest), group in groupby(cells, key=lambda cell: (cell.mode, cell.guest)):
        paths = [cell.path for cell in group]
        last = number + len(paths) - 1
        span = f"cell {number}" if number == last else f"cells {number}-{last}"
        if verbose:
            yield f"       {mode}, {guest}"
            yield from (f"         {place} {'>'.join(path)}" for place, path in enumerate(paths, number))
        else:
            yield f"       {mode}, {guest}: {span}: {_paths(paths)}"
        number = last + 1


def _paths(paths: Sequence[tuple[str, ...]]) -> str:
    if len(paths) <= MANY_PATHS:
        return ", ".join(">".join(path) for path in paths)
    lengths = Counter(map(len, paths))
    return ", ".join(_count(lengths[length], _kind(length)) for length in sorted(lengths))


def _kind(length: int) -> str:
    return "pair" if length == 2 else f"chain of {length}"  # noqa: PLR2004 - a pair has two ends


def _dropped(plan: Plan, verbose: bool) -> Iterator[str]:
    """A line for each reason, and what it is about; if that is more than a few, how many, unless `verbose`."""
    if plan.dropped:
        yield f"left out: {_count(plan.dropped_cells, 'cell')}"
    by_reason: dict[str, list[Dropped]] = {}
    for dropped in plan.dropped:
        by_reason.setdefault(dropped.reason, []).append(dropped)
    for reason, alike in by_reason.items():
        if verbose or len(alike) == 1:
            yield from (f"   {_count(d.cells, 'cell')}: {d.what}: {reason}" for d in alike)
        else:
            yield f"   {_count(sum(d.cells for d in alike), 'cell')}: {_few(alike)}: {reason}"


def _few(alike: Sequence[Dropped]) -> str:
    """``pc-q35-8.0, pc-q35-9.2 and 12 more``."""
    named = ", ".join(dropped.what for dropped in alike[:FEW])
    return named + (f" and {len(alike) - FEW:,} more" if len(alike) > FEW else "")


def _totals(plan: Plan) -> str:
    probes = len(set(plan.probes.values()))
    return (
        f"{_count(len(plan.cells), 'cell')}, {_count(len(plan.legs), 'distinct leg')}"
        f" ({_count(probes, 'probe')}, {_count(plan.saves, 'saved state')})"
    )


def _count(number: int, noun: str) -> str:
    """``1 pair``, ``25 pairs``, ``1,250 chains of 3``."""
    head, _, tail = noun.partition(" of ")
    plural = head if number == 1 else head + "s"
    return f"{number:,} {plural}" + (f" of {tail}" if tail else "")

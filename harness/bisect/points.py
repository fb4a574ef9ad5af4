# SPDX-License-Identifier: Apache-2.0
"""The open step of a path: ``A..B`` among its steps, or ``@`` where commits go. Pure.

A path with one open step is one search. With two, each search holds one of them at an end of its range: first at the
later end, as in the failing path, then at the earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.bisect.cells import OPEN
from migmatrix.harness.config.schema import split_path
from migmatrix.harness.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Line", "lines_of", "parse_path", "stretches"]

_DOTS = ".."
_MOST_OPEN = 2


@dataclass(frozen=True, slots=True)
class Line:
    """One search: a path with the step `@`, and the names of its points from early to late; none for commits."""

    path: tuple[str, ...]
    points: tuple[str, ...]

    @property
    def side(self) -> str:
        """Where the open step is, in words."""
        where = [index for index, step in enumerate(self.path) if step == OPEN]
        if len(where) > 1:
            return f"steps {', '.join(str(index + 1) for index in where)}"
        if where[0] == 0:
            return "source side"
        return "destination side" if where[0] == len(self.path) - 1 else f"step {where[0] + 1} of the chain"

    @property
    def text(self) -> str:
        """``@>qemu-11.1``."""
        return ">".join(self.path)


def parse_path(text: str) -> tuple[str, ...]:
    """The steps of ``A..B>C``; UserError for fewer than two or an empty one."""
    try:
        return split_path(text)
    except ValueError as err:
        raise UserError(f"{text!r} is not a path: write A..B>C, with at least two steps") from err


def lines_of(path: Sequence[str], order: Sequence[str]) -> list[Line]:
    """The searches that a path with ranges asks for; `order` is every build from early to late.

    UserError for an unknown build, for a range of one, and for no or more than two ranges.
    """
    ranges = {index: _range(step, order) for index, step in enumerate(path) if _DOTS in step}
    if not 1 <= len(ranges) <= _MOST_OPEN:
        raise UserError(f"{'>'.join(path)!r} has {len(ranges)} ranges A..B: one or two are searched")
    for step in path:
        if _DOTS not in step:
            _known(step, order)
    found = [_line(path, ranges, index, end) for end in (-1, 0) for index in ranges]
    return list(dict.fromkeys(found))


def _line(path: Sequence[str], ranges: dict[int, tuple[str, ...]], varied: int, end: int) -> Line:
    """The search along one range, with the other one held at an end."""
    held = {index: points[end] for index, points in ranges.items() if index != varied}
    steps = tuple(OPEN if index == varied else held.get(index, step) for index, step in enumerate(path))
    return Line(steps, ranges[varied])


def _range(text: str, order: Sequence[str]) -> tuple[str, ...]:
    first, _, last = text.partition(_DOTS)
    one, other = _known(first, order), _known(last, order)
    if one >= other:
        raise UserError(f"{text!r} is not a range: write the earlier build first")
    return tuple(order[one : other + 1])


def _known(name: str, order: Sequence[str]) -> int:
    if name not in order:
        raise UserError(f"unknown build {name!r}: {did_you_mean(name, list(order))}")
    return order.index(name)


def stretches(points: Sequence[int]) -> list[range]:
    """Numbers in ascending order as ranges of neighbours."""
    cuts = [i + 1 for i, (a, b) in enumerate(pairwise(points)) if b != a + 1]
    bounds = [0, *cuts, len(points)]
    return [range(points[a], points[b - 1] + 1) for a, b in pairwise(bounds) if a < b]

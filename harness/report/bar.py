# SPDX-License-Identifier: Apache-2.0
"""The bar of a page: how many cells have which status."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from migmatrix.harness.report.page import GLYPHS, LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

__all__ = ["Segment", "bar"]

_BAR = 1000.0  # its width in its own units
_SLIVER = 4.0  # so that one regression in 30,000 cells is still seen


class Segment(NamedTuple):
    """One outcome in the bar: where it begins, how wide it is, which fragment lists its cells."""

    outcome: str
    label: str
    link: str
    glyph: str
    cells: int
    x: float
    width: float


def bar(
    counts: Mapping[str, int], link: Callable[[str], str], glyphs: Mapping[str, str] = GLYPHS
) -> Iterator[Segment]:
    """A segment for each status with cells, in the order of `counts`."""
    present = [(status, count) for status, count in counts.items() if count]
    total = sum(count for _, count in present)
    widths = [max(_SLIVER, _BAR * count / total) for _, count in present]
    scale, x = _BAR / sum(widths) if widths else 0.0, 0.0
    for (status, count), width in zip(present, widths, strict=True):
        wide = width * scale
        yield Segment(status, LABELS.get(status, status), link(status), glyphs[status], count, x, wide)
        x += wide

# SPDX-License-Identifier: Apache-2.0
"""Cells that passed with a note (`harness.judge.notes`), by note: green, but not all that it seems."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.report.problems import natural

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.model import CellResult

__all__ = ["Noted", "noted"]


@dataclass(frozen=True, slots=True)
class Noted:
    """`cells` cells passed with this note; names are sorted, `example` is the one with the shortest path."""

    text: str
    cells: int
    machines: tuple[str, ...]
    profiles: tuple[str, ...]
    example: str


def noted(results: Iterable[CellResult]) -> list[Noted]:
    """The notes of some results, those of most cells first."""
    members: dict[str, list[CellResult]] = {}
    for result in results:
        for text in result.notes:
            members.setdefault(text, []).append(result)
    return sorted((_noted(*item) for item in members.items()), key=lambda n: (-n.cells, n.text))


def _noted(text: str, cells: list[CellResult]) -> Noted:
    return Noted(
        text,
        len(cells),
        tuple(sorted({r.cell.machine for r in cells}, key=natural)),
        tuple(sorted({r.cell.profile for r in cells}, key=natural)),
        min(cells, key=lambda r: (len(r.cell.path), r.cell)).cell.id,
    )

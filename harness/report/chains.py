# SPDX-License-Identifier: Apache-2.0
"""Chains whose result does not follow from their pairs, which is why chains are run at all.

A chain is compared with pairs of the same machine, profile, mode and guest; a pair that was not run,
or that has neither passed nor failed, proves nothing, and the chain is then not listed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.model import Cell, CellResult, Verdict
from migmatrix.harness.report.data import natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["ChainFinding", "ChainKind", "chain_findings", "surprises"]

_PAIR = 2


class ChainKind(StrEnum):
    """How a chain surprises."""

    BROKEN = "broken"  # it fails, although each of its steps passes alone
    DETOUR = "detour"  # it passes, although the direct migration fails
    HEALED = "healed"  # it passes, although one of its steps fails alone


@dataclass(frozen=True, slots=True)
class ChainFinding:
    """Chains of one path that surprise in one way; `direct` counts the direct migrations that pass.

    `profiles` and `machines` are sorted, each once; `example` is the first such cell by name.
    """

    kind: ChainKind
    path: tuple[str, ...]
    cells: int
    direct: int
    machines: tuple[str, ...]
    profiles: tuple[str, ...]
    example: CellResult


def surprises(results: Sequence[CellResult]) -> dict[Cell, tuple[ChainKind, ...]]:
    """The chains that surprise, each with how it does."""
    pairs = _pairs(results)
    found = ((r.cell, tuple(_kinds(r, pairs))) for r in results)
    return {cell: kinds for cell, kinds in found if kinds}


def chain_findings(results: Sequence[CellResult]) -> list[ChainFinding]:
    """Findings by kind (broken first), then largest first."""
    pairs = _pairs(results)
    found: dict[tuple[ChainKind, tuple[str, ...]], list[CellResult]] = {}
    for result in results:
        for kind in _kinds(result, pairs):
            found.setdefault((kind, result.cell.path), []).append(result)
    findings = [_finding(kind, path, cells, pairs) for (kind, path), cells in found.items()]
    order = list(ChainKind)
    return sorted(findings, key=lambda f: (order.index(f.kind), -f.cells, f.path))


def _pairs(results: Sequence[CellResult]) -> dict[Cell, Verdict]:
    return {r.cell: r.verdict for r in results if len(r.cell.path) == _PAIR}


def _kinds(result: CellResult, pairs: dict[Cell, Verdict]) -> Iterator[ChainKind]:
    cell = result.cell
    if len(cell.path) <= _PAIR:
        return
    steps = [pairs.get(_pair(cell, a, b)) for a, b in pairwise(cell.path)]
    if result.verdict is Verdict.FAIL and all(s is Verdict.PASS for s in steps):
        yield ChainKind.BROKEN
    if result.verdict is not Verdict.PASS:
        return
    if pairs.get(_direct(cell)) is Verdict.FAIL:
        yield ChainKind.DETOUR
    if Verdict.FAIL in steps:
        yield ChainKind.HEALED


def _pair(cell: Cell, source: str, destination: str) -> Cell:
    return Cell(cell.machine, cell.profile, (source, destination), cell.mode, cell.guest)


def _direct(cell: Cell) -> Cell:
    return _pair(cell, cell.path[0], cell.path[-1])


def _finding(
    kind: ChainKind, path: tuple[str, ...], cells: list[CellResult], pairs: dict[Cell, Verdict]
) -> ChainFinding:
    return ChainFinding(
        kind=kind,
        path=path,
        cells=len(cells),
        direct=sum(pairs.get(_direct(r.cell)) is Verdict.PASS for r in cells),
        machines=_names(r.cell.machine for r in cells),
        profiles=_names(r.cell.profile for r in cells),
        example=min(cells, key=lambda r: r.cell),
    )


def _names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=natural))

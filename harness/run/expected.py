# SPDX-License-Identifier: Apache-2.0
"""Which legs of a plan will still run: a path stops at its first failure, and what lies behind it may never be needed.

A leg is spared when all cells that rest on it are done and it was not. So at the end of a run as many legs are done as
are expected.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.model import Cell
    from migmatrix.harness.plan import Plan

__all__ = ["Expected"]


class Expected:
    """Tell it of legs and cells that are done; it tells how many legs that spares."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._waiting = Counter(key for cell in plan.cells for key in self._keys(cell))
        self._done: set[str] = set()

    def leg_done(self, key: str) -> None:
        """Count a leg as done."""
        self._done.add(key)

    def cell_done(self, cell: Cell) -> int:
        """How many legs no cell waits for any more, now that this one is done."""
        keys = set(self._keys(cell))
        self._waiting.subtract(keys)
        return sum(not self._waiting[key] and key not in self._done for key in keys)

    def _keys(self, cell: Cell) -> Iterable[str]:
        return {*self._plan.legs_of(cell), *self._plan.probes_of(cell).values()}

# SPDX-License-Identifier: Apache-2.0
"""What a history knows of a run before it is remembered: red cells whose legs said otherwise before are flaky.

A leg is a function of its inputs. So a night is not red for a cell that failed by the legs that passed on another night,
in the same environment; it is told with that night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.history.book import book_path
from migmatrix.harness.history.history import History
from migmatrix.harness.history.night import night_of_run
from migmatrix.harness.history.records import State
from migmatrix.harness.history.states import RED, state_of
from migmatrix.harness.stored.reports import open_run, restate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from migmatrix.harness.history.records import Night, NightCell
    from migmatrix.harness.report import RunReport

__all__ = ["settle"]


def settle(run: Path, database: Path) -> RunReport | None:
    """Make the cells of a run flaky that its history tells to be; the new report, None when there is none."""
    if not book_path(database).exists():
        return None
    with open_run(run) as stored:
        tonight = night_of_run(stored)
        nights = [*History.open(database).nights, tonight]
        at = len(nights) - 1
        red = [cell for cell in tonight.cells if cell.outcome in RED]
        flaky = {c.id: _reason(nights, c) for c in red if state_of(nights, c.cell, at) is State.FLAKY}
        return restate(stored, flaky) if flaky else None


def _reason(nights: Sequence[Night], cell: NightCell) -> str:
    """On which night the same legs said otherwise last."""
    for night in reversed(nights[:-1]):
        old = night.cells.get(cell.id)
        if old is not None and old.key == cell.key and old.verdict is not cell.verdict:
            said = "two answers" if old.verdict.value == "error" else old.verdict.value
            return f"flaky: by the same legs it was {said} on night {night.number}, {night.time:%Y-%m-%d}"
    return "flaky: the same legs said otherwise before"

# SPDX-License-Identifier: Apache-2.0
"""Add the night of a run to a history: once, and only to the history of its matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.errors import UserError
from migmatrix.harness.history.book import append, book_path
from migmatrix.harness.history.history import History
from migmatrix.harness.history.night import night_of_run
from migmatrix.harness.history.view import make_view
from migmatrix.harness.stored.reports import open_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta
    from pathlib import Path

    from migmatrix.harness.history.book import Book
    from migmatrix.harness.history.records import Night

__all__ = ["Added", "add"]


@dataclass(frozen=True, slots=True)
class Added:
    """The night of a run, whether it is `new` in the history, and whether the run was judged otherwise since (`changed`)."""

    history: History
    night: Night
    new: bool
    changed: bool


def add(run: Path, database: Path, log: Callable[[str], None], every: timedelta | None = None) -> Added:
    """Append the night of a run directory, with its cadence, if that run is not in the history yet.

    UserError when there is no run, when it is a shard or of another matrix, and for a history that is damaged.
    """
    with open_run(run) as stored:
        night = night_of_run(stored, every)
    path = book_path(database)
    there: list[Night] = []

    def make(book: Book) -> Night | None:
        _refuse_another(path, book, night)
        there.extend(old for old in book.nights if old.run == night.run)
        return None if there else night

    history = History.of(append(path, make, log))
    make_view(history, log)
    added = there[0] if there else next(n for n in history.nights if n.run == night.run)
    return Added(history, added, not there, bool(there) and there[0].root != night.root)


def _refuse_another(path: Path, book: Book, night: Night) -> None:
    if book.nights and book.nights[-1].matrix != night.matrix:
        raise UserError(
            f"{str(path)!r} is the history of matrix {book.nights[-1].matrix!r}, the run is of {night.matrix!r}:"
            " keep a history for each matrix"
        )

# SPDX-License-Identifier: Apache-2.0
"""`History`: all nights of a matrix, and what is asked of them: strips, states, breaks, flakes, first sightings, silence.

1. Nights are in the order of their time; `Night.number` is that of the line, which never changes.
2. Reading decides nothing: states follow from the lines alone (`harness.history.states`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self

from migmatrix.harness.errors import UserError
from migmatrix.harness.history.book import book_path, read_book
from migmatrix.harness.history.standing import Standing, standings
from migmatrix.harness.history.states import (
    WINDOW,
    Break,
    Flake,
    break_of,
    flake_of,
    in_matrix,
    state_of,
    unsteady,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.history.book import Book
    from migmatrix.harness.history.records import Night, NightCell, State
    from migmatrix.harness.model import Cell

__all__ = ["History"]


@dataclass(frozen=True)
class History:
    """The nights of one matrix, oldest first. `cut` are the bytes of a last line that a killed writer left."""

    path: Path
    nights: Sequence[Night]
    cut: bytes = b""
    _states: dict[int, Mapping[str, State]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, database: Path) -> Self:
        """Read a history, a directory or its ``.jsonl`` file; UserError when there is none, or a line is damaged."""
        return cls.of(read_book(book_path(database)))

    @classmethod
    def of(cls, book: Book) -> Self:
        """The history that a file holds."""
        return cls(book.path, sorted(book.nights, key=lambda night: night.time), book.cut)

    def night(self, number: int) -> Night:
        """The night of a number, from 1; of a negative one counted from the last, -1. UserError when there is none."""
        if number < 0:
            found = self.nights[number] if -number <= len(self.nights) else None
        else:
            found = next((night for night in self.nights if night.number == number), None)
        if found is None:
            raise UserError(f"{str(self.path)!r} has no night {number}: it has {len(self.nights)}")
        return found

    def index(self, night: Night) -> int:
        """The place of a night in `nights`."""
        return self.nights.index(night)

    @cached_property
    def cells(self) -> Mapping[str, Cell]:
        """Every cell that any night has, by id, in the order of the ids."""
        found: dict[str, Cell] = {}
        for night in self.nights:
            if not found.keys() >= night.cells.places.keys():
                found.update(zip(night.cells.ids, night.cells.cells, strict=True))
        return dict(sorted(found.items()))

    def strip(self, cell: str, at: int = -1, length: int = WINDOW) -> tuple[NightCell | None, ...]:
        """A cell on the last nights up to `at`, oldest first; None where a night does not have it."""
        return tuple(night.cells.get(cell) for night in self.window(at, length))

    def window(self, at: int = -1, length: int = WINDOW) -> Sequence[Night]:
        """The last nights up to `at`, an index of `nights`."""
        end = self._at(at) + 1
        return self.nights[max(0, end - length) : end]

    def _at(self, at: int) -> int:
        return at + len(self.nights) if at < 0 else at

    def state(self, cell: str, at: int = -1) -> State | None:
        """Where a cell stands on a night; None for one that is not in the matrix of that night."""
        return state_of(self.nights, self.cells[cell], self._at(at)) if self.nights else None

    def states(self, at: int = -1) -> Mapping[str, State]:
        """The state of every cell that has one on a night, by id."""
        index = self._at(at)
        if index not in self._states and self.nights:
            shaky = unsteady(self.nights, index)
            found = (
                (id_, state_of(self.nights, cell, index, steady=id_ not in shaky))
                for id_, cell in self.cells.items()
            )
            self._states[index] = {id_: state for id_, state in found if state is not None}
        return self._states.get(index, {})

    def break_of(self, cell: str, at: int = -1) -> Break | None:
        """First bad and last good night of a cell that is red or known, and what changed between them."""
        return break_of(self.nights, self.cells[cell], self._at(at))

    def flakes(self, at: int = -1) -> list[Flake]:
        """The cells that were flaky in the window up to a night and are still in its matrix, in the order of ids."""
        if not self.nights:
            return []
        index = self._at(at)
        here = self.nights[index]
        cells = (self.cells[id_] for id_ in sorted(unsteady(self.nights, index)))
        found = (flake_of(self.nights, cell, index) for cell in cells if in_matrix(cell, here))
        return [flake for flake in found if flake is not None]

    def problems(self, at: int = -1) -> list[Standing]:
        """The problems of a night, red ones first, with what changed when they began."""
        return standings(self.nights, self._at(at), self.first_seen) if self.nights else []

    @cached_property
    def first_seen(self) -> Mapping[str, Night]:
        """The first night of each signature."""
        found: dict[str, Night] = {}
        for night in self.nights:
            for seen in night.sightings:
                found.setdefault(seen.signature, night)
        return found

# SPDX-License-Identifier: Apache-2.0
"""Where in the repository a problem is shown: at the line of the matrix that defines its profile, else at its top."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import Position, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.harness.model import Cell
    from migmatrix.harness.report import RunReport

__all__ = ["from_here", "places_of"]


def places_of(report: RunReport) -> Callable[[Cell], Position]:
    """Reads the run's matrix, if it is still where the run found it; without it every cell is at its top."""
    found: Mapping[tuple[str | int, ...], Position] = {}
    try:
        found = load_matrix(Path(report.matrix_file)).where
    except UserError:  # it is gone or changed, and that is no reason to tell less of the run
        found = {}
    top = Position(from_here(report.matrix_file) or report.matrix_file, 1, 1)

    def place(cell: Cell) -> Position:
        position = found.get(("profiles", cell.profile))
        name = from_here(position.file) if position else None
        return Position(name, position.line, position.column) if position and name else top

    return place


def from_here(file: str) -> str | None:
    """The name of a file from this directory, None for one that is not below it."""
    path, here = Path(file), Path.cwd()
    if not path.is_absolute():
        return file
    return str(path.relative_to(here)) if path.is_relative_to(here) else None

# SPDX-License-Identifier: Apache-2.0
"""Memory: every run of a matrix as one line of a file, and what those lines tell together. Start with `History.open`.

`add` appends the line of a run. `docs/history.md` describes the file.
"""

from migmatrix.harness.history.add import Added, add
from migmatrix.harness.history.changes import Change, changes_between, shared_changes
from migmatrix.harness.history.history import History
from migmatrix.harness.history.records import (
    Counts,
    Environment,
    Night,
    NightCell,
    NightCells,
    Sighting,
    State,
)
from migmatrix.harness.history.states import STALE, WINDOW, Break, Flake

__all__ = [  # noqa: RUF022 - the most important first
    "History",
    "Night",
    "NightCell",
    "NightCells",
    "State",
    "Break",
    "Change",
    "Flake",
    "Sighting",
    "Environment",
    "Counts",
    "add",
    "Added",
    "changes_between",
    "shared_changes",
    "WINDOW",
    "STALE",
]

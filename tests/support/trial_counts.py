# SPDX-License-Identifier: Apache-2.0
"""How many trials of a kind to make, and a table of what each met: a variable of the environment raises the number.

``MIGMATRIX_TRIALS_TABLE=FILE`` appends a line for each trial to a file; columns are separated by tabs, and
``cut -f1,4 FILE | sort | uniq -c`` counts kinds and stages.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["note", "share"]


def share(variable: str, default: int, sets: int) -> int:
    """How many trials each of so many sets has to make for `variable` of them in all, at least one."""
    return max(1, -(-int(os.environ.get(variable, default)) // sets))


def note(kind: str, which: str, trial: object, stage: str, outcome: str = "") -> None:
    """Add a line to the table, if one is wanted."""
    if table := os.environ.get("MIGMATRIX_TRIALS_TABLE"):
        with Path(table).open("a") as file:
            file.write("\t".join((kind, which, str(trial), stage, outcome)) + "\n")

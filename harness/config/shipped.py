# SPDX-License-Identifier: Apache-2.0
"""Files that come with the program: machine data, compat tables and matrices, wherever it is installed.

In a checkout ``migmatrix/data`` holds links to the directories at its top; a wheel holds copies.
"""

from __future__ import annotations

from pathlib import Path

__all__ = ["shipped"]


def shipped(*names: str) -> Path:
    """The path of a file or directory that comes with the program, by its names below ``data``."""
    # By place, not by importing the package: what that gives to Python programs stands above this room.
    return Path(__file__).parents[2].joinpath("data", *names)

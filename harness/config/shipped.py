# SPDX-License-Identifier: Apache-2.0
"""Files that come with the program: machine data, compat tables and matrices, wherever it is installed.

In a checkout ``migmatrix/data`` holds links to the directories at its top; a wheel holds copies.
"""

from __future__ import annotations

from pathlib import Path

from migmatrix.harness.errors import UserError, did_you_mean

__all__ = ["PROFILES", "START", "matrices", "matrix_file", "shipped"]

PROFILES = ("machines", "profiles.yaml")
START = ("matrices", "start.yaml")  # what `migmatrix init` writes


def shipped(*names: str) -> Path:
    """The path of a file or directory that comes with the program, by its names below ``data``."""
    # By place, not by importing the package: what that gives to Python programs stands above this room.
    return Path(__file__).parents[2].joinpath("data", *names)


def matrices() -> dict[str, Path]:
    """The matrices that come with the program, by name; ``default`` is the one of the checkout's top."""
    below = sorted(shipped("matrices").glob("*.yaml"))
    return {
        "default": shipped("matrix.yaml"),
        **{path.stem: path for path in below if "known" not in path.stem},
    }


def matrix_file(path: Path) -> Path:
    """The file of a matrix: `path`, or what comes with the program under that name; UserError for an unknown name."""
    if path.exists() or path.suffix or len(path.parts) != 1:
        if str(path) == "matrix.yaml" and not path.exists():
            raise UserError("cannot read 'matrix.yaml': no such file; `migmatrix init` writes one")
        return path
    known = matrices()
    if path.name not in known:
        raise UserError(f"no file and no built-in matrix {path.name!r}: {did_you_mean(path.name, known)}")
    return known[path.name]

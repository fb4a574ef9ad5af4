# SPDX-License-Identifier: Apache-2.0
"""The matrix of `migmatrix try`: one emulator of the user's against others, both ways, without a file to write.

Others are emulators on this host, by path, or builds of the built-in matrix ``small``, by globs of their names.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.harness.config.matrix import load_matrix
from migmatrix.harness.config.nodes import read_document
from migmatrix.harness.config.shipped import matrices
from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["MINE", "matrix_against"]

MINE = "mine"
_SMALL = "small"


def matrix_against(binary: Path, against: Sequence[str], machine: str | None, profiles: Sequence[str]) -> str:
    """The text of the matrix file; UserError for a binary that is not there and for a name of no build.

    Without `machine` it is the newest q35 type that two of the builds know; without `profiles` those of ``small``.
    """
    if not binary.is_file():
        raise UserError(f"there is no emulator {str(binary)!r}")
    others = _others(against or ("*",))
    matrix = {
        "builds": {MINE: _binary(binary), **others},
        "machines": [machine or {"common": "pc-q35", "only": ["newest"]}],
        "defaults": {"args": ["-m", "64"]},
        "profiles": {
            "use": list(profiles) or [profile.name for profile in load_matrix(Path(_SMALL)).profiles]
        },
        "paths": {"pairs": [path for other in others for path in (f"{MINE}>{other}", f"{other}>{MINE}")]},
        "policy": {"unusable": "skip"},
    }
    return f"# made by `migmatrix try`\n{json.dumps(matrix, indent=1)}\n"


def _binary(path: Path) -> dict[str, Any]:
    return {"provider": "binary", "path": str(path.absolute())}


def _others(against: Sequence[str]) -> dict[str, Any]:
    released: Mapping[str, Any] = read_document(matrices()[_SMALL]).data["builds"]
    found: dict[str, Any] = {}
    for word in against:
        pattern = word.removeprefix("build=")
        chosen = [name for name in released if glob_match(name, pattern)]
        if Path(word).is_file():
            found[_free(Path(word).name, found)] = _binary(Path(word))
        elif chosen:
            found.update((name, released[name]) for name in chosen)
        else:
            raise UserError(
                f"--against {word!r} is no file and no build: {did_you_mean(pattern.strip('*?'), released)}"
            )
    return found


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """A build name that is not taken yet."""
    names = (name, *(f"{name}.{number}" for number in range(2, len(taken) + 3)))
    return next(free for free in names if free not in (*taken, MINE))

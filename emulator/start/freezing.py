# SPDX-License-Identifier: Apache-2.0
"""`python -m migmatrix.emulator.start.freezing DIRECTORY`: write every release as one file, named by it.

The harness calls this when it packs the emulator. It reads the YAML tables once; an emulator that starts from such a
file reads none.
"""

from __future__ import annotations

import sys
from pathlib import Path

from migmatrix.emulator.release import data_root, freeze, load
from migmatrix.emulator.release_data import releases

__all__ = ["freeze_all"]


def freeze_all(directory: Path) -> None:
    """Write all releases that the data files know."""
    for name in releases(data_root()):
        freeze(load(name), directory / name)


if __name__ == "__main__":
    freeze_all(Path(sys.argv[1]))

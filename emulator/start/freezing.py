"""`python -m emulator.start.freezing DIRECTORY`: every release as one file, named by it, from which it starts fast.

For whoever packs the emulator, such as the harness: YAML is read here, once, and by no emulator that is started from
what this writes.
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

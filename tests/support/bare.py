# SPDX-License-Identifier: Apache-2.0
"""A release with one machine type, memory and migration: for tests of everything but devices. It is plain data."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import Options, parse
from migmatrix.emulator.release import Release, freeze

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["bare_release", "command", "machine", "options"]

ROOT = Path(__file__).parents[2]


def bare_release(name: str = "10.0") -> Release:
    """The release: board and machine type `none`, RAM of the size asked for."""
    board: dict[str, Any] = {
        "ram": [{"name": "ram", "size": "memory"}], "devices": [], "firmware": [], "buses": [], "memory": 128 << 20,
    }  # fmt: skip
    row = ("none", "none", "", "empty machine", "", True, "", (), 1, "", "ram", False, False, False)
    return Release(
        {
            "name": name, "machine_types": [row], "compat": {}, "capabilities": ["events", "return-path"],
            "parameters": {"max-bandwidth": 1 << 27, "downtime-limit": 300}, "boards": {"none": board},
            "devices": {"migration": ("migmatrix.emulator.devices.system.migration", "MigrationObject")},
        }
    )  # fmt: skip


def options(*words: str) -> Options:
    """Options of a small machine, and `words`."""
    return parse(["-M", "none", "-m", "16", *words])


def machine(*words: str) -> Machine:
    """A machine in this process."""
    return build_machine(bare_release(), options(*words))


def command(directory: Path, words: Sequence[str], release: str = "10.0") -> list[str]:
    """The command line of an emulator process of the bare release; it starts as a deployed one does."""
    frozen = directory / f"{release}.release"
    freeze(bare_release(release), frozen)
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from migmatrix.emulator.main import main; sys.exit(main(sys.argv[1:]))"
    python = [sys.executable, "-I", "-S", "-c", start]
    return [*python, "-release", release, "-release-file", str(frozen), "-M", "none", "-m", "16", *words]

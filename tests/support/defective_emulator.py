# SPDX-License-Identifier: Apache-2.0
"""The reference emulator with a defect of its own in `example-legacy`: it dies saving or loading, or loads otherwise.

A real process: `install` writes an executable for the provider `binary` that is a release with the defect.
"""

from __future__ import annotations

import os
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.emulator import main as emulator_main
from migmatrix.emulator.devices.isa import examples
from migmatrix.vmstate.device.registry import LegacyHandlers

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing


def install(directory: Path, release: str, defect: str) -> Path:
    """Write the emulator of a release of QEMU with a defect of `DEFECTS`, or "forgets"; its path. It counts its ends beside itself."""
    path = directory / f"{defect}-{release}"
    words = f"{sys.executable} {__file__} {directory} {defect} -release {release}"
    path.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    path.chmod(0o755)
    return path


def dies_saving(_: Writing, __: Any) -> None:
    """End as an assertion does."""
    os.abort()


def dies_loading(_: Reading, __: Any, ___: int) -> None:
    """The same."""
    os.abort()


def dies_loading_twice(reading: Reading, state: Any, version: int) -> None:
    """The first two loads end it, as what depends on chance may; one at a time, please."""
    directory = Path(sys.argv[1])
    ends = len(list(directory.glob("ended-*")))
    if ends < 2:
        (directory / f"ended-{ends}").touch()
        os.abort()
    load(reading, state, version)


def dies_sometimes(reading: Reading, state: Any, version: int) -> None:
    """Each load draws whether it ends it, by the seed and the per cent in the file ``draws``; one at a time, please."""
    directory = Path(sys.argv[1])
    seed, percent = map(int, (directory / "draws").read_text().split())
    number = len(list(directory.glob("drawn-*")))
    (directory / f"drawn-{number}").touch()
    if random.Random(f"{seed}/{number}").random() * 100 < percent:
        (directory / f"ended-{number}").touch()
        os.abort()
    load(reading, state, version)


def save(writing: Writing, state: Any) -> None:
    """As the sound one does."""
    writing.number(state.level, 4)
    writing.number(state.limit, 4)


def load_less(reading: Reading, state: Any, _: int) -> None:
    """Leave what was saved behind the level."""
    state.level = reading.number(4)


def load(reading: Reading, state: Any, _: int) -> None:
    """As the sound one does."""
    state.level, state.limit = reading.number(4), reading.number(4)


DEFECTS = {
    "dies-saving": (dies_saving, load),
    "dies-loading": (save, dies_loading),
    "dies-sometimes": (save, dies_sometimes),
    "dies-loading-twice": (save, dies_loading_twice),
    "loads-less": (save, load_less),
}


def main(defect: str, argv: list[str]) -> int:
    """The emulator with a defect."""
    if defect == "forgets":  # what only migratable devices are asked for
        return emulator_main.main([word for word in argv if word != "-only-migratable"])
    examples.ExampleLegacy.vmstate = LegacyHandlers("example-legacy", 2, *DEFECTS[defect])
    return emulator_main.main(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[2], sys.argv[3:]))

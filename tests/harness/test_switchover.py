# SPDX-License-Identifier: Apache-2.0
"""A source that pauses before the switchover is told to go on: nobody else would."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from lab import Lab

EMULATED = {"a": {"provider": "emulator", "release": "10.0"}, "b": {"provider": "emulator", "release": "8.2"}}
REAL = {"a": {"provider": "debian", "suite": "trixie"}, "b": {"provider": "debian", "suite": "bookworm"}}
PAUSE = ["pause-before-switchover"]
MODES = [
    {"name": "snapshot", "source": {"capabilities": PAUSE}},
    {"name": "unix", "transport": "unix", "source": {"capabilities": PAUSE}},
]


def check(lab: Lab, builds: dict[str, Any]) -> None:
    matrix = lab.matrix(
        builds=builds,
        profiles={"define": {"plain": {"args": ["-m", "64", "-nodefaults"]}}},
        paths={"pairs": "all"},
        modes=MODES,
    )
    done = lab.run(matrix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert lab.verdicts() == {"pass": 8}


def test_the_reference_emulator_goes_on(lab: Lab) -> None:
    check(lab, EMULATED)


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
def test_real_qemu_goes_on(lab: Lab) -> None:
    check(lab, REAL)

# SPDX-License-Identifier: Apache-2.0
"""Every live mode of `matrices/postcopy.yaml` and `matrices/multifd.yaml` between real QEMU and the emulator.

By default one pair of one board each; `MIGMATRIX_LIVE_INTEROP='machine=*'` (any selection, terms separated by spaces) runs
others. docs/interop.md has the table of all.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from lab import MIGMATRIX

from migmatrix.harness.config import load_matrix

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(1800)]

MATRICES = Path(__file__).parents[3] / "matrices"
SELECTION = os.environ.get("MIGMATRIX_LIVE_INTEROP", "")


@pytest.mark.parametrize(
    ("name", "selection"),
    [
        ("postcopy", "machine=pc-q35-7.2 path=emu-11.1>qemu-11.1"),
        ("multifd", "machine=pc-i440fx-7.2 path=qemu-11.1>emu-11.1"),
    ],
)
def test_memory_arrives_whole_in_every_mode(name: str, selection: str, tmp_path: Path) -> None:
    matrix = MATRICES / f"{name}.yaml"
    select = [word for term in (SELECTION or selection).split() for word in ("--select", term)]
    command = [*MIGMATRIX, "run", "-f", str(matrix), *select, "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # what real QEMU cannot do either is a known issue
    results: list[dict[str, Any]] = [
        json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    ]
    modes = load_matrix(matrix).modes
    assert {result["mode"] for result in results} == {mode.name for mode in modes}
    assert {mode.memory for mode in modes} == {"compared"}

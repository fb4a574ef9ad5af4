# SPDX-License-Identifier: Apache-2.0
"""A search of real QEMU."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

MATRIX: dict[str, Any] = {
    "builds": {"qemu-11.1": {"provider": "debian", "suite": "trixie-backports"}},
    "engine": "docker",
    "machines": ["pc-q35-10.0"],
    "defaults": {"args": ["-m", "64", "-display", "none"]},
    "profiles": {"define": {"bare": {"args": []}}},
    "paths": {"pairs": "all"},
    "modes": ["snapshot"],
    "guests": ["paused"],
}


def test_crashes_without_words_of_two_devices_are_two_findings(tmp_path: Path) -> None:
    """Each ends its emulator with SIGSEGV while it saves, and nothing is said: `nvme` without a disk, and a card of two ports."""
    (tmp_path / "matrix.yaml").write_text(yaml.safe_dump(MATRIX))
    words = [
        "-m", "migmatrix", "explore", "-f", "matrix.yaml", "--depth", "1",
        "--store", str(default_store()), "--out", "out",
    ]  # fmt: skip
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    found = json.loads((tmp_path / "out" / "findings.json").read_text())["findings"]
    crashes = {f["root"]: f for f in found if f["signature"] == "crash SIGSEGV save"}
    assert {"nvme,serial", "pci-serial-2x"} <= set(crashes)
    scripts = {(tmp_path / "out" / f"{f['profile']}.sh").read_text() for f in crashes.values()}
    assert len(scripts) == len(crashes)

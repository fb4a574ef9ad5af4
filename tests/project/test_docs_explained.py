# SPDX-License-Identifier: Apache-2.0
"""The answer that `docs/explain.md` shows is what its command prints on real QEMU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CELL = "pc-q35-7.2/pcie-root-port/aer-8.0>qemu-7.2/"


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
@pytest.mark.timeout(900)
def test_the_page_shows_what_its_command_prints(tmp_path: Path) -> None:
    """But for the cost: what the store knows already is no leg of the answer."""
    shown = (ROOT / "docs" / "explain.md").read_text().split(f"$ migmatrix explain runs/aer '{CELL}'\n")[1]
    out = str(tmp_path / "aer")
    command = [sys.executable, "-m", "migmatrix"]
    run = [*command, "run", "-f", str(ROOT / "matrices" / "aer.yaml"), "--out", out]
    assert subprocess.run(run, capture_output=True, check=False).returncode == 1
    done = subprocess.run([*command, "explain", out, CELL], capture_output=True, text=True, check=True)
    assert _without_cost(done.stdout) == _without_cost(shown.split("```")[0])


def _without_cost(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("  cost ")]

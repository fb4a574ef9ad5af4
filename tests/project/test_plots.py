# SPDX-License-Identifier: Apache-2.0
"""The numbers behind the plots of docs/ are those of today's emulator, and the plot is of these numbers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_dirty_limits_plot_is_up_to_date() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "scripts/plot_dirty_limit.py"), "--csv"],
        capture_output=True, text=True, check=True, env={"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert made.stdout == (ROOT / "docs/dirty-limit.csv").read_text()
    assert "quota of writer 2" in (ROOT / "docs/dirty-limit.svg").read_text()

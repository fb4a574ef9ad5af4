# SPDX-License-Identifier: Apache-2.0
"""`docs/how-to/nightly.md` from its first command to its last: they end well, and print what the page says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "nightly.md"
_COMMAND = re.compile(r"(?:migmatrix|mkdir) ")


@pytest.mark.slow
def test_the_page_does_and_prints_what_it_shows(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    printed = ""
    ran = 0
    for block in re.findall(r"^```\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        if not _COMMAND.match(block):
            assert printed.startswith(block.rstrip("\n")), printed
            continue
        for line in block.splitlines():
            done = subprocess.run(
                ["sh", "-c", line],
                cwd=tmp_path,
                env={**os.environ, "PATH": path},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, (line, done.stderr)
            printed = done.stdout
            ran += 1
    assert ran == 12
    for name in (".gitlab-ci.yml", "nightly.yaml", "nightly/badge.svg", "nightly/metrics.prom"):
        assert (tmp_path / name).stat().st_size > 0

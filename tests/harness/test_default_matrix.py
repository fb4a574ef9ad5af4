# SPDX-License-Identifier: Apache-2.0
"""The README's first command, as somebody meets it: what is installed, from an empty directory, with an empty store.

Every environment of tox runs it, so that the default matrix is held on each version of Python and of the libraries.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from importlib.resources import files
from pathlib import Path


def test_the_default_matrix_shows_its_three_problems(tmp_path: Path) -> None:
    matrix = files("migmatrix") / "data" / "matrix.yaml"
    command = [
        sys.executable,
        "-m",
        "migmatrix",
        "run",
        "-f",
        str(matrix),
        "--store",
        "store",
        "--out",
        "run",
    ]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    results = [json.loads(line) for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()]
    assert Counter(result["verdict"] for result in results) == {"pass": 451, "fail": 47}
    red = Counter(
        (result["cause"]["kind"], result["cause"]["device"])
        for result in results
        if result["verdict"] == "fail"
    )
    assert len(red) == 3, red
    assert "do not ship: 47 of 498 cells went wrong unexpectedly, in 3 problems" in done.stdout
    readme = Path(__file__).parents[2] / "README.md"
    if readme.exists():  # where the package is installed alone there is none
        shown = readme.read_text().split("```\ndo not ship: 47 of 498")[1].split("```")[0].splitlines()[1:]
        assert [line for line in shown if line != "..." and line not in done.stdout.splitlines()] == []

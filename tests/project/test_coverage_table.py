# SPDX-License-Identifier: Apache-2.0
"""The floors of coverage: the table's exit code, and the part that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOOD = (100, 95, 40, 38)  # statements, of which run; branches, of which run
FILES = {
    "vmstate/wire/reader.py": GOOD,
    "vmstate/errors.py": (10, 10, 0, 0),
    "harness/judge/cell.py": GOOD,
    "harness/plan/make.py": GOOD,
    "harness/known.py": GOOD,
    "harness/select.py": GOOD,
    "harness/run/runner.py": (100, 60, 40, 20),
    "emulator/machine.py": GOOD,
}


def table(root: Path, files: dict[str, tuple[int, int, int, int]]) -> tuple[int, str, str]:
    """Exit code, what it prints and what it complains of, for these counts in a tree of two files of code."""
    for name, lines in {"emulator/machine.py": 4, "tests/emulator/test_machine.py": 3}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("pass\n" * lines)
    keys = ("num_statements", "covered_lines", "num_branches", "covered_branches")
    report = {
        "files": {name: {"summary": dict(zip(keys, counts, strict=True))} for name, counts in files.items()}
    }
    (root / "coverage.json").write_text(json.dumps(report))
    argv: list[str | Path] = [
        sys.executable,
        ROOT / "scripts" / "coverage_table.py",
        root / "coverage.json",
        root,
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_all_parts_above_their_floors(tmp_path: Path) -> None:
    code, out, wrong = table(tmp_path, FILES)
    assert (code, wrong) == (0, "")
    rows = {words[0]: words[1:] for line in out.splitlines() if (words := line.split())}
    assert rows["vmstate"] == ["40", "95.0", "%", "95.3", "%"]
    assert rows["harness/run"] == ["40", "50.0", "%", "57.1", "%"]
    assert "emulator: 3 lines of tests to 4 of code, 0.75" in out


def test_modules_that_a_test_wrote_do_not_count(tmp_path: Path) -> None:
    counted = table(tmp_path, FILES)
    assert table(tmp_path, {**FILES, "/tmp/x/harness/judge/cell.py": (100, 0, 40, 0)}) == counted  # noqa: S108 - a name


def test_a_part_below_its_floor_is_named(tmp_path: Path) -> None:
    code, _, wrong = table(tmp_path, {**FILES, "harness/judge/cell.py": (100, 95, 40, 35)})
    assert (code, wrong) == (1, "harness/judge: 87.5 % of branches, less than 90 %\n")


def test_the_whole_has_a_floor(tmp_path: Path) -> None:
    code, _, wrong = table(tmp_path, {**FILES, "harness/run/runner.py": (900, 400, 100, 40)})
    assert code == 1
    assert wrong.startswith("all: ")


def test_a_part_that_was_not_measured_is_named(tmp_path: Path) -> None:
    code, _, wrong = table(
        tmp_path, {name: counts for name, counts in FILES.items() if name != "harness/select.py"}
    )
    assert (code, wrong) == (1, "harness/select.py: not measured\n")

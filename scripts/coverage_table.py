#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print branch coverage for each part, and how much test code the emulator has; exit 1 below a floor.

    coverage json --quiet -o FILE && scripts/coverage_table.py FILE [ROOT]

Floors are of branches for the parts that decide without running anything, and of lines and branches for all.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FLOORS = {
    "vmstate": 90.0,
    "harness/judge": 90.0,
    "harness/plan": 90.0,
    "harness/known.py": 90.0,
    "harness/select.py": 90.0,
}
ALL_FLOOR = 80.0


@dataclass
class Part:
    """Counts of one part; `lines` are statements."""

    lines: int = 0
    lines_run: int = 0
    branches: int = 0
    branches_run: int = 0

    def add(self, counts: dict[str, Any]) -> None:
        """Add a file, as `coverage json` counts it."""
        self.lines += counts["num_statements"]
        self.lines_run += counts["covered_lines"]
        self.branches += counts["num_branches"]
        self.branches_run += counts["covered_branches"]

    @property
    def of_branches(self) -> float:
        """Percent; 100 where nothing branches."""
        return 100 * self.branches_run / self.branches if self.branches else 100.0

    @property
    def of_all(self) -> float:
        """Percent of lines and branches together."""
        return 100 * (self.lines_run + self.branches_run) / ((self.lines + self.branches) or 1)


def parts(report: dict[str, Any]) -> dict[str, Part]:
    """A part for each folder below `harness` and `emulator` and each file in them, one for `vmstate`, one for all."""
    found: dict[str, Part] = defaultdict(Part)
    # an absolute name is a module that a test wrote somewhere
    here = {name: entry for name, entry in report["files"].items() if not Path(name).is_absolute()}
    for name, entry in sorted(here.items()):
        for part in ("all", _part(name)):
            found[part].add(entry["summary"])
    return found


def _part(name: str) -> str:
    words = name.split("/")
    return words[0] if words[0] == "vmstate" else "/".join(words[:2])


def below(found: dict[str, Part]) -> list[str]:
    """What is wrong, a line each; a part with a floor that was not measured is wrong too."""
    lines = [
        f"{name}: {found[name].of_branches:.1f} % of branches, less than {floor:.0f} %"
        for name, floor in FLOORS.items()
        if name in found and found[name].of_branches < floor
    ]
    lines += [f"{name}: not measured" for name in (*FLOORS, "all") if name not in found]
    if "all" in found and found["all"].of_all < ALL_FLOOR:
        lines.append(f"all: {found['all'].of_all:.1f} % of lines and branches, less than {ALL_FLOOR:.0f} %")
    return lines


def _lines(top: Path) -> int:
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in top.rglob("*.py"))


def main(arguments: list[str]) -> int:
    """Print the table; the exit code."""
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).resolve().parents[1]
    found = parts(json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    print(f"{'part':32} {'branches':>9} {'run':>8} {'lines and branches':>20}")
    for name, part in found.items():
        print(f"{name:32} {part.branches:9,} {part.of_branches:6.1f} % {part.of_all:18.1f} %")
    tests, code = _lines(root / "tests" / "emulator"), _lines((root / "emulator").resolve())
    print(f"emulator: {tests:,} lines of tests to {code:,} of code, {tests / (code or 1):.2f}")
    wrong = below(found)
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

# SPDX-License-Identifier: Apache-2.0
"""The table of docs/interop.md is made of what was stored of runs, and says of each pair what came of it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]
BUILDS = [{"id": "qemu-7.2", "version": "7.2.22"}, {"id": "emu-10.0", "version": "10.0.0"}]
REFUSED = "MIG_CMD 0xb unknown (len 0x0)"


def script() -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("interop_table", ROOT / "scripts" / "interop_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cell(source: str, destination: str, message: str = "") -> dict[str, Any]:
    return {
        "mode": "postcopy", "machine": "none", "path": [source, destination], "reason": "",
        "verdict": "fail" if message else "pass", "cause": {"message": message} if message else None,
        "cell": f"none/{source}>{destination}/postcopy",
    }  # fmt: skip


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of three of four pairs, of which one failed."""
    cells = [
        cell("qemu-7.2", "qemu-7.2"),
        cell("qemu-7.2", "emu-10.0"),
        cell("emu-10.0", "qemu-7.2", REFUSED),
    ]
    report = {
        "started": "2026-11-27T20:00:00+00:00", "matrix": {"name": "postcopy"}, "builds": BUILDS,
        "cells": {"total": 3}, "selection": [],
        "dropped": [{"what": "mode postcopy", "reason": "emu-10.0 cannot", "count": 1}],
        "results": {"rows": [["none", "bare", [], "postcopy"]]},
    }  # fmt: skip
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "report.json").write_text(json.dumps(report))
    (tmp_path / "run" / "results.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in cells))
    return tmp_path / "run"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A page with a place for the table."""
    (tmp_path / "docs").mkdir()
    text = f"before\n{script().BEGIN}\nold\n{script().END}\nafter\n"
    (tmp_path / "docs" / "interop.md").write_text(text)
    return tmp_path / "docs"


def test_the_table_is_that_of_what_is_stored() -> None:
    assert script().main(["--check"]) == 0


def test_each_pair_has_its_letter(run: Path) -> None:
    stored = script().store([run])
    assert stored["pairs"] == {"postcopy none": "..a-"}
    assert stored["causes"] == {"a": {"verdict": "fail", "told": REFUSED}}
    assert stored["left out"] == [{"cells": 1, "reason": "10.0 cannot"}]


def test_the_page_tells_what_passed_what_failed_and_what_was_left_out(run: Path, docs: Path) -> None:
    assert script().main([str(run)], docs) == 0
    page = (docs / "interop.md").read_text()
    assert page.startswith("before\n")
    assert page.endswith("after\n")
    assert "old" not in page
    lines = page.splitlines()
    assert "| `postcopy`, `none` | 1/1 | 1/1 | 0/1 | (1 without) |" in lines
    assert "| 10.0 > 7.2 |  |  | 0/1 |  |" in lines
    assert f"| 1 | fail: `{REFUSED}` | `postcopy` | `none` | 10.0 > 7.2 | emulator > real |" in lines
    assert "| 1 | 10.0 cannot |" in lines


def test_of_a_cell_of_two_runs_the_last_counts(run: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    again.mkdir()
    report = json.loads((run / "report.json").read_text())
    (again / "report.json").write_text(json.dumps({**report, "selection": ["mode=postcopy"]}))
    (again / "results.jsonl").write_text(json.dumps(cell("emu-10.0", "qemu-7.2")))
    stored = script().store([run, again])
    assert stored["pairs"] == {"postcopy none": "...-"}
    assert stored["causes"] == {}
    assert stored["left out"] == [{"cells": 1, "reason": "10.0 cannot"}]


def test_a_table_that_was_changed_by_hand_is_found(run: Path, docs: Path) -> None:
    script().main([str(run)], docs)
    assert script().main(["--check"], docs) == 0
    page = docs / "interop.md"
    page.write_text(page.read_text().replace("0/1", "1/1"))
    assert script().main(["--check"], docs) == 1


def test_a_page_without_a_place_is_left_alone(run: Path, docs: Path) -> None:
    (docs / "interop.md").write_text("nothing")
    with pytest.raises(ValueError, match="in the page"):
        script().main([str(run)], docs)
    assert (docs / "interop.md").read_text() == "nothing"

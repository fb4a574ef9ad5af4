# SPDX-License-Identifier: Apache-2.0
"""Searches that end early: interrupted, at the end of a budget, cut into shards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from emulated import write_matrix
from explored import SCHEMA

from migmatrix.harness.explore.plan import Budget
from migmatrix.harness.explore.search import Search

if TYPE_CHECKING:
    from pathlib import Path


def command(tmp_path: Path, *words: str, store: str = "store", out: str = "out") -> list[str]:
    matrix = write_matrix(
        tmp_path, ["5.2", "7.2"], machines=["pc-q35-5.2"], profiles={"define": {"bare": {"args": []}}}
    )
    where = ["-f", str(matrix), "--store", str(tmp_path / store), "--out", str(tmp_path / out), "-j", "2"]
    return [
        sys.executable,
        "-m",
        "migmatrix.harness.cli",
        "explore",
        *where,
        "--devices",
        "example-*",
        *words,
    ]


def ended(tmp_path: Path, *words: str, **where: str) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(command(tmp_path, *words, **where), capture_output=True, text=True, check=False)
    return done.returncode, json.loads((tmp_path / where.get("out", "out") / "findings.json").read_text())


def written(store: Path) -> dict[str, int]:
    """When the evidence of each leg was written."""
    return {str(path): path.stat().st_mtime_ns for path in store.rglob("evidence.json")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_search_keeps_what_it_found_and_goes_on(
    number: signal.Signals, tmp_path: Path
) -> None:
    with subprocess.Popen(
        command(tmp_path, "--depth", "1"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("found: section-version"):
                process.send_signal(number)
                break
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert "the same command goes on from here" in said
    left = json.loads((tmp_path / "out" / "findings.json").read_text())
    SCHEMA.validate(left)
    assert left["ended"] == "interrupted"
    (found,) = [finding for finding in left["findings"] if finding["kind"] == "break"]
    assert (found["signature"], found["repeated"]) == ("section-version example-versioned", False)
    before = written(tmp_path / "store")
    assert before

    assert ended(tmp_path, "--depth", "1")[0] == 1
    assert before.items() <= written(tmp_path / "store").items(), "a leg was done twice"
    whole = json.loads((tmp_path / "out" / "findings.json").read_text())
    assert whole["ended"] == "complete"
    assert whole == ended(tmp_path, "--depth", "1", store="other", out="another")[1]
    (found,) = [finding for finding in whole["findings"] if finding["kind"] == "break"]
    assert (tmp_path / "out" / f"{found['profile']}.sh").exists()


def test_a_budget_of_legs_is_overrun_by_one_candidate_at_most(tmp_path: Path) -> None:
    """Of two builds a candidate takes ten legs: four of builds alone, two between, and four with -only-migratable."""
    code, found = ended(tmp_path, "--budget", "15")
    assert (code, found["ended"]) == (0, "budget")
    assert 15 <= found["legs"] < 15 + 10
    assert found["coverage"]["candidates"]["plain"] == 2, "the machine alone and a device"
    assert found["coverage"]["of_devices"]["example-versioned"]["state"] == "not-reached"


@pytest.mark.parametrize(("legs", "spent", "dearest", "most", "size"), [
    (None, 0, 0, 8, 8),
    (None, 0, 0, 96, 96),
    (1000, 0, 0, 8, 1),
    (1000, 100, 10, 8, 8),
    (1000, 100, 10, 96, 90),
    (1000, 970, 10, 8, 3),
    (1000, 999, 10, 8, 1),
])  # fmt: skip
def test_fewer_candidates_run_side_by_side_near_the_end_of_a_budget(
    legs: int | None, spent: int, dearest: int, most: int, size: int
) -> None:
    class Under(Search):
        def __init__(self) -> None:
            self.budget, self._dearest = Budget(legs=legs), dearest

        @property
        def spent(self) -> int:
            return spent

    assert Under().size(most) == size

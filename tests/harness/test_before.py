# SPDX-License-Identifier: Apache-2.0
"""Runs and stores of the version before stay readable: shown, judged, explained, and resumed without a new leg.

``tests/data/before/run-and-store.tar.xz`` was made by migmatrix at e3be65a, when the store's unit was called a hop:
`run -f matrix.yaml --store store --out run` and `explain run`, 24 cells on two builds. The builds are scripts, so that
their digest is of that text and not of the reference emulator that runs here.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock
from lab import Lab

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

ARCHIVE = Path(__file__).parents[1] / "data" / "before" / "run-and-store.tar.xz"
ROOT = Path("/tmp/mm-before")  # noqa: S108 - where the archive was made, see `before`
LEGS = 26
RED = "root-port/qemu-8.0>qemu-7.2/"


@pytest.fixture
def before() -> Iterator[Lab]:
    """The archive where it was made: the digest of a binary is of its path too. One test at a time has the place."""
    with FileLock(f"{ROOT}.lock"):
        shutil.rmtree(ROOT, ignore_errors=True)
        with tarfile.open(ARCHIVE) as archive:
            archive.extractall(ROOT, filter="data")
        yield Lab(ROOT, {"PYTHON": sys.executable})
        shutil.rmtree(ROOT)


def done(lab: Lab, *words: str) -> subprocess.CompletedProcess[str]:
    return lab.call(lab.command(*words) if words[0] in ("run", "explain") else [*lab.command(*words)[:-2]])


def stored(lab: Lab) -> list[dict[str, Any]]:
    """The results as the old version wrote them, in the order of cells; what it did not write has its default.

    It kept no courses; the evidence has them, so they are there when a run is judged again.
    """
    lines = (lab.root / "run" / "results.jsonl").read_text().splitlines()
    records = [{"notes": [], **json.loads(line)} for line in lines]
    return sorted((_without_courses(record) for record in records), key=lambda record: str(record["cell"]))


def _without_courses(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key != "courses"}


def test_a_run_is_shown(before: Lab) -> None:
    shown = done(before, "show", "run", RED)
    assert shown.returncode == 0, shown.stderr
    assert "migration 1 (qemu-8.0 > qemu-7.2), load" in shown.stdout
    assert "Bad config data: i=0x10a" in shown.stdout


def test_a_run_is_judged_again_to_the_same(before: Lab) -> None:
    old = stored(before)
    judged = done(before, "judge", "run", "--json")
    assert judged.returncode == 1, judged.stderr
    assert judged.stderr == ""  # no outcome changed
    assert json.loads(judged.stdout)["hops"] == {"executed": LEGS, "reused": 0}
    assert stored(before) == old
    last = json.loads((before.root / "run" / "results.jsonl").read_text().splitlines()[0])
    assert {course["role"] for course in last["courses"]} == {"source", "destination"}


def test_a_run_is_explained(before: Lab) -> None:
    explained = done(before, "explain", "run", "--json")
    assert explained.returncode == 0, explained.stderr
    (found,) = json.loads(explained.stdout)
    (kept,) = [json.loads(file.read_text()) for file in (before.root / "run" / "explain").glob("*.json")]
    assert kept == found
    assert (found["kind"], found["reproduced"]) == ("pair: qemu-8.0 > qemu-7.2", True)


def test_an_explanation_is_in_the_report(before: Lab) -> None:
    (kept,) = [json.loads(file.read_text()) for file in (before.root / "run" / "explain").glob("*.json")]
    report = done(before, "report", "run", "--json")
    assert report.returncode == 1, report.stderr
    assert kept["fix"]["summary"] in (before.root / "run" / "report.md").read_text()


def test_a_store_answers_for_every_leg(before: Lab) -> None:
    old = stored(before)
    again = before.run(Path("matrix.yaml"), out="again")
    assert again.returncode == 1, again.stderr
    assert f"legs     0 run, {LEGS} reused" in again.stdout
    times = {record["cell"]: record for record in old}
    for cell, record in before.results("again").items():
        assert _without_courses(record) == times[cell]


def test_the_same_run_goes_on(before: Lab) -> None:
    again = before.run(Path("matrix.yaml"), out="run")
    assert again.returncode == 1, again.stderr
    assert f"legs     0 run, {LEGS} reused" in again.stdout

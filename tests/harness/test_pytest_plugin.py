# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import pytest
from lab import wait_until

if TYPE_CHECKING:
    import subprocess

    from lab import Lab


def argv(lab: Lab, *args: str) -> list[str]:
    """A pytest command on the lab's matrix."""
    matrix = ["--matrix", str(lab.root / "lab.yaml"), "--matrix-store", str(lab.root / "store")]
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rA", *matrix, *args]


def outcomes(done: subprocess.CompletedProcess[str]) -> str:
    """The last line of pytest's output without its time."""
    return done.stdout.strip().splitlines()[-1].strip("= ").rpartition(" in ")[0]


def test_cells_are_items_and_failures_tell_their_cause(lab: Lab) -> None:
    lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}), paths={"pairs": "all"})

    done = lab.call(argv(lab, "-k", "nic"))

    assert done.returncode == 1
    assert outcomes(done) == "2 failed, 2 passed, 4 deselected"
    assert "cause     pci-config 0000:00:02.0/e1000e 0x10a" in done.stdout
    assert "i=0x10a read: 40 device: 0" in done.stdout
    assert "--select 'cell=pc-q35-7.2/nic/aer>old/snapshot/paused'" in done.stdout
    assert lab.starts() == 2 + 4  # of the deselected profile none


def test_maxfail_stops(lab: Lab) -> None:
    lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}), paths={"pairs": "all"})

    done = lab.call(argv(lab, "--maxfail", "1", "--matrix-select", "path=aer>old"))

    assert outcomes(done).startswith("1 failed")


def test_unsupported_is_skipped_with_the_reason(lab: Lab) -> None:
    lab.matrix(profiles={"define": {"gone": {"args": ["-device", "picky"]}}}, paths={"pairs": "all"})

    done = lab.call(argv(lab))

    assert outcomes(done) == "1 passed, 3 skipped"
    assert "device needs what is not here" in done.stdout


def test_workers_share_legs(lab: Lab) -> None:
    lab.matrix()

    done = lab.call(argv(lab, "-n", "2", "--dist", "worksteal"))

    assert done.returncode == 0, done.stdout
    assert outcomes(done) == "24 passed"
    assert lab.starts() == 28


def test_a_killed_worker_costs_no_verdict(lab: Lab) -> None:
    builds = lab.builds({"old": [], "slow": ["-fake", f"wait={lab.root}/go"]})
    lab.matrix(builds=builds, paths={"pairs": ["old>slow", "old>old"]})
    process = lab.start(argv(lab, "-n", "1", "--dist", "worksteal", "--matrix-select", "profile=nic"))
    waiting = lab.root / "go.waiting"
    wait_until(waiting.exists)

    # the emulator's parent is the supervisor, and that one's the worker
    wait_until(lambda: waiting.read_text() != "")
    os.kill(ancestor(int(waiting.read_text())), 9)
    (lab.root / "go").touch()
    code = process.wait()

    text = (lab.root / "log").read_text()
    assert code == 0, text
    assert "2 passed, 1 skipped" in text
    assert "the worker ended, the cell is run again" in text


def ancestor(pid: int) -> int:
    """The pytest worker that started an emulator."""
    import psutil

    for process in psutil.Process(pid).parents():
        if "python" in process.name():
            return process.pid
    raise AssertionError(f"{pid} has no pytest worker: {psutil.Process(pid).parents()}")


def test_the_store_is_the_one_that_the_environment_names(lab: Lab) -> None:
    lab.matrix()
    lab.environment = {"MIGMATRIX_STORE": str(lab.root / "shared"), "XDG_CACHE_HOME": str(lab.root / "cache")}
    whole = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--matrix", "lab.yaml", "-k", "nic"]

    done = lab.call(whole)

    assert done.returncode == 0, done.stdout
    assert list((lab.root / "shared" / "hops").glob("*/*/evidence.json"))
    assert not (lab.root / "cache").exists()


def aer(lab: Lab) -> None:
    """A matrix in which old refuses what aer sends, and nothing else goes wrong."""
    lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}), paths={"pairs": "all"})


@pytest.mark.slow
def test_the_id_of_a_failed_cell_selects_that_cell(lab: Lab) -> None:
    aer(lab)
    first = lab.call(argv(lab, "-k", "nic"))
    failed = next(line.split(" ")[1] for line in first.stdout.splitlines() if line.startswith("FAILED "))

    from_here = lab.call(argv(lab, failed))
    with_directory = lab.call(argv(lab, ".", "-k", "nic"))
    with_workers = lab.call(argv(lab, "-n", "2", failed))

    lab.environment = {**lab.environment, "MIGMATRIX_STORE": str(lab.root / "store")}
    alone = [
        lab.call([sys.executable, "-m", "pytest", "-p", "no:cacheprovider", failed, *more])
        for more in ([], ["-n", "2"])
    ]

    assert failed == "lab.yaml::pc-q35-7.2/nic/old>aer/snapshot/paused"
    assert outcomes(from_here) == outcomes(with_workers) == "1 failed"
    assert [outcomes(done) for done in alone] == ["1 failed", "1 failed"]
    assert outcomes(with_directory) == "2 failed, 2 passed, 4 deselected"


@pytest.mark.slow
def test_reasons_and_problems_are_told_in_short(lab: Lab) -> None:
    aer(lab)
    lab.environment = {"COLUMNS": "240"}

    for workers in ([], ["-n", "2"]):
        done = lab.call(argv(lab, "--junitxml", "junit.xml", *workers))

        lines = done.stdout.splitlines()
        failed = [line for line in lines if line.startswith("FAILED ")]
        assert len(failed) == 4
        assert all(" - pci-config e1000e 0x10a: " in line for line in failed), failed
        assert any("= 1 problem =" in line for line in lines)
        assert "  1. 4 cells  pci-config · 0000:00:02.0/e1000e · 0x10a" in lines
        assert '<failure message="pci-config e1000e 0x10a: ' in (lab.root / "junit.xml").read_text()


def test_a_failed_cell_is_an_assertion_that_failed() -> None:
    from migmatrix.harness.pytest_plugin import CellFailure

    assert issubclass(CellFailure, AssertionError)  # Allure: "failed", anything else is "broken"


@pytest.mark.slow
def test_a_session_is_not_green_when_its_cells_answer_nothing(lab: Lab) -> None:
    lab.matrix(
        profiles={"define": {"plain": {"args": []}, "gone": {"args": ["-device", "picky"]}}},
        paths={"pairs": ["old>new"]},
    )

    for narrowed in (["-k", "gone"], ["--matrix-select", "profile=gone"], ["-k", "gone", "-n", "2"]):
        done = lab.call(argv(lab, *narrowed))

        assert done.returncode == 5, done.stdout
        assert "no answer: nothing migrated: 1 of 1 cell unsupported" in done.stdout

    assert lab.call(argv(lab)).returncode == 0
    assert lab.call(argv(lab, "-k", "gone", "--collect-only")).returncode == 0


def test_a_mistake_in_the_matrix_is_one_line(lab: Lab) -> None:
    path = lab.matrix()
    path.write_text(path.read_text().replace('"old"', '"o ld"', 1))
    (lab.root / "known.yaml").write_text("[{}]")

    for extra in ([], ["-n", "1"], ["--collect-only"]):
        done = lab.call(argv(lab, *extra))
        assert done.returncode == 4, done.stdout
        assert "ERROR: " in done.stderr
        assert "lab.yaml:" in done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        assert "pytest_plugin.py" not in done.stdout + done.stderr

    lab.matrix()
    for wrong in (["select", "profile=nix"], ["path", "old>nwe"], ["known-issues", "known.yaml"]):
        done = lab.call(argv(lab, f"--matrix-{wrong[0]}", wrong[1]))
        assert done.returncode == 4, done.stdout


def test_paths_and_known_issues_are_taken_from_options(lab: Lab) -> None:
    aer(lab)
    entry = {
        "id": "aer",
        "selector": "profile=nic",
        "signature": "pci-config *",
        "reason": "known",
        "link": "https://example.org/1",
        "owner": "me",
        "expires": "2999-01-01",
    }
    (lab.root / "known.yaml").write_text(json.dumps([entry]).replace('"2999-01-01"', "2999-01-01"))
    options = ["--matrix-path", "aer>old", "--matrix-path", "old>old", "--matrix-known-issues", "known.yaml"]

    done = lab.call(argv(lab, "-k", "nic", *options, "--matrix-engine", "process"))

    assert done.returncode == 0, done.stdout
    assert outcomes(done) == "1 passed, 2 deselected, 1 xfailed"

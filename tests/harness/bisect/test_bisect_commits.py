# SPDX-License-Identifier: Apache-2.0
"""Searches over the commits of a real repository: checked out, built, and run on the reference emulator."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import pytest
from trial_history import BINARY, MACHINE, History, Trial, matrix, trials

from migmatrix.harness.bisect import CellOptions, CommitOptions, Kind, Rules, bisect_commits

if TYPE_CHECKING:
    from lab import Lab

    from migmatrix.harness.bisect import Answer

pytestmark = pytest.mark.slow

SCENARIOS = ("one", "skips", "second", "half", "false")
BUILD = "sh ./build.sh"
ONCE = Rules(verify=1, confirm=1, confidence=0.5)


@pytest.fixture(autouse=True)
def _interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHON", str(Path(sys.executable).resolve()))
    packages = Path(subprocess.__file__).parent  # the standard library: only to be sure that it is one
    assert packages.is_dir()


class Searches:
    """A history and what all its searches share."""

    def __init__(self, root: Path, history: History) -> None:
        self.root, self.history = root, history
        out = root / "base"
        environment = {**os.environ, "MIGMATRIX_OUT": str(out), "PYTHONPATH": _yaml()}
        first = ["git", "checkout", "--quiet", history.commits[0]]
        subprocess.run(first, cwd=history.root, check=True)
        subprocess.run(["sh", "./build.sh"], cwd=history.root, env=environment, check=True)
        self.matrix = matrix(root / "matrix.yaml", out / BINARY)

    def search(self, trial: Trial, rules: Rules) -> Answer:
        draws = self.root / f"{trial.name}.draws"
        draws.write_text(f"{trial.name} 0")
        flaky = trial.false or trial.failing < 1
        device = f"{trial.name},draws={draws}" if flaky else trial.name
        options = CellOptions(
            self.matrix, self.root / "store", "@>base", MACHINE, arguments=("-device", device),
            out=self.root / "out", rules=rules, command="migmatrix bisect commits",
        )  # fmt: skip
        ends = self.history.commits[0], self.history.commits[-1]
        chosen = CommitOptions(self.history.root, *ends, BUILD, BINARY)
        (answer,) = bisect_commits(options, chosen, print)
        return answer


def _yaml() -> str:
    """Where the emulator finds PyYAML, which the build needs."""
    import yaml

    return str(Path(yaml.__file__).parents[1])


@pytest.fixture(autouse=True)
def _modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", _yaml())


def culprits(answer: Answer) -> list[int]:
    return list(answer.finding.culprits)


def test_a_commit_is_found_in_a_history_of_devices_and_tables(lab: Lab) -> None:
    """One culprit in a device, one in a table behind unbuildable commits; every commit is built at most once."""
    wanted = [
        Trial("trial-device", 11, masked=frozenset({5})),
        Trial("trial-table", 7, absent=frozenset({4}), by_table=True),
    ]
    history = History(lab.root / "repo", wanted, size=16, unbuildable=frozenset({6, 13}))
    searches = Searches(lab.root, history)
    device, table = (searches.search(trial, ONCE) for trial in wanted)
    assert (device.finding.kind, culprits(device)) == (Kind.FOUND, [11])
    assert device.points[11].endswith("(change 11)")
    assert "missing-subsection" in device.finding.signature
    assert device.side == "source side"
    assert (table.finding.kind, culprits(table)) == (Kind.RANGE, [6, 7])
    assert "exit 125" in next(run.reason for run in table.runs if run.point == 6)
    logs = list((lab.root / "store" / "builds" / "commits").glob("*/log"))
    assert 0 < len(logs) <= 16
    # the second search went the same way where it could, and built nothing of that again
    assert not any((lab.root / "repo").glob("*.pyc"))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_trials_on_a_repository(scenario: str, lab: Lab) -> None:
    """64 commits, right in every trial: in the first of the 30, or as many as `MIGMATRIX_TRIALS` says.

    All 30 take half an hour; what they search with, `test_search_trials` holds to 30 trials each every time.
    """
    count = int(os.environ.get("MIGMATRIX_TRIALS", "1"))
    wanted = trials(scenario, count)
    unbuildable = frozenset({9, 10, 30, 47}) if scenario == "skips" else frozenset()
    searches = Searches(lab.root, History(lab.root / "repo", wanted, unbuildable=unbuildable))
    searched, least, total = [], [], []
    for trial in wanted:
        finding = searches.search(trial, Rules()).finding
        assert list(finding.culprits) == searches.history.answer(trial), (trial, finding)
        searched.append(finding.search_runs)
        least.append(finding.minimum)
        total.append(finding.runs)
    print(
        f"\n{scenario}: {count} of {count} right; runs to search: median {median(searched):g}, most {max(searched)},"
        f" theoretical minimum {median(least):g}; all runs: median {median(total):g}, most {max(total)}"
    )

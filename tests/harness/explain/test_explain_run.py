# SPDX-License-Identifier: Apache-2.0
"""`migmatrix explain` from a stored run to its answer, on fake emulators: real processes, the real command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

pytestmark = pytest.mark.slow

FAILING = "pc-q35-7.2/nic/old>new/snapshot/paused"


def two_states(lab: Lab, **changes: Any) -> Path:
    """A matrix whose builds do not read each other's state."""
    builds = lab.builds({"old": ["-fake", "state=a"], "new": ["-fake", "state=b"]})
    return small(lab, builds=builds, **changes)


def small(lab: Lab, **changes: Any) -> Path:
    """One profile and few paths: what is explained, not what is run, is the point here."""
    shape = {
        "profiles": {"define": {"nic": {"args": ["-device", "e1000"]}}},
        "paths": {"pairs": "all", "chains": "none"},
    }
    return lab.matrix(**{**shape, **changes})


def explain(lab: Lab, *args: str) -> list[dict[str, Any]]:
    done = lab.call(lab.command("explain", str(lab.root / "out"), *args, "--json"))
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_a_failing_cell_is_reduced_and_compared_with_its_neighbours(lab: Lab) -> None:
    lab.run(two_states(lab))
    (found,) = explain(lab, FAILING)
    assert found["reproduced"]
    assert found["reproducer"]["arguments"] == []
    assert found["reproducer"]["removed"] == ["-device e1000"]
    near = {n["how"]: n["verdict"] for n in found["neighbours"]}
    assert near["source to itself"] == near["destination to itself"] == "pass"
    assert near["reverse direction"] == "fail"
    assert not found["fix"]["repairable"]
    assert "-fake state=a against -fake state=b" in found["fix"]["summary"]
    assert (found["fix"]["reason"], found["fix"]["compat"]) == ("told differently", "")
    assert found["reproducer"]["build_arguments"] == [["-fake", "state=a"], ["-fake", "state=b"]]


def test_a_chain_is_reduced_to_the_build_whose_state_is_to_blame(lab: Lab) -> None:
    lab.run(two_states(lab, paths={"explicit": ["old>old>new", "old>new"]}))
    (found,) = explain(lab, "pc-q35-7.2/nic/old>old>new/snapshot/paused")
    assert found["reproducer"]["path"] == ["old", "new"]
    assert found["reproducer"]["born_on"] == "old"


def test_one_cell_stands_for_each_signature_and_the_reports_tell(lab: Lab) -> None:
    lab.run(two_states(lab))
    found = explain(lab)
    signatures = {r["signature"] for r in lab.results().values() if r["verdict"] == "fail"}
    assert {f["signature"] for f in found} == signatures
    report = json.loads((lab.root / "out" / "report.json").read_text())
    explained = [group["explanation"] for group in report["groups"]["problem"]]
    assert all(e["fix"]["summary"] for e in explained)
    assert "Explained:" in (lab.root / "out" / "report.md").read_text()
    assert "Explained: " in (lab.root / "out" / "report.html").read_text()


def test_sides_told_otherwise_may_fail_in_another_way_the_next_time(lab: Lab) -> None:
    wait = lab.root / "gone"
    builds = lab.builds({"old": ["-fake", "state=a"], "new": ["-fake", "state=b", "-fake", f"wait={wait}"]})
    lab.run(small(lab, builds=builds, policy={"deadline": {"load": 0.5}, "retries": 0}))
    wait.touch()
    (found,) = explain(lab, FAILING)
    assert found["signature"].startswith("hang")
    assert found["reproduced"]
    assert found["fix"]["reason"] == "told differently"


@pytest.mark.slow  # what was made to hang has to meet the deadline afterwards, on a busy host, too
def test_a_failure_that_does_not_come_again_is_not_explained(lab: Lab) -> None:
    """The run's own leg is not believed: the builds are the same, what made them fail is gone."""
    wait = lab.root / "gone"
    builds = lab.builds({"old": [], "new": ["-fake", f"wait={wait}"]})
    matrix = small(lab, builds=builds, policy={"deadline": {"load": 15.0}, "retries": 0})
    lab.run(matrix)
    wait.touch()
    (found,) = explain(lab, FAILING)
    assert not found["reproduced"]
    assert found["fix"]["reason"] == "not reproduced"
    assert not found["remedies"]


def test_a_cell_that_passes_is_the_users_mistake(lab: Lab) -> None:
    lab.run(two_states(lab))
    done = lab.call(lab.command("explain", str(lab.root / "out"), "pc-q35-7.2/nic/old>old/snapshot/paused"))
    assert done.returncode == 2
    assert "there is nothing to explain" in done.stderr


def test_another_build_than_the_runs_is_refused(lab: Lab) -> None:
    lab.run(two_states(lab))
    emulator = lab.root / "fake-8.0.0"
    emulator.write_text(emulator.read_text() + "\n")
    done = lab.call(lab.command("explain", str(lab.root / "out"), FAILING))
    assert done.returncode == 2
    assert "another than the run's" in done.stderr


def test_a_run_is_enough_its_matrix_may_be_gone(lab: Lab) -> None:
    matrix = two_states(lab)
    lab.run(matrix)
    matrix.unlink()
    (found,) = explain(lab, FAILING)
    assert found["reproduced"]


def test_run_explains_its_failures_when_asked(lab: Lab) -> None:
    done = lab.run(two_states(lab), "--explain")
    assert done.returncode == 1
    assert "the two sides are told different things" in done.stdout
    assert list((lab.root / "out" / "explain").glob("*.json"))


def test_each_pair_that_is_told_otherwise_is_explained(lab: Lab) -> None:
    builds = lab.builds(
        {"old": ["-fake", "state=a"], "new": ["-fake", "state=b"], "third": ["-fake", "state=c"]}
    )
    lab.run(small(lab, builds=builds, paths={"pairs": ["old>new", "old>third"]}))
    found = explain(lab)
    assert len({f["signature"] for f in found}) == 1
    told = {f["fix"]["summary"].partition("source against destination: ")[2].partition(";")[0] for f in found}
    assert told == {"-fake state=a against -fake state=b", "-fake state=a against -fake state=c"}


def test_what_the_host_ends_is_told_and_the_others_go_on(lab: Lab) -> None:
    lab.run(two_states(lab))
    full = lab.builds({"old": ["-fake", "state=a"], "new": ["-fake", "state=b", "-fake", "full=save"]})
    changed = small(lab, builds=full)
    done = lab.call(lab.command("explain", str(lab.root / "out"), "-f", str(changed)))
    assert done.returncode == 3
    last = done.stderr.splitlines()[-1]
    assert last.startswith("migmatrix: 'pc-q35-7.2/nic/new>old/snapshot/paused' is not explained: ")
    assert "-fake state=a against -fake state=b" in done.stdout
    assert "retry_scheduled" not in done.stderr

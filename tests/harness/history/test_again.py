# SPDX-License-Identifier: Apache-2.0
"""Legs done again beside the stored ones: `run --repeat`, `run --fresh`, `store verify`."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from migmatrix.harness.history import History, State
from migmatrix.harness.model import LegEvidence, Stage, StageEvidence
from migmatrix.harness.run.again import same_answer
from migmatrix.harness.store import LegStore, RunStore

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

SHAKY = "pc-q35-7.2/plain/old>turns/snapshot/paused"
SELECT = ("--select", "profile=plain", "--path", "old>turns", "--path", "old>new")


def matrix(lab: Lab, **changes: Any) -> Path:
    """Build `turns` takes each second load only."""
    turns = ["-fake", f"turns={lab.root}/turns"]
    return lab.matrix(builds=lab.builds({"old": [], "new": [], "turns": turns}), **changes)


def evidence_of(lab: Lab, out: str, path: str) -> LegEvidence:
    """The evidence of the last leg of a cell."""
    with RunStore.open(lab.root / out) as run:
        (leg,) = [b.legs[-1] for cell, b in run.judged() if cell.path == tuple(path.split(">"))]
    assert leg is not None
    return leg


def test_a_repeated_leg_that_says_another_thing_is_flaky_and_reddens_nothing(lab: Lab) -> None:
    done = lab.run(matrix(lab), *SELECT, "--repeat", "2", "--history", "db")
    results = {">".join(r["path"]): r for r in lab.results().values()}
    leg = evidence_of(lab, "out", "old>turns")

    assert done.returncode == 0, done.stderr
    assert (results["old>turns"]["verdict"], results["old>turns"]["outcome"]) == ("error", "flaky")
    assert results["old>new"]["outcome"] == "ok"
    assert results["old>turns"]["reason"].startswith("flaky: pci-config at load (")
    assert results["old>turns"]["reason"].endswith(", and done again: pass")
    assert sorted(leg.facts["answers"].values()) == [1, 2]
    assert done.stdout.splitlines()[1] == "  but: 1 cell flaky, carried by nobody"
    assert "flaky: the same legs gave two answers" in done.stdout
    for report in ("report.md", "report.html"):
        assert "1 cell flaky, carried by nobody" in (lab.root / "out" / report).read_text()
    assert History.open(lab.root / "db").states() == {
        "pc-q35-7.2/plain/old>turns/snapshot/paused": State.FLAKY,
        "pc-q35-7.2/plain/old>new/snapshot/paused": State.OK,
    }


def test_the_verdict_is_judged_again_from_the_evidence_alone(lab: Lab) -> None:
    lab.run(matrix(lab), *SELECT, "--repeat", "1")
    before = lab.results()
    again = lab.call([*lab.command()[:3], "judge", "out"])
    assert again.returncode == 0, again.stderr
    assert lab.results() == before
    assert {r["outcome"] for r in before.values()} == {"flaky", "ok"}


def test_fresh_keeps_the_stored_legs_and_compares_with_them(lab: Lab) -> None:
    first = lab.run(matrix(lab), *SELECT, out="first")
    stored = {path: path.read_bytes() for path in (lab.root / "store" / "hops").rglob("*") if path.is_file()}
    starts = lab.starts()
    fresh = lab.run(matrix(lab), *SELECT, "--fresh", out="fresh")
    did = lab.starts() - starts
    again = lab.run(matrix(lab), *SELECT, out="again")

    assert (first.returncode, fresh.returncode, again.returncode) == (0, 0, 0), fresh.stderr
    assert did == starts > 0
    assert lab.starts() == starts + did
    assert {">".join(r["path"]): r["outcome"] for r in lab.results("fresh").values()} == {
        "old>turns": "flaky",
        "old>new": "ok",
    }
    assert {path: path.read_bytes() for path in stored} == stored
    assert {r["outcome"] for r in lab.results("again").values()} == {"ok"}
    with RunStore.open(lab.root / "fresh") as run:
        assert {basis.reused for _, basis in run.judged()} == {False}


def test_a_history_tells_a_red_cell_to_be_flaky_where_the_store_was_lost(lab: Lab) -> None:
    select = ("--select", "profile=plain", "--path", "old>turns", "--path", "old>new", "--history", "db")
    codes = []
    for out in ("first", "second", "third"):
        done = lab.run(matrix(lab), *select, out=out)
        codes.append(done.returncode)
        shutil.rmtree(lab.root / "store")
    outcomes = [
        {">".join(r["path"]): r["outcome"] for r in lab.results(out).values()}
        for out in ("first", "second", "third")
    ]
    plain = lab.run(matrix(lab), *select[:-2], out="plain")
    again = lab.call([*lab.command()[:3], "judge", "second"])

    assert codes == [0, 0, 0]
    assert [said["old>turns"] for said in outcomes] == ["ok", "flaky", "ok"]
    assert plain.returncode == 1, "without a history it is red"
    assert again.returncode == 0, again.stderr
    assert (
        "flaky: by the same legs it was pass on night 1"
        in (lab.root / "second" / "results.jsonl").read_text()
    )
    states = [History.open(lab.root / "db").state(SHAKY, at) for at in range(3)]
    assert states == [State.OK, State.FLAKY, State.FLAKY]


def test_who_carries_a_flaky_cell_is_told_with_the_date(lab: Lab) -> None:
    (lab.root / "known.yaml").write_text(
        "- {id: shaky, selector: {build: turns}, signature: flaky, reason: r, link: 'https://x.org/', owner: ann,"
        " expires: 2099-01-01}\n"
    )
    done = lab.run(matrix(lab, known_issues="known.yaml"), *SELECT, "--repeat", "1", "--history", "db")
    assert done.stdout.splitlines()[1] == "  but: 1 cell flaky, carried by ann, until 2099-01-01"
    (flake,) = History.open(lab.root / "db").flakes()
    assert (flake.owner, flake.issue and flake.issue.expires) == ("ann", "2099-01-01")


def test_repeats_of_steady_cells_change_nothing(lab: Lab) -> None:
    plain = lab.run(lab.matrix(), "--select", "profile=plain", out="plain")
    starts = lab.starts()
    repeated = lab.run(lab.matrix(), "--select", "profile=plain", "--repeat", "1", out="repeated")
    assert (plain.returncode, repeated.returncode) == (0, 0)
    assert lab.starts() == 2 * starts
    for out in ("plain", "repeated"):
        assert set(lab.verdicts(out)) == {"pass"}


PASSED = LegEvidence("k", (StageEvidence(Stage.START, 0.1),), (), host="6.1")
FAILED = LegEvidence(
    "k", (StageEvidence(Stage.LOAD, 0.1, "wrong-status", "status 'paused'"),), (), host="6.1"
)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (PASSED, PASSED, True),
        (PASSED, replace(PASSED, began="2026-01-01T00:00:00"), True),
        (PASSED, FAILED, False),
        (FAILED, FAILED, True),
        (PASSED, replace(FAILED, host="6.2"), None),
        (PASSED, LegEvidence("k", (), (), infrastructure="the engine is down", host="6.1"), None),
        (FAILED, replace(FAILED, again=PASSED), False),
    ],
)
def test_answers_are_compared_where_they_can_be(
    one: LegEvidence, other: LegEvidence, *, same: bool | None
) -> None:
    assert same_answer(one, other) is same
    assert same_answer(other, one) is same


def test_a_sample_of_the_store_is_done_again(lab: Lab) -> None:
    file = matrix(lab)
    lab.run(file, *SELECT)
    legs = lab.finished_legs()
    steady = lab.call(
        lab.command(
            "store", "verify", "-f", str(file), "--select", "path=old>new", "--sample", "100", "--json"
        )
    )
    shaky = lab.call(
        lab.command("store", "verify", "-f", str(file), "--select", "path=old>turns", "--sample", "100")
    )
    few = [
        json.loads(lab.call(lab.command("store", "verify", "-f", str(file), "--select", "path=old>new", "--sample", "2", "--draw", seed,
                                        "--json")).stdout)["legs"] for seed in ("1", "1", "2")
    ]  # fmt: skip

    assert steady.returncode == 0, steady.stderr
    data = json.loads(steady.stdout)
    assert data["stored"] == data["drawn"] == len(data["legs"]) == 3
    assert {one["same"] for one in data["legs"]} == {True}
    assert shaky.returncode == 1, shaky.stdout
    assert " 1 otherwise, 0 cannot be compared" in shaky.stdout.splitlines()[0]
    assert "stored pass, now fail load pci-config" in shaky.stdout.splitlines()[1]
    assert few[0] == few[1]
    assert len(few[2]) == 2
    assert lab.finished_legs() == legs


def test_a_changed_store_is_found_out_by_a_sample(lab: Lab) -> None:
    """Evidence with its check sum repaired says what no emulator says."""
    file = lab.matrix()
    lab.run(file, "--select", "profile=plain", "--path", "old>new")
    with RunStore.open(lab.root / "out") as run:
        ((_, basis),) = run.judged()
    leg = basis.legs[-1]
    assert leg is not None
    forged = replace(leg, stages=(replace(leg.stages[0], problem="wrong-status", detail="status 'paused'"),))
    LegStore(lab.root / "store", print).put(forged, None)
    done = lab.call(
        lab.command(
            "store", "verify", "-f", str(file), "--select", "path=old>new", "--select", "profile=plain"
        )
    )
    assert done.returncode == 1, done.stdout
    assert "now pass" in done.stdout


def test_an_empty_store_is_the_users_mistake(lab: Lab) -> None:
    done = lab.call(lab.command("store", "verify", "-f", str(lab.matrix())))
    assert (done.returncode, done.stderr.splitlines()[-1]) == (
        2,
        f"migmatrix: the store '{lab.root}/store' has no leg of this plan",
    )

# SPDX-License-Identifier: Apache-2.0
"""The command `run` from end to end, on fake emulators."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from lab import MIGMATRIX, timeless, wait_until

from migmatrix.harness.plan import from_json
from migmatrix.harness.stored.reports import open_run

if TYPE_CHECKING:
    from lab import Lab


def test_a_matrix_of_pairs_and_chains_passes(lab: Lab) -> None:
    matrix = lab.matrix()

    done = lab.run(matrix)

    assert done.returncode == 0, done.stderr
    # 2 profiles x (4 pairs + 8 chains)
    assert lab.verdicts() == {"pass": 24}
    # per profile: 2 fresh starts, 4 second builds, 8 third builds
    assert lab.starts() == 2 * (2 + 4 + 8)
    assert {p.name for p in (lab.root / "out").iterdir()} >= {
        "results.jsonl",
        "run.db",
        "junit.xml",
        "report.html",
        "report.json",
        "report.md",
    }


def test_running_again_does_no_leg_and_gives_the_same_results(lab: Lab) -> None:
    matrix = lab.matrix(paths={"pairs": "all"})
    lab.run(matrix)
    first, starts = lab.results(), lab.starts()

    done = lab.run(matrix)

    assert done.returncode == 0
    assert lab.starts() == starts
    assert lab.results() == first
    assert f"legs     0 run, {2 * 6} reused" in done.stdout


def test_a_refused_stream_is_a_regression_with_its_cause(lab: Lab) -> None:
    # the AER story: `aer` writes a register that only another `aer` accepts
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds)

    done = lab.run(matrix, "--select", "profile=nic", "--select", "path=aer>old")

    assert done.returncode == 1
    (result,) = lab.results().values()
    assert result["verdict"] == "fail"
    assert result["outcome"] == "regression"
    assert (result["hop"], result["stage"]) == (1, "load")
    assert result["cause"]["kind"] == "pci-config"
    assert result["cause"]["device"] == "0000:00:02.0/e1000e"
    assert result["cause"]["field"] == "0x10a"
    assert result["signature"] == "pci-config e1000e 0x10a"
    assert "do not ship" in done.stdout


def test_a_chain_stops_at_its_first_failure_and_runs_on_its_own_evidence(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds)

    lab.run(matrix, "--select", "profile=nic", "--select", "path=aer>aer>old,aer>old>aer")

    legs = {"/".join(r["path"]): r["hop"] for r in lab.results().values()}
    assert legs == {"aer/aer/old": 2, "aer/old/aer": 1}


def test_a_build_that_cannot_start_a_profile_is_unsupported_and_never_migrated(lab: Lab) -> None:
    profiles = {"define": {"gone": {"args": ["-device", "picky"]}}}
    matrix = lab.matrix(profiles=profiles)

    done = lab.run(matrix)

    assert done.returncode == 3  # no cell between two builds ran
    assert done.stdout.startswith("no answer: no cell between two different builds ran")
    # 4 pairs and 8 chains, of which one each stays on the build that has the device
    assert lab.verdicts() == {"pass": 2, "unsupported": 10}
    assert lab.starts() == 1 + 1 + 2  # a start on each build, two loads on the one that can
    reasons = {r["reason"] for r in lab.results().values() if r["verdict"] == "unsupported"}
    assert len(reasons) == 1
    assert "needs what is not here" in reasons.pop()


def test_a_source_that_refuses_is_blocked(lab: Lab) -> None:
    why = "State blocked by non-migratable device '0000:00:05.0/nvme'"
    matrix = lab.matrix(builds=lab.builds({"old": ["-fake", f"block={why}"], "new": []}))

    lab.run(matrix, "--select", "path=old>new", "--select", "profile=nic")

    (result,) = lab.results().values()
    assert result["verdict"] == "blocked"
    assert why in result["cause"]["message"]


def test_a_known_issue_is_known_and_one_that_passes_is_fixed(lab: Lab) -> None:
    (lab.root / "known.yaml").write_text(
        json.dumps(
            [
                {
                    "id": "AER",
                    "selector": ["path=aer>old"],
                    "signature": "pci-config e1000e 0x10a",
                    "reason": "AER mask",
                    "link": "https://example.org/1",
                    "owner": "us",
                    "expires": "2999-01-01",
                },
                {
                    "id": "STALE",
                    "selector": ["path=old>old"],
                    "signature": "pci-config e1000e 0x10a",
                    "reason": "was fixed",
                    "link": "https://example.org/2",
                    "owner": "us",
                    "expires": "2999-01-01",
                },
            ]
        ).replace('"2999-01-01"', "2999-01-01")
    )
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds, known_issues="known.yaml", paths={"pairs": ["aer>old", "old>old"]})

    done = lab.run(matrix)

    assert done.returncode == 0, done.stderr
    outcomes = {">".join(r["path"]): r["outcome"] for r in lab.results().values()}
    assert outcomes == {"aer>old": "known", "old>old": "fixed"}


def test_judging_a_stored_run_again_gives_the_same(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds, paths={"pairs": "all"})
    first = lab.run(matrix)
    before = lab.results()

    again = lab.call([*lab.command()[:3], "judge", str(lab.root / "out")])

    assert again.returncode == first.returncode == 1
    assert lab.results() == before


def test_judge_tells_of_what_changed_and_of_no_other_seconds(lab: Lab) -> None:
    lab.run(lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}), paths={"pairs": "all"}))
    with open_run(lab.root / "out") as run:
        stored = list(run.results())
        failed = next(result for result in stored if result.signature)
        run.replace_results(
            [
                replace(result, seconds=9.5, signature="other" if result is failed else result.signature)
                for result in stored
            ]
        )

    again = lab.call([*MIGMATRIX, "judge", "out"])

    assert again.stderr == f"{failed.cell.id}: regression -> regression, {failed.signature}\n"


def test_the_module_of_the_command_line_runs_it(lab: Lab) -> None:
    done = lab.call([sys.executable, "-m", "migmatrix.harness.cli", "--version"])
    assert done.stdout.startswith("migmatrix ")


def test_show_prints_the_evidence_of_a_cell(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    lab.run(lab.matrix(builds=builds), "--select", "profile=nic")

    shown = lab.call([*lab.command()[:3], "show", str(lab.root / "out"), "nic/aer>old/snapshot"])

    assert shown.returncode == 0, shown.stderr
    assert "i=0x10a read: 40 device: 0" in shown.stdout
    assert "migrate-incoming" in shown.stdout


@pytest.mark.slow
def test_shards_together_are_the_whole_run(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, out="whole")

    lab.run(matrix, "--shard", "1/2", out="one")
    lab.run(matrix, "--shard", "2/2", out="two")

    assert timeless(lab.results("one") | lab.results("two")) == timeless(lab.results("whole"))
    assert not lab.results("one").keys() & lab.results("two").keys()


@pytest.mark.slow
def test_merged_shards_are_the_run_that_was_not_cut(lab: Lab) -> None:
    matrix = lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}))
    whole = lab.run(matrix, out="whole")
    for shard in ("1/2", "2/2"):
        lab.run(matrix, "--shard", shard, out=shard[0])

    merged = lab.call([*MIGMATRIX, "merge", "2", "1", "--out", "merged"])

    assert merged.returncode == whole.returncode == 1, merged.stderr
    assert timeless(lab.results("merged")) == timeless(lab.results("whole"))
    plans = [from_json(json.loads((lab.root / out / "plan.json").read_text())) for out in ("merged", "whole")]
    assert sorted(plans[0].cells) == sorted(plans[1].cells)
    assert [plans[0].legs_of(cell) for cell in plans[1].cells] == list(plans[1].cell_legs.values())
    assert (plans[0].legs.keys(), plans[0].dropped) == (plans[1].legs.keys(), plans[1].dropped)
    assert _summary(merged.stdout) == _summary(whole.stdout)
    one, other = (json.loads((lab.root / out / "report.json").read_text()) for out in ("merged", "whole"))
    assert one["dropped"] == other["dropped"]
    assert {p.name for p in (lab.root / "merged" / "evidence").iterdir()} == {
        p.name for p in (lab.root / "whole" / "evidence").iterdir()
    }
    assert lab.call([*MIGMATRIX, "judge", "merged"]).returncode == 1


def _summary(text: str) -> list[str]:
    """The lines that do not tell how long it took, or where; without numbers of the plan, which a merged run has none of."""
    return [
        re.sub(r"#\d+ ", "", line)
        for line in text.splitlines()
        if line[:11].strip() not in ("legs", "report")
    ]


@pytest.mark.slow
def test_a_shard_that_is_missing_leaves_the_whole_incomplete(lab: Lab) -> None:
    lab.run(lab.matrix(), "--shard", "1/2", out="one")

    merged = lab.call([*MIGMATRIX, "merge", "one", "--out", "merged"])

    assert merged.returncode == 3
    assert "of the plan not run" in merged.stdout
    assert "but: without shard 2/2" in merged.stdout


@pytest.mark.slow
def test_what_is_no_shard_of_one_run_is_not_merged(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, out="whole")
    lab.run(matrix, "--shard", "1/2", out="one")
    lab.run(matrix, "--shard", "2/2", "--select", "profile=nic", out="other")
    lab.run(matrix, "--shard", "1/3", out="third")

    for runs, problem in {
        ("one", "whole"): "'whole' is not the run of a shard",
        ("one", "other"): "'other' differs from 'one' in its selection",
        ("one", "third"): "'third' is shard 1/3, 'one' is 1/2",
        ("one", "one"): "'one' and 'one' are both shard 1/2",
        ("nowhere",): "'nowhere' holds no run",
    }.items():
        done = lab.call([*MIGMATRIX, "merge", *runs, "--out", "merged"])
        assert (done.returncode, done.stderr) == (2, f"migmatrix: {problem}\n")
        assert not (lab.root / "merged").exists()


@pytest.mark.slow
def test_another_plan_does_not_overwrite_a_run(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix)
    before = lab.results()

    done = lab.run(matrix, "--select", "profile=nic")

    assert done.returncode == 2
    assert (
        done.stderr.strip().splitlines()[-1].endswith("holds the run of another plan; choose another --out")
    )
    assert lab.results() == before


@pytest.mark.parametrize("mode", ["unix", "exec"])
def test_live_chains_that_begin_alike_do_not_meet(lab: Lab, mode: str) -> None:
    """Both do the first migration at the same time, over files of one directory."""
    go = lab.root / "go"
    builds = lab.builds({"old": [], "waits": ["-fake", f"wait={go}"], "a": [], "b": ["-fake", "is=b"]})
    matrix = lab.matrix(
        builds=builds,
        profiles={"define": {"plain": {"args": []}}},
        modes=[mode],
        paths={"pairs": "none", "explicit": ["old>waits>a", "old>waits>b"]},
    )
    run = lab.start(lab.run_arguments(matrix, "-j", "4"))

    wait_until(lambda: len(list(lab.root.glob("migmatrix-*/*/link/*"))) == 2 or run.poll() is not None)
    go.touch()

    assert run.wait(timeout=120) == 0, (lab.root / "log").read_text()
    assert lab.verdicts() == {"pass": 2}


def test_a_quiet_run_prints_the_summary_only(lab: Lab) -> None:
    matrix = lab.matrix(builds=lab.builds({"old": [], "aer": ["-fake", "state=aer"]}), paths={"pairs": "all"})
    loud, quiet = lab.run(matrix), lab.run(matrix, "--quiet", out="quiet")
    assert "plan: " in loud.stderr
    assert (quiet.returncode, quiet.stderr) == (1, "")
    assert quiet.stdout.startswith("do not ship: ")

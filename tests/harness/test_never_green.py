# SPDX-License-Identifier: Apache-2.0
"""`run`, `report` and `merge` are never green for nothing, from end to end on fake emulators."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lab import MIGMATRIX

if TYPE_CHECKING:
    from lab import Lab

PROFILES = {
    "define": {
        "plain": {"args": []},
        "one": {"args": ["-device", "broken"]},
        "two": {"args": ["-device", "broken", "-m", "64"]},
    }
}


def test_all_profiles_that_start_nowhere_are_told_at_once_each_build_with_its_reason(lab: Lab) -> None:
    done = lab.run(lab.matrix(profiles=PROFILES, paths={"pairs": "all"}))
    assert done.returncode == 2
    told = [line for line in done.stderr.splitlines() if "no build accepts profile" in line]
    assert [line.partition("profile ")[2].partition(":")[0] for line in told] == ["'one'", "'two'"]
    assert all(": old, new: " in line and "lab.yaml:" in line for line in told)


def test_the_policy_skips_them_and_counts_them(lab: Lab) -> None:
    policy = {"unusable": "skip", "retries": 0}
    done = lab.run(lab.matrix(profiles=PROFILES, paths={"pairs": "all"}, policy=policy))
    assert done.returncode == 0, done.stderr
    assert lab.verdicts() == {"pass": 4, "unsupported": 8}
    assert "not tested" in done.stdout
    assert "unsupported: build 'old' cannot start this" in done.stdout


def test_a_demand_of_the_policy_that_is_not_met_is_red(lab: Lab) -> None:
    profiles = {"define": {"plain": {"args": []}, "gone": {"args": ["-device", "picky"]}}}
    demands = [{"select": {"profile": "gone"}}, {"select": "profile=plain"}]
    matrix = lab.matrix(
        profiles=profiles, paths={"pairs": "all"}, policy={"must_pass": demands, "retries": 0}
    )
    done = lab.run(matrix)
    assert done.returncode == 1
    assert done.stdout.startswith("do not ship: 1 demand of the policy not met")
    assert "but: must pass: profile=gone: 1 of 4 cells passed, all must" in done.stdout


def test_a_selection_is_said_as_what_it_is_and_a_word_that_is_none_is_refused(lab: Lab) -> None:
    done = lab.run(lab.matrix(paths={"pairs": "all"}), "--select", "profile=nic")
    assert done.returncode == 0
    assert done.stdout.startswith("the selection is clean: nothing unexpected in 4 cells")
    refused = lab.call([*MIGMATRIX, "report", "out", "--select", "verdict=passs"])
    assert refused.returncode == 2
    assert "unknown verdict 'passs': did you mean 'pass'?" in refused.stderr


def test_an_empty_shard_is_an_empty_run_and_can_be_merged(lab: Lab) -> None:
    matrix = lab.matrix(paths={"pairs": ["old>new"]})
    names = []
    for index in range(1, 4):
        done = lab.run(matrix, "--select", "profile=nic", "--shard", f"{index}/3", out=str(index))
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith(f"shard {index}/3 is clean")
        names.append(str(index))
    merged = lab.call([*MIGMATRIX, "merge", *names, "--out", "merged"])
    assert merged.returncode == 0, merged.stderr
    assert "1 of 1: 1 pass" in merged.stdout

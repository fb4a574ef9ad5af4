# SPDX-License-Identifier: Apache-2.0
"""`migmatrix history add` and `run --history`, from the command line, on fake emulators."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.history import History, State
from migmatrix.harness.history.merkle import root_of
from migmatrix.harness.store import RunStore

if TYPE_CHECKING:
    import subprocess

    from lab import Lab

SELECT = ("--select", "profile=plain")


def call(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.call([*lab.command()[:3], *arguments])


def test_a_run_becomes_a_night(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds)
    done = lab.run(matrix, "--history", str(lab.root / "db"), "--every", "24h")
    (night,) = History.open(lab.root / "db").nights

    assert done.returncode == 1, done.stderr
    assert (
        f"night 1 of {lab.root}/db/history.jsonl: {len(night.cells)} cells, root {night.root[:16]}"
        in done.stderr
    )
    results = lab.results()
    assert {c.id: (c.verdict, c.outcome, c.signature, c.hop) for c in night.cells} == {
        id_: (r["verdict"], r["outcome"], r["signature"], r["hop"]) for id_, r in results.items()
    }
    with RunStore.open(lab.root / "out") as run:
        assert night.root == root_of(run.results())
        keys = {result.cell.id: key[:10] for result, key, _ in run.keyed()}
    assert {c.id: c.key for c in night.cells} == keys
    assert len(set(keys.values())) == len(keys)
    assert {build.id for build in night.builds} == {"old", "aer"}
    assert night.counts.run == night.counts.judged == night.counts.planned == len(results)
    assert (night.exit_code, night.matrix, night.selection) == (1, "lab", ())
    assert night.every is not None
    assert night.every.total_seconds() == 86_400
    assert [(s.signature, s.cells) for s in night.sightings] == [
        ("pci-config e1000e 0x10a", sum(r["verdict"] == "fail" for r in results.values()))
    ]
    assert set(night.environment.patterns) <= set("0123456789abcdef")
    assert len(night.environment.patterns) == 64


def test_a_failed_cell_and_a_passed_one_have_the_same_key(lab: Lab) -> None:
    """Though the failed one never came to its last leg."""
    builds = lab.builds({"old": ["-fake", "crash=save"], "new": []})
    first = lab.run(lab.matrix(builds=builds), *SELECT, "--path", "old>new>new", "--history", "db", out="bad")
    (bad,) = History.open(lab.root / "db").nights[-1].cells
    shutil.rmtree(lab.root / "store")
    with RunStore.open(lab.root / "bad") as run:
        ((_, basis),) = run.judged()
    assert first.returncode == 1, first.stderr
    assert basis.legs[-1] is None
    assert basis.key.startswith(bad.key)
    assert len(bad.key) == 10


def test_the_second_night_is_reused_and_the_same_run_is_one_line(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, *SELECT, out="one")
    lab.run(matrix, *SELECT, out="two")
    said = [call(lab, "history", "add", run, "--db", "db").stdout for run in ("one", "two", "one")]

    history = History.open(lab.root / "db")
    assert [n.number for n in history.nights] == [1, 2]
    assert [(n.counts.run, n.counts.reused) for n in history.nights] == [
        (len(history.cells), 0),
        (0, len(history.cells)),
    ]
    assert said[0].startswith("night 1 of db/history.jsonl: ")
    assert said[2] == "this run is night 1 of db/history.jsonl already: nothing added\n"
    assert set(history.states().values()) == {State.OK}
    assert (lab.root / "db" / "history.db").is_file()


def test_a_run_that_was_judged_otherwise_since_is_told(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    lab.run(lab.matrix(builds=builds), "--select", "profile=nic", "--history", "db")
    (lab.root / "known.yaml").write_text(
        "- {id: aer, selector: {profile: nic}, signature: pci-config*, reason: r, link: 'https://x.org/', owner: ann,"
        " expires: 2099-01-01}\n"
    )
    judged = call(lab, "judge", "out", "--known-issues", "known.yaml")
    assert judged.returncode == 0, judged.stderr
    again = call(lab, "history", "add", "out", "--db", "db", "--json")
    assert json.loads(again.stdout)["new"] is False
    plain = call(lab, "history", "add", "out", "--db", "db")
    assert (
        plain.stdout
        == "this run is night 1 of db/history.jsonl already, and was judged otherwise since: nothing added\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--history", "db", "--shard", "1/2"), "--history is for whole runs: merge the shards"),
        (("--history", "db", "--every", "1 day"), "--every '1 day' is no time: write 24h, 90m or 7d"),
        (("--history", "broken.jsonl"), "broken.jsonl:1: this line of the history is damaged"),
    ],
)
def test_mistakes_are_told_before_the_run(lab: Lab, arguments: tuple[str, ...], message: str) -> None:
    (lab.root / "broken.jsonl").write_text("{}\n")
    done = lab.run(lab.matrix(), *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.splitlines()[-1]
    assert not (lab.root / "out").exists()


def test_shards_and_other_matrices_are_refused(lab: Lab) -> None:
    matrix = lab.matrix()
    lab.run(matrix, "--shard", "1/2", out="part")
    lab.run(matrix, *SELECT, "--history", "db", out="one")
    matrix.rename(lab.root / "other.yaml")
    lab.run(lab.root / "other.yaml", *SELECT, out="other")
    part, other = (call(lab, "history", "add", run, "--db", "db") for run in ("part", "other"))
    assert (part.returncode, other.returncode) == (2, 2)
    assert (
        part.stderr
        == "migmatrix: this is shard 1/2 of a run: merge the shards, and add the run that they make\n"
    )
    assert "is the history of matrix 'lab', the run is of 'other'" in other.stderr
    assert len(History.open(lab.root / "db").nights) == 1


def test_shards_that_were_merged_are_a_night_with_keys_and_reuse(lab: Lab) -> None:
    matrix = lab.matrix()
    for shard in ("1", "2"):
        lab.run(matrix, *SELECT, "--shard", f"{shard}/2", out=f"shard{shard}")
    call(lab, "merge", "shard1", "shard2", "--out", "whole")
    assert call(lab, "history", "add", "whole", "--db", "db").returncode == 0
    (night,) = History.open(lab.root / "db").nights
    assert all(len(c.key) == 10 and c.reused is not None for c in night.cells)
    assert night.counts.planned == len(night.cells) > 2

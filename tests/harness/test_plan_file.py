# SPDX-License-Identifier: Apache-2.0
"""`plan --json` and `run --plan`: a plan is run as it was printed, or refused by what is different."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from lab import timeless

from migmatrix.harness.errors import UserError
from migmatrix.harness.run.pipeline import RunOptions
from migmatrix.harness.run.planfile import prepare_plan_file

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from lab import Lab


def planned(lab: Lab, matrix: Path, *words: str) -> Path:
    """A plan of a matrix in a file."""
    done = lab.call(lab.command("plan", "-f", str(matrix), "--json", *words))
    assert done.returncode == 0, done.stderr
    path = lab.root / "plan.json"
    path.write_text(done.stdout)
    return path


def run_plan(lab: Lab, plan: Path, *words: str, out: str = "out") -> subprocess.CompletedProcess[str]:
    return lab.call(lab.command("run", "--plan", str(plan), "--out", str(lab.root / out), *words))


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a user's mistake is told by; the others are of builds that are made ready."""
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    (told,) = [line for line in done.stderr.splitlines() if not line.startswith(("old: ", "new: "))]
    return told


def test_a_plan_is_run_as_the_matrix_that_it_was_made_of(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds, paths={"pairs": "all"})
    whole = lab.run(matrix, out="whole")
    plan = planned(lab, matrix)

    done = run_plan(lab, plan)

    assert done.returncode == whole.returncode == 1, done.stderr
    assert timeless(lab.results()) == timeless(lab.results("whole"))
    assert "0 run, " in done.stdout, "the same legs by the same keys"
    assert json.loads((lab.root / "out" / "plan.json").read_text()) == json.loads(plan.read_text())


def test_a_shard_selection_and_sample_stay_those_of_the_plan(lab: Lab) -> None:
    matrix = lab.matrix()
    words = ["--select", "profile=nic", "--shard", "1/2", "--seed", "7"]
    lab.run(matrix, *words, out="whole")

    run_plan(lab, planned(lab, matrix, *words))

    reports = [json.loads((lab.root / out / "report.json").read_text()) for out in ("out", "whole")]
    names = ("seed", "shard", "selection", "dropped", "cells_planned")
    one, other = ({name: report[name] for name in names if name in report} for report in reports)
    assert one == other
    assert "dropped" in one
    assert lab.results().keys() == lab.results("whole").keys()


def test_a_plan_goes_to_another_place_where_the_matrix_has_another_name(lab: Lab) -> None:
    matrix = lab.matrix()
    plan = planned(lab, matrix, "--select", "path=old>new")
    there = lab.root / "there.yaml"
    matrix.rename(there)

    assert refused(run_plan(lab, plan)).endswith("which the plan names as its matrix: name it with -f")
    assert run_plan(lab, plan, "-f", str(there)).returncode == 0
    assert {tuple(r["path"]) for r in lab.results().values()} == {("old", "new")}


def test_a_build_with_other_content_is_refused_by_name(lab: Lab) -> None:
    plan = planned(lab, lab.matrix())
    with (lab.root / "fake-8.0.0").open("a") as file:
        file.write("\n# another build\n")

    told = refused(run_plan(lab, plan))

    assert told.startswith("migmatrix: build 'new' is 8.0.0 with digest ")
    assert "another than the plan's 8.0.0 with " in told
    assert not (lab.root / "out").exists()


def _without_build(lab: Lab) -> Path:
    return lab.matrix(builds=lab.builds({"old": []}))


def _other_arguments(lab: Lab) -> Path:
    return lab.matrix(
        profiles={"define": {"plain": {"args": []}, "nic": {"args": ["-device", "virtio-net-pci"]}}}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without_build, "has no build 'new', which the plan "),
        (_other_arguments, "profile 'nic' of "),
        (lambda lab: lab.matrix(defaults={"args": ["-m", "64"]}), "'default_args' of "),
        (lambda lab: lab.matrix(modes=[{"name": "snapshot", "parameters": {"max-bandwidth": 1}}]), "mode"),
    ],
)
def test_a_matrix_that_means_something_else_is_refused(
    lab: Lab, change: Callable[[Lab], Path], message: str
) -> None:
    plan = planned(lab, lab.matrix())
    change(lab)
    options = RunOptions(file=plan, store=lab.root / "store")
    with pytest.raises(UserError, match=re.escape(message)):
        prepare_plan_file(plan, options)


def _edit(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda data: {**data, **changes}


def _another_cell(data: dict[str, Any]) -> Any:
    data["cells"][0][2] = ["new", "old"]
    return data


def _another_argument(data: dict[str, Any]) -> Any:
    data["arguments"][0] = ["-device", "e1000e"]
    return data


def _lost_leg(data: dict[str, Any]) -> Any:
    del data["hops"][-1]
    return data


DAMAGED: list[tuple[Callable[[dict[str, Any]], Any], str]] = [
    (_edit(format=99), "is damaged: a plan of format 99, not 1"),
    (_edit(digest="0"), "is damaged: its cells do not have its digest"),
    (_edit(cells=7), "is damaged: 'int' object is not iterable"),
    (_edit(origin={}), "is damaged: origin.file: field required"),
    (_edit(origin=None), "is damaged: origin: "),
    (_another_cell, "is damaged: "),
    (_another_argument, "is damaged: leg "),
    (_lost_leg, "is damaged: no list index out of range"),
    (lambda _: [1], "is no plan that `migmatrix plan --json` printed"),
    (lambda _: {"cells": []}, "is no plan that `migmatrix plan --json` printed"),
]


def test_a_damaged_plan_is_one_line(lab: Lab) -> None:
    plan = planned(lab, lab.matrix())
    whole = plan.read_text()
    options = RunOptions(file=plan, store=lab.root / "store")
    for change, message in DAMAGED:
        plan.write_text(json.dumps(change(json.loads(whole))))
        with pytest.raises(UserError, match=re.escape(message)) as told:
            prepare_plan_file(plan, options)
        assert "\n" not in str(told.value)


def test_a_file_that_is_no_json_or_not_there(lab: Lab) -> None:
    matrix = lab.matrix()
    assert "is no plan: it is no JSON" in refused(run_plan(lab, matrix.with_name("fake-8.0.0")))
    assert "nonesuch': No such file or directory" in refused(run_plan(lab, matrix.with_name("nonesuch")))


def test_a_plan_is_not_narrowed(lab: Lab) -> None:
    plan = planned(lab, lab.matrix())
    assert "give --plan without --select" in refused(run_plan(lab, plan, "--select", "profile=nic"))


@pytest.mark.slow
def test_a_failure_names_the_plans_number_of_its_cell_and_show_finds_it(lab: Lab) -> None:
    builds = lab.builds({"old": [], "aer": ["-fake", "state=aer"]})
    matrix = lab.matrix(builds=builds, paths={"pairs": ["old>old", "aer>old"]})
    listed = lab.call(lab.command("plan", "-f", str(matrix), "-v", "--select", "profile=nic")).stdout
    number = next(line.split()[0] for line in listed.splitlines() if line.endswith(" aer>old"))
    cell = "pc-q35-7.2/nic/aer>old/snapshot/paused"

    done = lab.run(matrix, "--select", "profile=nic")

    assert f"FAIL #{number} {cell}" in done.stderr
    assert f"smallest: #{number} {cell}" in done.stdout
    report = lab.call([*lab.command()[:3], "report", "out"]).stdout
    assert f"smallest: #{number} {cell}" in report
    for wanted in (f"#{number}", number):
        shown = lab.call([*lab.command()[:3], "show", "out", wanted])
        assert shown.stdout.startswith(f"{cell}\n"), shown.stderr
    missing = lab.call([*lab.command()[:3], "show", "out", "#999"])
    assert (missing.returncode, missing.stderr) == (2, "migmatrix: no cell '#999' in 'out'\n")

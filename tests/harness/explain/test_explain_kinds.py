# SPDX-License-Identifier: Apache-2.0
"""Which failing cells are one problem: classes of builds, directions, chains whose steps pass, saves."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.contrast import Stored
from migmatrix.harness.explain.kinds import problems
from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

PASS, FAIL = Verdict.PASS, Verdict.FAIL


def result(path: str, verdict: Verdict, hop: int | None = None, stage: Stage = Stage.LOAD) -> CellResult:
    cell = Cell("pc-q35-7.2", "port", tuple(path.split(">")))
    if verdict is PASS:
        return CellResult(cell, verdict, Outcome.OK)
    cause = Cause("pci-config", "port", "0x10a", "bad")
    return CellResult(cell, verdict, Outcome.REGRESSION, hop or 1, stage, cause, "pci-config port 0x10a")


def run(verdicts: Mapping[str, Verdict]) -> list[CellResult]:
    return [result(path, verdict, path.count(">")) for path, verdict in verdicts.items()]


def found(results: list[CellResult]) -> list[tuple[str, str]]:
    return [(p.kind, ">".join(p.representative.cell.path)) for p in problems(results)]


# `bad` is the one build with another register; a, b and c are alike.
PAIRS = {
    f"{x}>{y}": FAIL if (x == "bad") != (y == "bad") else PASS
    for x in ("a", "b", "bad")
    for y in ("a", "b", "bad")
}


def test_directions_are_two_problems_and_like_builds_one() -> None:
    assert found(run(PAIRS)) == [("pair: a, b > bad", "a>bad"), ("pair: bad > a, b", "bad>a")]


def test_two_builds_that_fail_with_each_other_are_never_one_class() -> None:
    assert [kind for kind, _ in found(run({"a>b": FAIL, "b>a": FAIL}))] == ["pair: a > b", "pair: b > a"]


def test_a_pair_that_was_not_run_tells_nothing() -> None:
    sparse = {path: verdict for path, verdict in PAIRS.items() if path not in ("b>a", "bad>b")}
    assert [kind for kind, _ in found(run(sparse))] == ["pair: a, b > bad", "pair: bad > a"]


def test_a_chain_that_one_step_explains_is_no_problem_of_its_own() -> None:
    assert len(found(run({**PAIRS, "a>b>bad": FAIL, "bad>bad>a": FAIL}))) == 2


def test_chains_that_repeat_a_pair_are_counted_with_it() -> None:
    longer = {**PAIRS, "a>b>bad": FAIL, "b>a>bad": FAIL, "bad>bad>a": FAIL}
    counts = [(len(problem.results), problem.repeats) for problem in problems(run(longer))]
    assert counts == [(2, 2), (2, 1)]


def test_a_chain_whose_steps_pass_is_a_problem_of_its_own() -> None:
    pairs = {"new>mid": PASS, "mid>old": PASS, "new>old": FAIL, "old>new": PASS}
    kinds = found(run({**pairs, "new>mid>old": FAIL}))
    assert kinds == [
        ("pair: new > old", "new>old"),
        ("chain whose steps do not fail so alone: new > old", "new>mid>old"),
    ]


def test_of_a_chain_only_the_builds_up_to_the_failure_count() -> None:
    late = result("new>mid>old>mid", FAIL, hop=2)
    pairs = run({"new>mid": PASS, "mid>old": PASS, "old>mid": PASS})
    ((kind, _),) = found([*pairs, late])
    assert kind.endswith(": new > old")


def test_what_fails_while_saving_is_the_sources_alone() -> None:
    saves = [result("a>b", FAIL, stage=Stage.SAVE), result("b>a", FAIL, stage=Stage.SAVE)]
    assert found(saves) == [("save: fail", "a>b")]


def test_chains_alone_are_explained_too() -> None:
    """A selection may leave out the pair that would explain them; the rest of the run tells."""
    everything = run({**PAIRS, "a>b>bad": FAIL})
    (problem,) = problems([r for r in everything if len(r.cell.path) == 3], everything)
    assert problem.representative.cell.path == ("a", "b", "bad")


def test_on_which_machines_it_is_the_same() -> None:
    here = result("a>bad", FAIL)
    there = {m: replace(here, cell=replace(here.cell, machine=m)) for m in ("pc-q35-8.0", "pc-q35-8.2")}
    every = [here, *there.values()]
    stored = Stored({r.cell: r for r in every}, {})
    assert stored.alike(here) == "the same on all 3 machines of the run"
    passing = replace(result("a>bad", PASS), cell=there["pc-q35-8.2"].cell)
    unknown = replace(passing, cell=replace(here.cell, machine="pc-q35-9.0"), verdict=Verdict.UNSUPPORTED)
    stored = Stored({r.cell: r for r in (here, there["pc-q35-8.0"], passing, unknown)}, {})
    assert stored.alike(here) == "the same on 2 of 3 machines of the run, not on pc-q35-8.2 (pass)"
    assert Stored({here.cell: here, unknown.cell: unknown}, {}).alike(here) == ""


def test_what_the_sides_are_told_otherwise_is_a_problem_of_its_own() -> None:
    modes = ("compression", "channels", "plain", "other")
    results = [replace(r, cell=replace(r.cell, mode=mode)) for mode in modes for r in run({"a>b": FAIL})]
    told = {"compression": "zlib against none", "channels": "4 against 2"}
    kinds = {p.kind: len(p.results) for p in problems(results, apart=lambda r: told.get(r.cell.mode, ""))}
    assert kinds == {
        "pair: a > b, told zlib against none": 1,
        "pair: a > b, told 4 against 2": 1,
        "pair: a > b": 2,
    }

# SPDX-License-Identifier: Apache-2.0
"""Neighbours of a failing cell: which they are, and that a stored run is asked before anything is run."""

from __future__ import annotations

import asyncio
from itertools import product

from migmatrix.harness.builds import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.explain.contrast import Stored, contrast
from migmatrix.harness.explain.records import Near
from migmatrix.harness.model import Cell, CellResult, Guest, Mode, Outcome, Verdict
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.records import Side, Step, Trial
from migmatrix.harness.trials.runner import TrialRunner

MACHINES = ("pc-q35-5.2", "pc-q35-7.2", "pc-q35-8.0", "pc-i440fx-7.2")


def build(id_: str, version: str) -> PreparedBuild:
    facts = BuildFacts(id_, version, "", tuple(MachineType(m) for m in MACHINES), (), ())
    return PreparedBuild(id_, "binary", "test", facts, "/nowhere")


BUILDS = {b.id: b for b in (build("c", "10.0"), build("a", "7.2"), build("b", "8.0"))}


def stored(*paths: tuple[str, ...], failing: tuple[str, str] = ("a", "b")) -> Stored:
    """A run in which only `failing` on machines but 5.2 fails."""
    results = {}
    for machine, path in product(MACHINES, paths):
        bad = path[-2:] == failing and machine != "pc-q35-5.2"
        verdict = Verdict.FAIL if bad else Verdict.PASS
        cell = Cell(machine, "p", path)
        results[cell] = CellResult(cell, verdict, Outcome.OK, signature="why" if bad else None)
    return Stored(results, BUILDS)


PAIRS = tuple(product("abc", repeat=2))


def near(run: Stored, *path: str, saving: bool = False) -> list[tuple[Near, Side | None, str, str, bool]]:
    async def ask() -> list[tuple[Near, Side | None, str, str, bool]]:
        async with opened(None, Settings(1, {}), print) as where:
            trial = Trial(
                "pc-q35-7.2", (), tuple(map(Step, path)), Mode("snapshot"), Guest("paused", "paused")
            )
            runner = TrialRunner(BUILDS, where, print)
            cell = Cell("pc-q35-7.2", "p", path)
            found = await contrast(runner, run, cell, trial, saving=saving)
            assert not runner.journal, "the run has every cell"
            return [(n.kind, n.side, n.cell, n.verdict, n.stored) for n in found]

    return asyncio.run(ask())


def test_a_pair_has_the_machines_the_ways_and_the_builds_next_to_it() -> None:
    found = near(stored(*PAIRS), "a", "b")
    assert [(kind, side, cell.replace("/p/", " ").split("/")[0], verdict) for kind, side, cell, verdict, _ in found] == [
        (Near.OTHER_MACHINE, None, "pc-q35-8.0 a>b", "fail"),
        (Near.OTHER_MACHINE, None, "pc-q35-5.2 a>b", "pass"),
        (Near.REVERSE, None, "pc-q35-7.2 b>a", "pass"),
        (Near.TO_ITSELF, Side.SOURCE, "pc-q35-7.2 a>a", "pass"),
        (Near.TO_ITSELF, Side.DESTINATION, "pc-q35-7.2 b>b", "pass"),
        (Near.ADJACENT, Side.DESTINATION, "pc-q35-7.2 a>c", "pass"),
    ]  # fmt: skip
    assert all(stored for *_, stored in found)


def test_a_chain_is_also_seen_without_each_of_its_builds() -> None:
    chains = tuple(product("abc", repeat=3))
    found = near(stored(*PAIRS, *chains), "c", "a", "b")
    shorter = [cell.split("/")[2] for kind, _, cell, _, _ in found if kind is Near.WITHOUT_BUILD]
    assert shorter == ["a>b", "c>b", "c>a"]
    adjacent = [(side, cell.split("/")[2]) for kind, side, cell, _, _ in found if kind is Near.ADJACENT]
    assert adjacent == [(Side.DESTINATION, "c>a>c")], "b is where it goes, a is where it comes from"


def test_a_failure_while_saving_is_compared_with_every_builds_save() -> None:
    found = near(stored(*PAIRS), "a", "b", saving=True)
    saves = [cell.split("/")[2] for kind, _, cell, _, _ in found if kind is Near.SAVE]
    assert saves == ["a>a", "b>b", "c>c"]


def test_on_how_many_machines_of_the_run_it_is_the_same() -> None:
    run = stored(*PAIRS)
    failing = run.results[Cell("pc-q35-7.2", "p", ("a", "b"))]
    assert run.alike(failing) == "the same on 3 of 4 machines of the run, not on pc-q35-5.2 (pass)"
    alone = Stored({failing.cell: failing}, BUILDS)
    assert alone.alike(failing) == ""
    assert run.all_machines_for(("a", "b"), "pc-q35-7.2") == MACHINES[:3]

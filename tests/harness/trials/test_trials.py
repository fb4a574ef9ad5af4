# SPDX-License-Identifier: Apache-2.0
"""Trials are cells of no matrix: their legs have the keys that a matrix gives them, and machines are read in one walk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from emulated import STRICT, write_matrix

from migmatrix.harness.builds.debian import DebianSpec
from migmatrix.harness.builds.facts import BuildFacts, MachineType, PreparedBuild
from migmatrix.harness.config.matrix import ChainRule, MachineRule, Matrix
from migmatrix.harness.model import CellResult, Guest, Mode, Outcome, Profile, Stage, Verdict
from migmatrix.harness.plan import make_plan
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import prepare_builds
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.qom import look_at, types_in
from migmatrix.harness.trials.records import Setting, Step, trial_of
from migmatrix.harness.trials.runner import _Planned

MACHINE = "pc-q35-7.2"


def build(id_: str, version: str) -> PreparedBuild:
    facts = BuildFacts(f"digest of {version}", version, "", (MachineType(MACHINE),), ("e1000e",), ())
    return PreparedBuild(id_, "debian", "test", facts, "/qemu")


BUILDS = {b.id: b for b in (build("a", "7.2"), build("b", "8.0"), build("c", "10.0"))}
MATRIX = Matrix(
    file=Path("matrix.yaml"),
    builds=MappingProxyType({id_: DebianSpec(id=id_, suite="suite") for id_ in BUILDS}),
    machines=(MachineRule(name=MACHINE),),
    profiles=(Profile("nic", ("-device", "e1000e")),),
    modes=(Mode("snapshot"), Mode("tcp", "tcp")),
    guests=(Guest("paused", "paused"),),
    default_args=("-m", "64"),
    chains=ChainRule(),
)


def test_a_cell_as_a_trial_has_the_very_legs_that_the_plan_has() -> None:
    """Else nothing that a run stored would be found again, and a trial would measure something else."""
    plan = make_plan(MATRIX, BUILDS)
    origin = Origin.of_matrix(MATRIX, BUILDS)
    assert {len(cell.path) for cell in plan.cells} == {2, 3}
    assert {cell.mode for cell in plan.cells} == {"snapshot", "tcp"}
    planned = _Planned.of([trial_of(origin, cell) for cell in plan.cells], BUILDS).plan
    assert [planned.legs_of(c) for c in planned.cells] == [plan.legs_of(c) for c in plan.cells]
    for key, leg in planned.legs.items():
        theirs = plan.leg(key)
        assert (leg.build, leg.incoming, leg.source, leg.index) == (
            theirs.build, theirs.incoming, theirs.source, theirs.index,
        )  # fmt: skip


def test_a_setting_makes_another_leg_from_where_it_is_set_on() -> None:
    plan = make_plan(MATRIX, BUILDS)
    cell = next(c for c in plan.cells if c.path == ("a", "b") and c.mode == "snapshot")
    trial = trial_of(Origin.of_matrix(MATRIX, BUILDS), cell)
    changed = Step("b", (Setting("e1000e", "init-vet", "off"),))
    planned = _Planned.of([replace(trial, path=(Step("a"), changed))], BUILDS).plan
    (mine,) = (planned.legs_of(c) for c in planned.cells)
    theirs = plan.legs_of(cell)
    assert mine[0] == theirs[0]
    assert mine[1] != theirs[1]


@pytest.mark.parametrize(("hop", "pair"), [(None, None), (1, ("a", "b")), (2, ("b", "c"))])
def test_the_failing_pair_is_that_of_the_migration_that_went_wrong(
    hop: int | None, pair: tuple[str, str] | None
) -> None:
    cell = next(c for c in make_plan(MATRIX, BUILDS).cells if c.path == ("a", "b", "c"))
    result = CellResult(cell, Verdict.FAIL, Outcome.REGRESSION, hop=hop, stage=Stage.LOAD)
    assert result.failing_pair == pair


def test_the_types_of_a_machine_are_those_of_its_view(tmp_path: Path) -> None:
    """Both read one walk; the view keeps what has properties that can be set."""
    matrix = write_matrix(tmp_path, ["7.2"])
    prepared = prepare_builds(matrix, tmp_path / "store", ["qemu-7.2"], print)["qemu-7.2"]
    arguments = (*STRICT, "-device", "pcie-root-port,id=rp0,chassis=1")
    deadlines = dict.fromkeys(Stage, 60.0)

    async def both() -> None:
        async with opened(None, Settings(1, deadlines), print) as where:
            view = await look_at(where.engine, prepared, MACHINE, arguments, deadlines)
            types = await types_in(where.engine, prepared, MACHINE, arguments, deadlines)
            assert {o.type for o in view.objects} <= types
            assert view.find("pcie-root-port", 0) is not None
            assert not any("memory-region" in type_ for type_ in types)
            nothing = await types_in(where.engine, prepared, "no-such-machine", arguments, deadlines)
            assert nothing == frozenset()

    asyncio.run(both())

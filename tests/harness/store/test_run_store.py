# SPDX-License-Identifier: Apache-2.0
"""A run directory: what is kept is read back, and a directory of something else is left alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.model import Cell, CellResult, LegEvidence, Outcome, Stage, StageEvidence, Verdict
from migmatrix.harness.store import Basis, RunStore

if TYPE_CHECKING:
    from pathlib import Path

LEG, PROBE = (LegEvidence(key * 64, (StageEvidence(Stage.START, 0.1),), ()) for key in "ab")
RESULT = CellResult(Cell("m", "p", ("x", "y")), Verdict.PASS, Outcome.OK, legs=(LEG.key,))
BASIS = Basis((LEG, None), {"x": PROBE})


def test_a_cell_is_read_back_with_what_it_rests_on(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, BASIS)
        run.add(replace(RESULT, cell=Cell("m", "q", ("x", "y"))), BASIS)
    with RunStore.open(tmp_path) as run:
        assert [result.cell.profile for result in run.results()] == ["p", "q"]
        assert next(run.judged()) == (RESULT.cell, BASIS)
        assert (run.evidence(LEG.key), run.evidence("c" * 64)) == (LEG, None)
        assert run.meta()["plan"] == "digest"
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    assert next(CellResult.from_json(json.loads(line)) for line in lines) == RESULT


def test_results_are_replaced_in_both_files(tmp_path: Path) -> None:
    known = replace(RESULT, verdict=Verdict.FAIL, outcome=Outcome.KNOWN, known_issue="aer")
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, BASIS)
        run.replace_results([known])
        assert list(run.results()) == [known]
    assert json.loads((tmp_path / "results.jsonl").read_text()) == known.to_json()
    assert not list(tmp_path.glob(".new-*"))


def test_a_run_that_lacks_evidence_is_not_judged(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, Basis((LEG,), {}))
        run._database.execute("DELETE FROM hops")  # noqa: SLF001 - what a damaged run looks like
        with pytest.raises(StoreError, match="lacks the evidence of leg aaaaaaaaaaaaaaaa"):
            list(run.judged())


def test_the_same_plan_begins_anew_and_another_is_refused(tmp_path: Path) -> None:
    for _ in range(2):
        with RunStore.create(tmp_path, "digest") as run:
            assert list(run.results()) == []
            run.add(RESULT, BASIS)
    with pytest.raises(UserError, match="holds the run of another plan; choose another --out"):
        RunStore.create(tmp_path, "other")


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="is not empty and holds no run"):
        RunStore.create(tmp_path, "digest")
    with pytest.raises(UserError, match="holds no run"):
        RunStore.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_run_of_another_format_is_refused(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        run.set_meta({"format": 99})
    with pytest.raises(UserError, match="has format 99, not 1"):
        RunStore.open(tmp_path)


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(UserError, match="cannot read the run in"):
        RunStore.open(tmp_path)

# SPDX-License-Identifier: Apache-2.0
"""A run directory: what is kept is read back, and a directory of something else is left alone."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import StoreError, UserError
from migmatrix.harness.model import (
    Cell,
    CellResult,
    LegEvidence,
    Outcome,
    Stage,
    StageEvidence,
    StreamInfo,
    Verdict,
)
from migmatrix.harness.store import SIGNATURE, Basis, RunStore, keep_plan, kept_plan

if TYPE_CHECKING:
    from collections.abc import Callable
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


@pytest.mark.parametrize("cells", ["cell = 'm/p/x>y/snapshot/paused'", "true"])
def test_a_run_that_lacks_a_cell_is_refused(tmp_path: Path, cells: str) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        for profile in ("p", "q", "p"):  # one of them twice
            run.add(replace(RESULT, cell=Cell("m", profile, ("x", "y"))), BASIS)
        assert len(list(run.results())) == 2
    with closing(sqlite3.connect(tmp_path / "run.db", isolation_level=None)) as database:
        assert database.execute(f"DELETE FROM cells WHERE {cells}").rowcount > 0  # noqa: S608 - of this test

    with RunStore.open(tmp_path) as run, pytest.raises(UserError, match=r"it holds \d cells, not the 2"):
        list(run.results())


def test_a_run_of_before_cells_were_counted_is_read(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, BASIS)
        run._database.execute("DROP TABLE tally")  # noqa: SLF001 - what such a run looks like
    with RunStore.open(tmp_path) as run:
        assert list(run.results()) == [RESULT]


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


def flipped(path: Path, place: int) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= 1 << place % 8
    path.write_bytes(data)


def test_no_flipped_bit_of_a_run_is_told(tmp_path: Path) -> None:
    """In sqlite's own pages a bit may change nothing; it never changes what is told."""
    with RunStore.create(tmp_path, "digest") as run:
        run.set_meta({"started": "today"})
        run.add(RESULT, BASIS, 1)
        facts, results, judged = run.meta(), list(run.results()), list(run.judged())
    refused = 0
    for place in range(0, (tmp_path / "run.db").stat().st_size, 61):
        flipped(tmp_path / "run.db", place)
        try:
            with RunStore.open(tmp_path) as run:
                assert run.meta() == facts
                assert list(run.results()) == results
                assert list(run.judged()) == judged
        except (UserError, StoreError):
            refused += 1
        for suffix in ("-wal", "-shm"):
            (tmp_path / f"run.db{suffix}").unlink(missing_ok=True)
        flipped(tmp_path / "run.db", place)
    assert refused > 10


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "garbage": lambda whole: b"no database" * 100,  # noqa: ARG005 - as the others
    "cut": lambda whole: whole[: len(whole) // 2],
    "facts": lambda whole: whole.replace(b'"digest"', b'"digess"'),
}


@pytest.mark.parametrize("damage", [*DAMAGES, "directory", "link", "fifo"])
def test_a_damaged_run_is_set_aside_and_begun_anew(tmp_path: Path, damage: str) -> None:
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, BASIS)
    path = tmp_path / "run.db"
    whole = path.read_bytes()
    path.unlink()
    match damage:
        case "directory":
            path.mkdir()
        case "link":
            path.symlink_to("results.jsonl")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.write_bytes(DAMAGES[damage](whole))
    log: list[str] = []
    with RunStore.create(tmp_path, "digest", log.append) as run:
        run.add(RESULT, BASIS)
        assert list(run.results()) == [RESULT]
    assert os.path.lexists(tmp_path / "run.db.damaged")
    assert len(log) == 1
    assert "set it aside" in log[0]


@pytest.mark.parametrize("kind", ["fifo", "link"])
def test_results_are_written_to_a_file_of_their_own(tmp_path: Path, kind: str) -> None:
    with RunStore.create(tmp_path, "digest"):
        pass
    (tmp_path / "results.jsonl").unlink()
    (tmp_path / "other").write_text("other")
    if kind == "fifo":
        os.mkfifo(tmp_path / "results.jsonl")
    else:
        (tmp_path / "results.jsonl").symlink_to("other")
    with RunStore.create(tmp_path, "digest") as run:
        run.add(RESULT, BASIS)
    assert (tmp_path / "results.jsonl").read_text().count("\n") == 1
    assert (tmp_path / "other").read_text() == "other"


def test_one_process_writes_to_a_run_directory_at_a_time(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest") as first:
        first.add(RESULT, BASIS)
        with pytest.raises(UserError, match=r"another run is writing to .*; choose another --out"):
            RunStore.create(tmp_path, "digest")
        with RunStore.open(tmp_path) as reader:
            assert list(reader.results()) == [RESULT]
            with pytest.raises(UserError, match="another run is writing"):
                reader.replace_results([RESULT])
    with RunStore.create(tmp_path, "digest") as second:
        assert list(second.results()) == []


@pytest.mark.slow  # five seconds, as long as SQLite waits
def test_a_database_in_use_is_not_called_damaged(tmp_path: Path) -> None:
    with RunStore.create(tmp_path, "digest"):
        pass
    with closing(sqlite3.connect(tmp_path / "run.db", isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode=EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(UserError, match="database is locked"):
            RunStore.create(tmp_path, "digest")
    assert not (tmp_path / "run.db.damaged").exists()


def test_the_plan_of_a_run_is_read_back_and_an_older_run_has_none(tmp_path: Path) -> None:
    assert kept_plan(tmp_path) is None
    keep_plan(tmp_path, {"cells": []})
    assert kept_plan(tmp_path) == {"cells": []}


@pytest.mark.parametrize("text", ["{", "[]", "[" * 100_000, "\0"])
def test_a_damaged_plan_of_a_run_is_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan.json").write_text(text)
    with pytest.raises(UserError, match="cannot read the plan of the run in"):
        kept_plan(tmp_path)


def signed(directory: Path) -> Path:
    """A directory with a run and a signature, as far as the store looks at it."""
    made = directory / "made"
    with RunStore.create(made, "digest") as run:
        run.add(RESULT, BASIS)
        (target := directory / "signed").mkdir()
        run.copy_database(target)
    (target / SIGNATURE).write_text("{}")
    return target


def test_a_signed_run_is_read_and_not_a_byte_of_it_changes(tmp_path: Path) -> None:
    directory = signed(tmp_path)
    before = (directory / "run.db").read_bytes()
    with RunStore.open(directory) as run:
        assert next(run.judged()) == (RESULT.cell, BASIS)
        with pytest.raises(UserError, match="is signed, nothing may be written to it any more"):
            run.set_meta({"a": 1})
        with pytest.raises(UserError, match="is signed"):
            run.replace_results([RESULT])
    for digest in ("digest", "another"):
        with pytest.raises(UserError, match="is signed"):
            RunStore.create(directory, digest)
    assert sorted(path.name for path in directory.iterdir()) == ["run.db", SIGNATURE]
    assert (directory / "run.db").read_bytes() == before


def test_of_two_evidences_of_a_leg_the_one_that_saved_its_state_is_kept(tmp_path: Path) -> None:
    """Two shards share a leg, and only one of them needs what it saves."""
    saved = replace(LEG, stream=StreamInfo("c" * 64, 9))
    for number, order in enumerate([(LEG, saved), (saved, LEG)]):
        with RunStore.create(tmp_path / str(number), "digest") as run:
            for name, leg in zip(("p", "q"), order, strict=True):
                run.add(replace(RESULT, cell=Cell("m", name, ("x", "y"))), Basis((leg, None), {}))
            assert run.evidence(LEG.key) == saved

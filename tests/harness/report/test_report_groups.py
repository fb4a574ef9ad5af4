# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fnmatch
import random
import shlex
from dataclasses import replace

import pytest
from report_fakes import make_results

from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Profile, Stage, Verdict
from migmatrix.harness.report import RunReport, Section, group
from migmatrix.harness.report.chains import ChainKind, chain_findings
from migmatrix.harness.report.data import ci_status, natural, repeat_command, section_of


def failed(cell: Cell, signature: str = "s", hop: int = 1) -> CellResult:
    cause = Cause("pci-config", "dev", f"0x10{signature}", "message")
    return CellResult(cell, Verdict.FAIL, Outcome.REGRESSION, hop, Stage.LOAD, cause, signature, 0.1)


def passed(cell: Cell) -> CellResult:
    return CellResult(cell, Verdict.PASS, Outcome.OK)


def test_largest_group_comes_first_and_equal_ones_by_signature() -> None:
    results = [failed(Cell("m", f"p{n}", ("A", "B")), s) for n, s in enumerate("bccab")]
    assert [(g.key, g.cells) for g in group(results)] == [("b", 2), ("c", 2), ("a", 1)]


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        (Cell("m", "long-name", ("A", "B")), Cell("m", "x", ("A", "B", "C"))),
        (Cell("m", "long-name", ("A", "B")), Cell("m", "two", ("A", "B"))),
        (Cell("m", "ab", ("B", "C")), Cell("m", "abc", ("A", "B"))),
        (Cell("m", "x", ("B", "C")), Cell("m", "x", ("A", "B"), mode="live")),
        (Cell("m", "x", ("B", "C")), Cell("m", "x", ("A", "B"), guest="firmware")),
        (Cell("pc-9.2", "x", ("A", "B")), Cell("pc-10.0", "x", ("A", "B"))),
        (Cell("m", "x", ("A", "B")), Cell("m", "x", ("A", "C"))),
    ],
    ids=["path", "arguments", "name", "mode", "guest", "machine", "builds"],
)
def test_smallest_cell(smaller: Cell, larger: Cell) -> None:
    profiles = [Profile("long-name", ("-a",)), Profile("two", ("-a", "-b"))]
    for cells in ([smaller, larger], [larger, smaller]):
        (found,) = group([failed(cell) for cell in cells], profiles=profiles)
        assert found.smallest.cell == smaller


def test_groups_do_not_depend_on_the_order_of_results() -> None:
    results = [r for r in make_results(9_000) if section_of(r) is Section.PROBLEM]
    shuffled = random.Random(1).sample(results, len(results))
    assert group(shuffled) == group(results)


def test_group_names_the_migration_that_failed_not_the_ends_of_the_path() -> None:
    chain = Cell("m", "p", ("A", "B", "C"))
    (found,) = group([failed(chain, hop=2), failed(Cell("m", "p", ("B", "C"))), failed(chain, hop=1)])
    assert found.routes == (("B", "C"), ("A", "B"))
    assert found.sources == ("B", "A")


def test_cells_without_a_signature_are_grouped_by_what_is_known() -> None:
    fixed = CellResult(Cell("m", "p", ("A", "B")), Verdict.PASS, Outcome.FIXED, known_issue="k-1")
    lost = CellResult(Cell("m", "q", ("A", "B")), Verdict.ERROR, Outcome.INCOMPLETE, reason="engine down")
    assert {g.key for g in group([fixed, lost])} == {"k-1", "engine down"}


@pytest.mark.parametrize("profile", ["virtio", "a b", "it's", "a*b?c[d]", "$(reboot)"])
def test_command_selects_exactly_its_cell(profile: str) -> None:
    cell = Cell("pc-q35-7.2", profile, ("A", "B", "C"))
    words = shlex.split(repeat_command(cell, "my matrix.yaml", seed=3))
    assert words[:-1] == ["migmatrix", "run", "-f", "my matrix.yaml", "--seed", "3", "--select"]
    key, _, pattern = words[-1].partition("=")
    assert key == "cell"
    assert fnmatch.fnmatchcase(cell.id, pattern)
    assert not fnmatch.fnmatchcase(replace(cell, profile="axbxcd").id, pattern)


def test_natural_order() -> None:
    names = ["pc-q35-10.0", "pc-q35-9.2", "pc-i440fx-2.12", "none", "pc-q35-9.10"]
    assert sorted(names, key=natural) == [
        "none",
        "pc-i440fx-2.12",
        "pc-q35-9.2",
        "pc-q35-9.10",
        "pc-q35-10.0",
    ]


# --- the answer


@pytest.mark.parametrize(
    ("outcome", "exit_code", "ship"),
    [
        (Outcome.OK, 0, "ship"),
        (Outcome.KNOWN, 0, "ship"),
        (Outcome.REGRESSION, 1, "do not ship"),
        (Outcome.WRONG_FAILURE, 1, "do not ship"),
        (Outcome.INCOMPLETE, 3, "no answer"),
        (Outcome.OK, 130, "no answer"),
        (Outcome.REGRESSION, 130, "do not ship"),
        (Outcome.OK, 1, "do not ship"),  # a stale known issue, say: the exit code has decided
    ],
)
def test_answer(small: RunReport, outcome: Outcome, exit_code: int, ship: str) -> None:
    result = replace(failed(Cell("m", "p", ("A", "B"))), outcome=outcome)
    results = [result, passed(Cell("m", "p", ("B", "A")))]
    report = replace(small, results=results, cells_planned=2, exit_code=exit_code)
    assert report.answer().ship == ship
    assert report.answer().headline == ship


@pytest.mark.parametrize(
    ("verdict", "outcome", "status"),
    [
        (Verdict.PASS, Outcome.OK, "passed"),
        (Verdict.PASS, Outcome.FIXED, "passed"),
        (Verdict.FAIL, Outcome.REGRESSION, "failed"),
        (Verdict.FAIL, Outcome.WRONG_FAILURE, "failed"),
        (Verdict.FAIL, Outcome.KNOWN, "known"),
        (Verdict.BLOCKED, Outcome.OK, "skipped"),
        (Verdict.BLOCKED, Outcome.REGRESSION, "failed"),  # by policy
        (Verdict.BLOCKED, Outcome.KNOWN, "known"),
        (Verdict.UNSUPPORTED, Outcome.SKIPPED, "skipped"),
        (Verdict.ERROR, Outcome.INCOMPLETE, "error"),
    ],
)
def test_what_a_ci_server_is_told(verdict: Verdict, outcome: Outcome, status: str) -> None:
    result = CellResult(Cell("m", "p", ("A", "B")), verdict, outcome)
    assert ci_status(result) == status


def test_an_empty_run_is_no_answer(small: RunReport) -> None:
    assert replace(small, results=[], exit_code=0).answer().ship == "no answer"


def test_answer_says_what_it_does_not_cover(small: RunReport) -> None:
    results = [passed(Cell("m", "p", ("A", "B")))]
    part = replace(
        small, results=results, cells_planned=3, exit_code=0, shard="1/4", selection=("profile=p",)
    )
    assert part.answer().limits == (
        "2 cells of the plan not run",
        "only shard 1/4",
        "only the cells selected by profile=p",
    )


# --- chains


def kinds(chain: CellResult, *pairs: CellResult) -> set[ChainKind]:
    return {f.kind for f in chain_findings([*pairs, chain])}


def cell(path: str) -> Cell:
    return Cell("m", "p", tuple(path))


@pytest.mark.parametrize(
    ("chain", "pairs", "expected"),
    [
        (failed(cell("ABC")), [passed(cell("AB")), passed(cell("BC"))], {ChainKind.BROKEN}),
        (failed(cell("ABC")), [passed(cell("AB")), failed(cell("BC"))], set()),
        (failed(cell("ABC")), [passed(cell("AB"))], set()),  # B>C was not run: nothing is known
        (passed(cell("ABC")), [passed(cell("AB")), failed(cell("BC"))], {ChainKind.HEALED}),
        (passed(cell("ABC")), [failed(cell("AC"))], {ChainKind.DETOUR}),
        (passed(cell("ABC")), [failed(cell("AC")), failed(cell("BC"))], {ChainKind.DETOUR, ChainKind.HEALED}),
        (passed(cell("ABC")), [passed(cell("AB")), passed(cell("BC")), passed(cell("AC"))], set()),
    ],
)
def test_chain_kinds(chain: CellResult, pairs: list[CellResult], expected: set[ChainKind]) -> None:
    assert kinds(chain, *pairs) == expected


def test_a_pair_of_another_mode_explains_nothing() -> None:
    other = [passed(replace(cell(p), mode="live-tcp")) for p in ("AB", "BC")]
    assert kinds(failed(cell("ABC")), *other) == set()


def test_findings_count_direct_migrations_that_pass() -> None:
    pairs = [passed(cell(p)) for p in ("AB", "BC", "AC")]
    (found,) = chain_findings([*pairs, failed(cell("ABC"))])
    assert (found.path, found.cells, found.direct) == (("A", "B", "C"), 1, 1)

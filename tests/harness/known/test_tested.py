# SPDX-License-Identifier: Apache-2.0
"""Never green for nothing: what results say at all, what the policy demands, and the exit code that follows."""

from __future__ import annotations

import pytest

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.known import exit_code
from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Verdict
from migmatrix.harness.tested import Demand, silence, untested

_OUTCOMES = {
    "pass": Outcome.OK,
    "fail": Outcome.KNOWN,
    "unsupported": Outcome.SKIPPED,
    "blocked": Outcome.OK,
    "error": Outcome.INCOMPLETE,
}


def result(path: str, verdict: str, *, profile: str = "p", reason: str = "") -> CellResult:
    cell = Cell("pc-q35-7.2", profile, tuple(path))
    return CellResult(cell, Verdict(verdict), _OUTCOMES[verdict], reason=reason)


NOTHING = "nothing migrated: "
SILENT: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no cell": ([], "there was no cell to run"),
    "all unsupported": ([("AB", "unsupported"), ("BA", "unsupported")], f"{NOTHING}2 of 2 cells unsupported"),
    "all blocked": ([("AB", "blocked")], f"{NOTHING}1 of 1 cell blocked"),
    "some of each": (
        [("AA", "blocked"), ("AB", "unsupported"), ("BB", "blocked")],
        f"{NOTHING}2 of 3 cells blocked, 1 unsupported",
    ),
    "nothing but known failures": ([("AB", "fail")], "nothing passed: 1 of 1 cell fail"),
    "nothing between builds": (
        [("AA", "pass"), ("AB", "unsupported"), ("BA", "blocked"), ("BB", "unsupported")],
        "no cell between two different builds ran: 1 of 2 cells unsupported, 1 blocked",
    ),
}
TOLD = {
    "a pass between builds": [("AB", "pass"), ("BA", "unsupported")],
    "a known failure between builds, a pass in one": [("AA", "pass"), ("AB", "fail")],
    "one build, which was all that was asked for": [("AA", "pass")],
    "a chain": [("ABA", "pass"), ("AB", "blocked")],
}


@pytest.mark.parametrize(("cells", "why"), SILENT.values(), ids=SILENT)
def test_results_that_answer_nothing_are_not_green(cells: list[tuple[str, str]], why: str) -> None:
    results = [result(*cell) for cell in cells]
    assert silence(results) == why
    assert exit_code(results) is ExitCode.INCOMPLETE
    assert exit_code(results, part=True) is ExitCode.INCOMPLETE
    assert (
        exit_code(results, shard=True) is ExitCode.OK
    )  # a share may be of any cells: the whole is asked at its merge


@pytest.mark.parametrize("cells", TOLD.values(), ids=TOLD)
def test_results_that_answer_are(cells: list[tuple[str, str]]) -> None:
    results = [result(*cell) for cell in cells]
    assert not silence(results)
    assert exit_code(results) is ExitCode.OK


def test_a_regression_wins_over_silence() -> None:
    failed = CellResult(Cell("m", "p", ("A", "B")), Verdict.FAIL, Outcome.REGRESSION)
    assert exit_code([failed]) is ExitCode.REGRESSIONS


RESULTS = [
    result("AB", "pass", profile="virtio-net"),
    result("AB", "fail", profile="virtio-scsi"),
    result("BA", "unsupported", profile="virtio-net"),
    result("BA", "pass", profile="nic"),
]
DEMANDS = {
    "met": (Demand(("profile=nic",)), ""),
    "all": (
        Demand(("profile=virtio*", "path=A>B")),
        "must pass: profile=virtio*, path=A>B: 1 of 2 cells passed, all must",
    ),
    "a share": (Demand(("profile=virtio*", "path=A>B"), 50), ""),
    "a share that is not met": (
        Demand(("profile=virtio*",), 50),
        "must pass: profile=virtio*: 1 of 3 cells passed, 50 % must",
    ),
    "what was not planned": (Demand(("build=C",)), "must pass: build=C: no such cell was planned"),
}


@pytest.mark.parametrize(("demand", "unmet"), DEMANDS.values(), ids=DEMANDS)
def test_a_demand_counts_passes_only(demand: Demand, unmet: str) -> None:
    assert demand.unmet(RESULTS, part=False) == unmet
    assert exit_code(RESULTS, [demand]) is (ExitCode.REGRESSIONS if unmet else ExitCode.OK)
    assert Demand.from_json(demand.to_json()) == demand


def test_of_a_part_the_cells_of_a_demand_need_not_be_there() -> None:
    demand = Demand(("build=C",))
    assert exit_code(RESULTS, [demand], part=True) is ExitCode.OK
    assert exit_code(RESULTS, [Demand(("path=B>A",))], part=True) is ExitCode.REGRESSIONS


def test_what_was_not_tested_is_told_by_reason() -> None:
    refused = CellResult(
        Cell("m", "nvme", ("A", "B")),
        Verdict.BLOCKED,
        Outcome.OK,
        hop=1,
        cause=Cause("blocked", "nvme", "", "State blocked by non-migratable device"),
        signature="blocked nvme",
    )
    demanded = CellResult(Cell("m", "nvme", ("B", "A")), Verdict.BLOCKED, Outcome.REGRESSION)
    found = untested(
        [
            *(result(path, "unsupported", reason="build 'B' cannot start this: x") for path in ("AB", "BA")),
            result("AC", "unsupported", reason="build 'C' cannot start this: y"),
            result("AA", "pass"),
            refused,
            demanded,  # a problem by the policy, and told there
        ]
    )
    assert [(one.verdict.value, one.reason, one.cells, one.profiles) for one in found] == [
        ("unsupported", "build 'B' cannot start this: x", 2, ("p",)),
        ("blocked", "State blocked by non-migratable device", 1, ("nvme",)),
        ("unsupported", "build 'C' cannot start this: y", 1, ("p",)),
    ]

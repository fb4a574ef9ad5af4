# SPDX-License-Identifier: Apache-2.0
"""The first line of a report is never green for nothing, and every report tells what was not tested."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from lxml import etree
from markupsafe import escape
from rich.console import Console

from migmatrix.harness.model import Cell, CellResult, Outcome, Verdict
from migmatrix.harness.report import render_terminal
from migmatrix.harness.report.html import render_html
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.report.junit import render_junit
from migmatrix.harness.report.markdown import render_markdown

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport


def passed(cell: Cell) -> CellResult:
    return CellResult(cell, Verdict.PASS, Outcome.OK)


def skipped(path: str, *, build: str = "B") -> CellResult:
    reason = f"build {build!r} cannot start this: -no-acpi: invalid option"
    return CellResult(Cell("m", "p", tuple(path)), Verdict.UNSUPPORTED, Outcome.SKIPPED, reason=reason)


A_TO_A, A_TO_B, UNSUPPORTED = (
    passed(Cell("m", "p", ("A", "A"))),
    passed(Cell("m", "p", ("A", "B"))),
    skipped("AB"),
)
HEADLINES: dict[str, tuple[list[CellResult], dict[str, Any], str, str]] = {
    "nothing migrated": (
        [UNSUPPORTED],
        {"exit_code": 3},
        "no answer",
        "nothing migrated: 1 of 1 cell unsupported",
    ),
    "nothing between builds": (
        [A_TO_A, UNSUPPORTED],
        {"exit_code": 3},
        "no answer",
        "no cell between two different builds ran: 1 of 1 cell unsupported",
    ),
    "a matrix of one build": (
        [A_TO_A],
        {"exit_code": 0},
        "no answer",
        "nothing unexpected in 1 cell, but none of them leads from one build to another",
    ),
    "a selection": (
        [A_TO_B],
        {"exit_code": 0, "selection": ("profile=p",)},
        "the selection is clean",
        "nothing unexpected in 1 cell",
    ),
    "paths by hand": (
        [A_TO_B],
        {"exit_code": 0, "paths": ("A>B",)},
        "the selection is clean",
        "nothing unexpected in 1 cell",
    ),
    "a selection of nothing that migrates": (
        [UNSUPPORTED],
        {"exit_code": 3, "selection": ("path=A>B",)},
        "no answer",
        "nothing migrated: 1 of 1 cell unsupported",
    ),
    "a shard": (
        [A_TO_B],
        {"exit_code": 0, "shard": "1/4"},
        "shard 1/4 is clean",
        "nothing unexpected in 1 cell",
    ),
    "an empty shard": (
        [],
        {"exit_code": 0, "shard": "3/8"},
        "shard 3/8 is clean",
        "nothing unexpected in 0 cells",
    ),
    "a merge without a shard": (
        [A_TO_B],
        {"exit_code": 3, "missing_shards": ("2/2",)},
        "no answer",
        "nothing unexpected in 1 cell, but the run is not complete",
    ),
    "a demand": (
        [A_TO_B],
        {"exit_code": 1, "unmet": ("must pass: path=B>A: no such cell was planned",)},
        "do not ship",
        "1 demand of the policy not met by 1 cell",
    ),
}


@pytest.mark.parametrize(("results", "facts", "headline", "sentence"), HEADLINES.values(), ids=HEADLINES)
def test_no_report_is_green_for_nothing(
    small: RunReport, results: list[CellResult], facts: dict[str, Any], headline: str, sentence: str
) -> None:
    report = replace(small, results=results, cells_planned=len(results), **facts)
    assert (report.answer().headline, report.answer().sentence) == (headline, sentence)
    junit = etree.fromstring(render_junit(report).encode())
    assert junit.get("name") == f"{small.title}: {headline}"
    said = {(p.get("name"), p.get("value")) for p in junit.iter("property")}
    wanted = {("answer", f"{headline}: {sentence}"), *(("but", limit) for limit in report.answer().limits)}
    assert wanted <= said or not results
    for limit in (
        *facts.get("unmet", ()),
        *(f"without shard {name}" for name in facts.get("missing_shards", ())),
    ):
        assert limit in report.answer().limits


def test_every_report_tells_what_was_not_tested_and_why(small: RunReport) -> None:
    report = replace(small, results=[A_TO_A, UNSUPPORTED, skipped("BA")], cells_planned=3, exit_code=3)
    why = "build 'B' cannot start this: -no-acpi: invalid option"
    console = Console(file=io.StringIO(), width=200)
    render_terminal(report, console)
    assert isinstance(console.file, io.StringIO)
    assert f"2 cells unsupported: {why}; 1 profile (p)" in console.file.getvalue()
    assert console.file.getvalue().startswith("no answer: no cell between two different builds ran")
    assert f"| 2 | unsupported | `{why}` | `p` |" in render_markdown(report)
    assert render_markdown(report).startswith("## ⚠️ No answer: ")
    page = render_html(report)
    assert '<h1 class="no-answer">No answer</h1>' in page
    assert f"<td>{escape(why)}</td>" in page
    data = json.loads(render_json(report))
    assert data["answer"]["headline"] == "no answer"
    assert data["untested"] == [
        {
            "verdict": "unsupported",
            "reason": why,
            "cells": 2,
            "machines": ["m"],
            "profiles": ["p"],
            "example": "m/p/A>B/snapshot/paused",
        }
    ]
    assert etree.fromstring(render_junit(report).encode()).xpath("//skipped/@message") == [why, why]

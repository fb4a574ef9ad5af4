# SPDX-License-Identifier: Apache-2.0
"""One cause is one problem, and what a build shows with itself too is no break between builds."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from markupsafe import escape
from rich.console import Console

from migmatrix.harness.judge import family, signature
from migmatrix.harness.model import Cause, Cell, CellResult, Course, Outcome, Stage, Verdict
from migmatrix.harness.report import ExplanationNote, Section, group, render_terminal
from migmatrix.harness.report.html import render_html
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.report.junit import render_junit
from migmatrix.harness.report.markdown import render_markdown
from migmatrix.harness.report.problems import own_failures

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport


def failed(path: str, cause: Cause, profile: str = "p") -> CellResult:
    builds = tuple(path)
    cell = Cell("m", profile, builds)
    return CellResult(
        cell, Verdict.FAIL, Outcome.REGRESSION, len(builds) - 1, Stage.LOAD, cause, signature(cause), 0.1
    )


def ring(device: str, queue: int = 0) -> Cause:
    text = f"VQ {queue} vring.num 1024 exceeds allocated max 256"
    return Cause("virtio-ring", f"0000:00:0{queue}.0/{device}", "vring.num", text)


CRASH = Cause("crash", "", "SIGSEGV", "ended by SIGSEGV in save")
FOOTER = Cause("missing-footer", "0000:00:02.0/pciespscsi", "", "Missing section footer")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ring("virtio-net"), ring("virtio-blk", 3), True),
        (Cause("pci-config", "a/pcie-root-port", "0x10a"), Cause("pci-config", "b/ioh3420", "0x10a"), True),
        (
            Cause("pci-config", "pcie-root-port", "0x10a"),
            Cause("pci-config", "pcie-root-port", "0x34"),
            False,
        ),
        (Cause("ram-size", "mem0"), Cause("ram-size", "mem1"), True),
        (Cause("ram-size", "mem0"), Cause("ram-size", "vga.vram"), False),
        (Cause("validate", "gpu", "scanout[2].width"), Cause("validate", "gpu", "scanout[11].width"), True),
        (Cause("section-version", "ipmi-bmc-sim"), Cause("section-version", "pciespscsi"), False),
        (CRASH, Cause("crash", "", "SIGSEGV", "ended by SIGSEGV in load"), False),
        (CRASH, Cause("crash", "", "SIGABRT", "ended by SIGABRT in save"), False),
        (
            Cause("unclassified", message="slot 3 is bad"),
            Cause("unclassified", message="slot 44 is bad"),
            True,
        ),
        (
            Cause("unclassified", message="slot 3 is bad"),
            Cause("unclassified", message="port 3 is bad"),
            False,
        ),
    ],
)
def test_families(one: Cause, other: Cause, same: bool) -> None:
    assert (family(one) == family(other)) is same


def test_one_change_on_several_devices_is_one_problem_with_its_variants() -> None:
    results = [
        *(failed(path, ring("virtio-net"), f"net{n}") for n in range(2) for path in ("AC", "BC")),
        *(failed(path, ring("virtio-blk", 1), "blk") for path in ("AC", "BC")),
        failed("BC", ring("virtio-iommu", 2), "iommu"),  # A does not have it
        failed("AC", FOOTER, "scsi"),
    ]
    rings, footer = group(results)
    assert [(v.signature, v.cells) for v in rings.variants] == [
        ("virtio-ring virtio-net vring.num", 4),
        ("virtio-ring virtio-blk vring.num", 2),
        ("virtio-ring virtio-iommu vring.num", 1),
    ]
    assert (rings.cells, rings.signature) == (7, "virtio-ring virtio-net vring.num")
    assert rings.profiles == ("blk", "iommu", "net0", "net1")
    assert (footer.cells, len(footer.variants)) == (1, 1)


def test_the_same_on_other_builds_is_another_problem() -> None:
    found = group([failed("AC", ring("virtio-net")), failed("CA", ring("virtio-blk"), "q")])
    assert len(found) == 2


@pytest.mark.parametrize(
    ("alone", "other", "own"),
    [
        ("AA", "AB", True),
        ("BB", "AB", True),
        ("CC", "AB", False),
        ("AA", "BAC", True),  # hop 2 is A>C
        ("AA", "ABC", False),  # so is this B>C, which A has no part in
        ("AB", "AC", False),
    ],
)
def test_what_a_build_has_with_itself_is_its_own(alone: str, other: str, own: bool) -> None:
    results = [failed(alone, CRASH), failed(other, CRASH)]
    assert (results[1].cell in own_failures(results)) is own


@pytest.mark.parametrize(
    "changes",
    [
        {"cell": Cell("other", "p", ("A", "A"))},
        {"cell": Cell("m", "other", ("A", "A"))},
        {"cell": Cell("m", "p", ("A", "A"), mode="live-tcp")},
        {"signature": "crash SIGABRT"},
        {"verdict": Verdict.PASS, "outcome": Outcome.OK},
    ],
    ids=["machine", "profile", "mode", "signature", "verdict"],
)
def test_only_the_same_failure_of_the_same_cell_makes_it_own(changes: dict[str, Any]) -> None:
    alone, between = replace(failed("AA", CRASH), **changes), failed("AB", CRASH)
    assert [g.own for g in group([between], among=[alone, between])] == [False]


def two_sorts(small: RunReport) -> RunReport:
    """Nine cells of a crash that A shows with itself, and two of a break, on two devices."""
    crashes = [failed(path, CRASH, f"p{n}") for n in range(3) for path in ("AA", "AB", "AC")]
    breaks = [failed("AB", ring("virtio-net"), "net"), failed("AB", ring("virtio-blk", 1), "blk")]
    return replace(small, results=[*crashes, *breaks], cells_planned=11, evidence=lambda _: ())


def test_every_report_tells_notes_of_passing_cells(small: RunReport) -> None:
    note = "A > B: '-smp 4' in place of '-smp 2'"
    cells = [Cell("m", profile, tuple(path)) for profile in "pq" for path in ("AB", "ABC")]
    results = [CellResult(cell, Verdict.PASS, Outcome.OK, notes=(note,)) for cell in cells]
    report = replace(small, results=results, cells_planned=4, exit_code=0, evidence=lambda _: ())
    assert report.answer().ship == "ship"
    (entry,) = json.loads(render_json(report))["notes"]
    assert entry == {
        "text": note,
        "cells": 4,
        "machines": ["m"],
        "profiles": ["p", "q"],
        "example": "m/p/A>B/snapshot/paused",
    }
    assert f"| 4 | `{note}` |" in render_markdown(report)
    console = Console(file=io.StringIO(), width=200)
    render_terminal(report, console)
    assert isinstance(console.file, io.StringIO)
    assert f"     4 cells: {note}" in console.file.getvalue()
    assert f"<td>{escape(note)}</td>" in render_html(report)
    assert CellResult.from_json(results[0].to_json()).notes == (note,)


def test_every_report_tells_statuses_that_not_all_builds_have(small: RunReport) -> None:
    courses = [
        Course(1, "source", build, ("setup", *more)) for build, more in (("A", ()), ("B", ("device",)))
    ]
    results = [
        CellResult(
            Cell("m", "p", ("A", "B"), "tcp", f"g{n}"), Verdict.PASS, Outcome.OK, courses=tuple(courses)
        )
        for n in range(2)
    ]
    report = replace(small, results=results, cells_planned=2, exit_code=0, evidence=lambda _: ())
    assert report.answer().ship == "ship"
    (entry,) = json.loads(render_json(report))["unlike"]
    assert (entry["word"], entry["having"], entry["lacking"]) == ("device", ["B"], ["A"])
    sentence = "'device' on the source's side: said by B, not by A (mode tcp; guest g0, g1)"
    assert f"- `{sentence}`" in render_markdown(report)
    console = Console(file=io.StringIO(), width=200)
    render_terminal(report, console)
    assert isinstance(console.file, io.StringIO)
    assert f"     {sentence}" in console.file.getvalue()
    assert f"<li>{escape(sentence)}</li>" in render_html(report)


def test_the_page_has_each_explanation_of_a_problem_as_a_table(small: RunReport) -> None:
    lines = (
        "virtio-ring virtio-net vring.num",
        "  answer       -global x=y makes it pass",
        "  reproducer   pc A>B snapshot paused",
        "               -device virtio-net <b>",
        "  not reproduced it passed",
    )
    notes = [ExplanationNote("one", lines, {"n": 1}), ExplanationNote("two", lines[:2], {"n": 2})]
    report = replace(two_sorts(small), explanations={"virtio-ring virtio-net vring.num": notes})
    page = render_html(report)
    assert page.count("Explained: ") == 2
    assert '<th scope="row">answer</th><td>-global x=y makes it pass</td>' in page
    assert "<td>pc A&gt;B snapshot paused<br>-device virtio-net &lt;b&gt;</td>" in page
    assert '<th scope="row">not reproduced</th><td>it passed</td>' in page
    first = json.loads(render_json(report))["groups"]["problem"][0]
    assert (first["explanation"], first["explanations"]) == ({"n": 1}, [{"n": 1}, {"n": 2}])


def test_every_report_puts_breaks_between_builds_first_and_counts_alike(small: RunReport) -> None:
    report = two_sorts(small)
    said = "11 of 11 cells went wrong unexpectedly, in 2 problems, 1 of which a build has with itself too"
    assert report.answer().sentence == said
    assert [(g.cells, g.own) for g in report.groups(Section.PROBLEM)] == [(2, False), (9, True)]
    data = json.loads(render_json(report))["groups"]["problem"]
    assert [(g["cells"], g["own"], len(g["variants"])) for g in data] == [(2, False, 2), (9, True, 1)]
    console = Console(file=io.StringIO(), width=200)
    render_terminal(report, console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert re.findall(r"^ +(\d)\. (\d+) cells", text, re.MULTILINE) == [("1", "2"), ("2", "9")]
    assert (
        text.index("vring.num")
        < text.index("problems that a build has with itself too")
        < text.index("SIGSEGV")
    )
    assert "2 variants: virtio-blk (1), virtio-net (1)" in text
    own_only = replace(report, results=[r for r in report.results if "crash" in (r.signature or "")])
    own_console = Console(file=(own_file := io.StringIO()), width=200)
    render_terminal(own_only, own_console)
    assert "\nproblems, largest first" not in own_file.getvalue()  # no heading with nothing below it
    rows = [line for line in render_markdown(report).splitlines() if re.match(r"\| \d+ \|", line)]
    assert ["vring.num" in rows[0], "SIGSEGV" in rows[1]] == [True, True]
    page = render_html(report)
    assert page.index('id="problem-1"') < page.index('id="owns"') < page.index('id="problem-2"')
    assert re.search(r'href="#problem=crash%20SIGSEGV%20save&amp;fails=itself"><b>9</b>', page)
    assert render_junit(report).count("<failure ") == 11

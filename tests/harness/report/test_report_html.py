# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from hostile_reports import HOSTILE, hostile_report
from report_fakes import make_evidence

from migmatrix.harness.model import Cell, LegEvidence, Outcome, Verdict
from migmatrix.harness.report import KnownIssueNote, RunReport, Section
from migmatrix.harness.report.html import render_html
from migmatrix.harness.report.html_data import encode, ordered
from migmatrix.harness.report.page import web_link


def data_of(page: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    loaded: dict[str, Any] = json.loads(match[1])
    return loaded


@pytest.fixture(scope="module")
def page(small: RunReport) -> str:
    return render_html(small)


def test_the_page_needs_nothing_from_outside(page: str) -> None:
    assert not re.search(r"@import|url\(", page.split("<body>", maxsplit=1)[0])
    assert not re.search(r"""<(img|script|link|iframe)[^>]+(src|href)\s*=""", page)
    assert set(re.findall(r'href="(https?://[^"]+)"', page)) == {
        "https://example.org/1",
        "https://example.org/2",
    }


def test_only_our_script_may_run(page: str) -> None:
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', page)
    allowed = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert len(scripts) == 1
    assert (
        f"default-src &#39;none&#39;; script-src &#39;sha256-{allowed}&#39;;".replace("&#39;", "'") in policy
    )


def test_the_first_screen_needs_no_script(page: str) -> None:
    head = page.split('id="explore"', maxsplit=1)[0]
    assert "Do not ship</h1>" in head
    assert "went wrong unexpectedly, in 6 problems" in head
    assert "--select &#39;cell=" in head
    assert "The chain fails, although each step passes alone" in head


def test_hostile_text_stays_text(small: RunReport) -> None:
    page = render_html(hostile_report(small))
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert "\\x00\\x1b[2J\\ud800\\u202e" in page
    cause = data_of(page)["causes"][0]
    assert cause[3].startswith("\\x00\\x1b[2J")
    assert "</script><script>alert(1)" in cause[3]


def test_links_of_known_issues_open_web_pages_only(small: RunReport) -> None:
    assert web_link("https://example.org/1")
    assert web_link("http://example.org")
    assert not any(map(web_link, ["javascript:alert(1)", " data:text/html,x", "file:///etc/passwd", ""]))
    note = KnownIssueNote("k", "active", link="javascript:alert(1)")
    assert "javascript:alert" not in render_html(replace(small, known_issues=[note]))


def test_columns_are_the_results(small: RunReport) -> None:
    data = json.loads(json.dumps(encode(small)))
    results = ordered(small)
    assert len(data["cells"]) == 16
    for n in (0, 1234, len(results) - 1):
        machine, profile, path, mode, guest, verdict, outcome = (column[n] for column in data["cells"][:7])
        decoded = Cell(
            data["machines"][machine],
            data["profiles"][profile],
            tuple(data["builds"][b] for b in data["paths"][path]),
            data["modes"][mode],
            data["guests"][guest],
        )
        assert decoded == results[n].cell
        assert data["verdicts"][verdict] == results[n].verdict
        assert data["outcomes"][outcome] == results[n].outcome


def test_every_problem_has_the_evidence_of_its_smallest_cell(small: RunReport) -> None:
    places = {r.cell: str(n) for n, r in enumerate(ordered(small))}
    evidence = encode(small)["evidence"]
    for section in (Section.PROBLEM, Section.INFRASTRUCTURE, Section.KNOWN):
        for found in small.groups(section):
            assert places[found.smallest.cell] in evidence


def test_evidence_and_messages_are_bounded(small: RunReport) -> None:
    base = next(r for r in small.results if r.outcome is Outcome.REGRESSION)
    assert base.cause is not None
    many = [
        replace(
            base,
            cell=Cell("m", f"p{n}", ("bookworm", "trixie")),
            signature=f"s{n}",
            cause=replace(base.cause, message=f"{n} " + "x" * 5000),
        )
        for n in range(4000)
    ]
    asked: list[str] = []

    def noisy(result: Any) -> list[LegEvidence]:
        asked.append(result.cell.id)
        leg = make_evidence(base)[-1]
        loud = replace(leg.emulators[0], stderr="y" * 1_000_000, qmp=leg.emulators[0].qmp * 500)
        return [replace(leg, emulators=(loud,))]

    page = render_html(replace(small, results=many, evidence=noisy))
    assert len(page) < 8_000_000
    assert 100 < len(asked) <= 400


@pytest.mark.slow
def test_thirty_thousand_cells_make_a_small_page(large: RunReport) -> None:
    begin = time.perf_counter()
    page = render_html(large)
    assert len(page.encode()) < 10_000_000
    assert time.perf_counter() - begin < 30


def test_blocked_cells_are_not_counted_as_passes(small: RunReport, page: str) -> None:
    passes = sum(r.outcome is Outcome.OK and r.verdict is Verdict.PASS for r in small.results)
    blocked = sum(r.verdict is Verdict.BLOCKED for r in small.results)
    assert f"<b>{passes:,}</b> ok" in page
    assert f"<b>{blocked:,}</b> blocked" in page


def test_hostile_sample_is_hostile() -> None:
    assert "\x1b" in HOSTILE
    assert "</script>" in HOSTILE

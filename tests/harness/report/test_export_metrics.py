# SPDX-License-Identifier: Apache-2.0
"""OpenMetrics by the parser of `prometheus-client`, and by its older one; the badge by an XML parser."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hostile_reports import TEXTS, thoroughly_hostile
from lxml import etree
from prometheus_client.openmetrics import parser
from prometheus_client.parser import text_string_to_metric_families as parse_old

from migmatrix.harness.exports.badge import COLOURS, LABEL, render_badge
from migmatrix.harness.exports.openmetrics import MOST, render_openmetrics
from migmatrix.harness.model import Cause, Cell, Outcome, Verdict
from migmatrix.harness.report import Section
from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.text import one_line

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def samples(report: RunReport) -> Samples:
    text = render_openmetrics(report)
    families = list(parser.text_string_to_metric_families(text))  # type: ignore[no-untyped-call]  # it has no types
    assert {family.type for family in families} == {"gauge"}
    return {
        (sample.name.removeprefix("migmatrix_run_"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(found: Samples, name: str, **labels: str) -> float:
    (one,) = [v for (n, said), v in found.items() if n == name and labels.items() <= dict(said).items()]
    return one


def test_metrics_are_the_figures_of_the_run(small: RunReport) -> None:
    found = samples(small)
    verdicts, outcomes = small.verdicts(), small.outcomes()
    assert [value(found, "verdicts", verdict=v) for v in Verdict] == [verdicts[v] for v in Verdict]
    assert [value(found, "outcomes", outcome=o) for o in Outcome] == [outcomes[o] for o in Outcome]
    assert [value(found, "answer", answer=s) for s in Ship] == [float(s is Ship.NO) for s in Ship]
    assert value(found, "exit_code") == 1
    assert value(found, "legs", state="reused") == small.legs.reused
    assert value(found, "started_timestamp_seconds") == small.started.timestamp()
    cells = [v for (name, _), v in found.items() if name == "problem_cells"]
    assert sum(cells) == sum(g.cells for section in Section for g in small.groups(section))


def test_the_older_format_reads_the_same(small: RunReport) -> None:
    old = {
        (s.name, *sorted(s.labels.items())): s.value
        for f in parse_old(render_openmetrics(small))
        for s in f.samples
    }
    assert len(old) == len(samples(small))


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hostile_text_is_one_label(text: str) -> None:
    report = thoroughly_hostile(text)
    found = samples(report)
    assert {dict(labels)["matrix"] for _, labels in found} == {one_line(text, 200)}
    assert value(found, "exit_code") == 1


def test_series_of_problems_are_bounded(small: RunReport) -> None:
    base = next(r for r in small.results if r.outcome is Outcome.REGRESSION)
    many = [
        replace(
            base, cell=Cell(f"m{n}", "p", ("A", "B")), signature=f"s{n}", cause=Cause("k", f"d{n}", f"f{n}")
        )
        for n in range(3 * MOST)
    ]
    found = samples(replace(small, results=many))
    assert len([1 for name, _ in found if name == "problem_cells"]) == MOST


# --- badge

SVG = "{http://www.w3.org/2000/svg}"


def badge(report: RunReport) -> etree._Element:
    root = etree.fromstring(render_badge(report).encode(), etree.XMLParser(resolve_entities=False))
    assert root.tag == f"{SVG}svg"
    assert {child.tag.removeprefix(SVG) for child in root.iter()} == {"svg", "title", "rect", "g", "text"}
    return root


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "✗ do not ship"),
        ({"results": [], "exit_code": 3}, "? no answer"),
        ({"exit_code": 0}, "✓ ship"),
        ({"exit_code": 0, "shard": "1/4"}, "✓ shard 1/4 is clean"),
    ],
)
def test_the_badge_says_the_answer_in_words_and_by_a_mark(
    small: RunReport, changes: dict[str, object], said: str
) -> None:
    passing = [r for r in small.results if r.outcome is Outcome.OK]
    report = replace(small, **{"results": passing if changes else small.results, **changes})  # type: ignore[arg-type]
    root = badge(report)
    assert [text.text for text in root.iter(f"{SVG}text")] == [LABEL, said]
    title = root.find(f"{SVG}title")
    assert title is not None
    assert title.text is not None
    assert title.text.startswith(f"Debian, five QEMU builds: {report.answer().headline}: ")
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == title.get("id")


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_the_badge_holds_hostile_text_as_text(text: str) -> None:
    title = badge(thoroughly_hostile(text)).find(f"{SVG}title")
    assert title is not None
    assert len(title.text or "") < 400
    assert "do not ship" in (title.text or "") or len(text) > 300


def test_white_on_each_colour_is_readable() -> None:
    assert {ship: contrast(colour) >= 4.5 for ship, colour in COLOURS.items()} == dict.fromkeys(Ship, True)


def contrast(colour: str) -> float:
    """With white, by WCAG 2."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 1.05 / (sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True)) + 0.05)

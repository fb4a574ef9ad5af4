# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hostile_reports import hostile_report
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree
from referencing import Registry, Resource
from report_fakes import make_report

from migmatrix.harness.model import Cell, Outcome, Verdict
from migmatrix.harness.report import RunReport, Section, write_reports
from migmatrix.harness.report.html import render_html
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.report.junit import render_junit
from migmatrix.harness.report.markdown import code, render_markdown
from migmatrix.harness.report.text import clip, duration, tail
from migmatrix.harness.visible import visible

ROOT = Path(__file__).parents[3]


def schema(name: str) -> jsonschema.Draft202012Validator:
    loaded = {
        n: json.loads((ROOT / "docs" / n).read_text()) for n in ("results.schema.json", "report.schema.json")
    }
    resources: list[tuple[str, Resource[Any]]] = [
        (s["$id"], Resource.from_contents(s)) for s in loaded.values()
    ]
    jsonschema.Draft202012Validator.check_schema(loaded[name])
    return jsonschema.Draft202012Validator(loaded[name], registry=Registry().with_resources(resources))


@cache
def xsd() -> etree.XMLSchema:
    return etree.XMLSchema(etree.parse(ROOT / "tests" / "data" / "junit.xsd"))


# --- all files


def test_write_reports_writes_four_readable_files_and_nothing_else(small: RunReport, tmp_path: Path) -> None:
    paths = write_reports(small, tmp_path)
    assert [p.name for p in paths] == ["junit.xml", "report.html", "report.json", "report.md"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(p.stat().st_mode & 0o777 == 0o644 for p in paths)


def test_a_report_without_any_cell_is_written(small: RunReport, tmp_path: Path) -> None:
    empty = replace(small, results=[], cells_planned=0, builds=[], profiles=[], dropped=[], known_issues=[])
    assert all(p.stat().st_size for p in write_reports(empty, tmp_path))
    xsd().assertValid(etree.parse(tmp_path / "junit.xml"))


@settings(max_examples=50)
@given(text=st.text(st.characters(), max_size=40))
def test_any_text_gives_valid_files(text: str) -> None:
    report = hostile_report(make_report(0), text)
    xsd().assertValid(etree.fromstring(render_junit(report).encode()))
    json.loads(render_json(report))
    assert render_html(report).encode().count(b"</script>") == 2
    render_markdown(report).encode()


# --- schemas


def test_every_result_follows_the_published_schema(large: RunReport) -> None:
    validator = schema("results.schema.json")
    seen: set[tuple[Any, ...]] = set()
    for result in large.results:
        kind = (result.verdict, result.outcome, result.hop, result.stage, result.signature)
        if kind not in seen:  # equal shapes are valid alike; all 30,000 would take a minute
            seen.add(kind)
            validator.validate(json.loads(json.dumps(result.to_json())))
    assert len(seen) > 10


@pytest.mark.parametrize(
    "change",
    [
        {"verdict": "passed"},
        {"path": ["A"]},
        {"hop": 0},
        {"surprise": 1},
        {"cause": {"kind": "x"}},
        {"signature": None},
        {"outcome": "known", "known_issue": None},
        {"seconds": -1},
    ],
    ids=str,
)
def test_schema_refuses(small: RunReport, change: dict[str, Any]) -> None:
    valid = next(r for r in small.results if r.verdict is Verdict.FAIL).to_json()
    schema("results.schema.json").validate(valid)
    with pytest.raises(jsonschema.ValidationError):
        schema("results.schema.json").validate({**valid, **change})


def test_report_json_follows_its_schema(small: RunReport) -> None:
    schema("report.schema.json").validate(json.loads(render_json(small)))


def test_report_json_rows_are_the_results(small: RunReport) -> None:
    results = json.loads(render_json(small))["results"]
    rows = [dict(zip(results["columns"], row, strict=True)) for row in results["rows"]]
    expected = [{k: v for k, v in r.to_json().items() if k in results["columns"]} for r in small.results]
    assert rows == expected


# --- JUnit


def test_junit_is_valid(small: RunReport) -> None:
    xsd().assertValid(etree.fromstring(render_junit(small).encode()))


def test_junit_agrees_with_the_outcomes(small: RunReport) -> None:
    root = etree.fromstring(render_junit(small).encode())
    outcomes = small.outcomes()
    blocked = sum(r.verdict is Verdict.BLOCKED and r.outcome is Outcome.OK for r in small.results)
    assert root.get("tests") == str(len(small.results))
    assert root.get("failures") == str(outcomes[Outcome.REGRESSION] + outcomes[Outcome.WRONG_FAILURE])
    assert root.get("errors") == str(outcomes[Outcome.INCOMPLETE])
    assert root.get("skipped") == str(outcomes[Outcome.SKIPPED] + outcomes[Outcome.KNOWN] + blocked)


def test_junit_failure_says_why_and_how_to_repeat(small: RunReport) -> None:
    root = etree.fromstring(render_junit(small).encode())
    case = next(
        c
        for c in root.iter("testcase")
        if c.get("classname") == "pc-q35-7.2.pcie-root-port" and c.find("failure") is not None
    )
    (failure,) = case.iterchildren("failure")
    assert case.get("name") == "bookworm-backports>bookworm/snapshot/paused"
    assert "0x10a" in failure.get("message", "")
    assert failure.text is not None
    assert (
        "--select 'cell=pc-q35-7.2/pcie-root-port/bookworm-backports>bookworm/snapshot/paused'"
        in failure.text
    )


def test_junit_escapes_what_xml_forbids(small: RunReport) -> None:
    text = render_junit(hostile_report(small))
    root = etree.fromstring(text.encode())
    xsd().assertValid(root)
    (failure,) = root.iter("failure")
    assert failure.text is not None
    assert r"\x00\x1b[2J\ud800\u202e" in failure.text
    assert "]]> </script>" in failure.text


# --- Markdown


def test_markdown_has_the_answer_first(small: RunReport) -> None:
    lines = render_markdown(small).splitlines()
    assert lines[0].startswith("## ❌ Do not ship: `Debian")
    assert len(render_markdown(small)) < 65_536


def test_markdown_tables_keep_their_columns(small: RunReport) -> None:
    rows = [line for line in render_markdown(hostile_report(small)).splitlines() if line.startswith("|")]
    widths = {row.replace("\\|", "").count("|") for row in rows}
    assert widths == {3, 5}  # two and four columns


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("plain", "`plain`"),
        ("", ""),
        ("a`b", "`` a`b ``"),
        ("``", "``` `` ```"),
        ("two\nlines", "`two lines`"),
        ("\x1b[0m", "`\\x1b[0m`"),
    ],
)
def test_code_span(text: str, span: str) -> None:
    assert code(text) == span


def test_markdown_stays_short_with_many_problems(small: RunReport) -> None:
    base = next(r for r in small.results if r.outcome is Outcome.REGRESSION)
    assert base.cause is not None
    many = [
        replace(
            base,
            cell=Cell("m" * 80, f"p{n}" * 20, ("A", "B")),
            signature=f"s{n}",
            cause=replace(base.cause, field=f"{n:#x}"),
        )
        for n in range(3000)
    ]
    report = replace(small, results=many)
    assert len(report.groups(Section.PROBLEM)) == 3000
    assert len(render_markdown(report)) < 65_536


# --- text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (38.2, "38 s"),
        (59.7, "1 min 00 s"),
        (723, "12 min 03 s"),
        (7500, "2 h 05 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_clip_and_tail_say_what_is_missing() -> None:
    assert clip("abcdef", 4) == "abcd… (2 more characters)"
    assert tail("abcdef", 4) == "(2 earlier characters)…\ncdef"
    assert clip("abcd", 4) == tail("abcd", 4) == "abcd"


@given(st.text(st.characters()))
def test_visible_leaves_nothing_that_a_terminal_obeys(text: str) -> None:
    shown = visible(text)
    assert all(c in "\t\n" or (c.isprintable() or c.isspace() or ord(c) >= 0xA0) for c in shown)
    assert not any("\x7f" <= c <= "\x9f" or "\ud800" <= c <= "\udfff" or c in "\u202e\x1b\r" for c in shown)
    shown.encode()

# SPDX-License-Identifier: Apache-2.0
"""Annotations: GitHub's commands as its runner reads them, GitLab's code quality report by what GitLab demands of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hostile_reports import TEXTS, thoroughly_hostile
from report_fakes import make_report

from migmatrix.harness.errors import Position
from migmatrix.harness.exports.github import MOST, render_github
from migmatrix.harness.exports.gitlab import render_gitlab
from migmatrix.harness.exports.places import places_of
from migmatrix.harness.model import Cause, Cell, Outcome
from migmatrix.harness.report import RunReport, Section
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Command:
    name: str
    properties: dict[str, str]
    message: str


def commands(log: str) -> list[Command]:
    """What the runner makes of a job's log: `ActionCommand.TryParseV2` of github.com/actions/runner, rule by rule.

    A line is a command when it begins with ``::`` behind blanks; the next ``::`` ends its properties, which commas part.
    """
    found = []
    for line in log.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        text = line.lstrip()
        if not text.startswith("::") or (end := text.find("::", 2)) < 0:
            continue
        name, _, said = text[2:end].partition(" ")
        pairs = (pair.split("=", 1) for pair in said.split(",") if pair.strip())
        properties = {pair[0].strip(): uncoded(pair[1], "%3A", "%2C") for pair in pairs if len(pair) == 2}
        found.append(Command(name, properties, uncoded(text[end + 2 :])))
    return found


def uncoded(text: str, *more: str) -> str:
    for code in ("%0D", "%0A", *more, "%25"):
        text = text.replace(code, chr(int(code[1:], 16)))
    return text


def top(_: Cell) -> Position:
    return Position("my matrices/a,b: c.yaml", 7, 1)


def test_github_shows_the_answer_and_each_problem_at_its_line(small: RunReport) -> None:
    found = commands(render_github(small, top))
    counts = Counter(command.name for command in found)
    groups = {section: len(small.groups(section)) for section in Section}
    assert counts["error"] == min(MOST, groups[Section.PROBLEM] + 1)
    assert counts["notice"] == min(MOST, groups[Section.KNOWN] + groups[Section.FIXED])
    assert found[0].properties == {"title": "migmatrix: do not ship"}
    assert found[0].message.startswith(small.answer().sentence)
    (port,) = [c for c in found if "0x10a" in c.properties.get("title", "")]
    assert (port.name, port.properties["file"], port.properties["line"]) == (
        "error",
        "my matrices/a,b: c.yaml",
        "7",
    )
    assert port.message.splitlines()[0].startswith("get_pci_config_device")


def test_github_says_how_many_more_there_are(small: RunReport) -> None:
    base = next(r for r in small.results if r.outcome is Outcome.REGRESSION)
    assert base.cause is not None
    many = [
        replace(
            base, cell=Cell(f"m{n}", "p", ("A", "B")), signature=f"s{n}", cause=Cause("kind", f"d{n}", f"f{n}", "m")
        )
        for n in range(30)
    ]  # fmt: skip
    found = commands(render_github(replace(small, results=many), top))
    assert len([c for c in found if c.name == "error"]) == MOST
    assert found[-1].message == "and 22 more"


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_github_obeys_no_hostile_text(text: str) -> None:
    report = thoroughly_hostile(text)
    log = render_github(report, lambda _: Position(text, 1, 1))
    found = commands(log)
    assert len(found) == len(log.splitlines()) == log.count("\n") > 1
    assert {c.name for c in found} <= {"error", "warning", "notice"}
    assert {key for c in found for key in c.properties} <= {"file", "line", "title"}
    assert {c.properties["file"] for c in found if "file" in c.properties} == {visible(text)}


QUALITY = {  # docs.gitlab.com, "Code Quality", what an entry must have
    "type": "array",
    "items": {
        "type": "object",
        "required": ["description", "check_name", "fingerprint", "severity", "location"],
        "properties": {
            "description": {"type": "string", "minLength": 1},
            "check_name": {"type": "string", "minLength": 1},
            "fingerprint": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
            "severity": {"enum": ["info", "minor", "major", "critical", "blocker"]},
            "location": {
                "type": "object",
                "required": ["path", "lines"],
                "properties": {
                    "path": {"type": "string", "pattern": "^(?!\\./)"},
                    "lines": {"type": "object", "required": ["begin"], "properties": {"begin": {"type": "integer"}}},
                },
            },
        },
    },
}  # fmt: skip


def quality(report: RunReport) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(render_gitlab(report, top))
    jsonschema.Draft202012Validator(QUALITY).validate(found)
    assert len({one["fingerprint"] for one in found}) == len(found)
    return found


def test_gitlab_is_told_of_each_problem(small: RunReport) -> None:
    found = quality(small)
    assert len(found) == sum(len(small.groups(section)) for section in Section)
    assert {one["severity"] for one in found} >= {"critical", "info"}
    assert any("0x10a" in one["description"] for one in found)


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_gitlab_is_told_of_hostile_text(text: str) -> None:
    assert len(quality(thoroughly_hostile(text))) == 3


def test_the_same_problem_of_another_night_has_the_same_fingerprint(small: RunReport) -> None:
    later = replace(small, run_dir="elsewhere", results=small.results[: len(small.results) // 2])
    one, other = ({f["fingerprint"] for f in quality(report)} for report in (small, later))
    assert other
    assert other < one


def test_a_problem_stands_where_its_profile_is_defined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.yaml").write_text(
        "builds:\n  a: {provider: debian, suite: bookworm}\nmachines: [pc-q35-7.2]\n"
        "profiles:\n  define:\n    plain: {args: [-nodefaults]}\n    nic: {args: [-nodefaults]}\n"
    )
    place = places_of(replace(make_report(0), matrix_file="m.yaml"))
    assert place(Cell("m", "nic", ("a", "a"))) == Position("m.yaml", 7, 5)
    assert place(Cell("m", "unknown", ("a", "a"))) == Position("m.yaml", 1, 1)
    gone = places_of(replace(make_report(0), matrix_file="gone.yaml"))
    assert gone(Cell("m", "nic", ("a", "a"))) == Position("gone.yaml", 1, 1)
    whole = places_of(replace(make_report(0), matrix_file=str(tmp_path / "m.yaml")))
    assert whole(Cell("m", "nic", ("a", "a"))) == Position("m.yaml", 7, 5)

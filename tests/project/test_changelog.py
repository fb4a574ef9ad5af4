# SPDX-License-Identifier: Apache-2.0
"""Fragments of the changelog: their names are what towncrier reads, and they are folded."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
FRAGMENTS = [path for path in (ROOT / "changelog.d").iterdir() if path.name not in SETTINGS["ignore"]]


def test_names_are_a_topic_and_a_kind() -> None:
    kinds = {entry["directory"] for entry in SETTINGS["type"]}
    wrong = [
        p.name
        for p in FRAGMENTS
        if len(parts := p.name.split(".")) != 3 or parts[1] not in kinds or parts[2] != "md"
    ]
    assert wrong == []


def test_lines_are_folded_and_none_is_empty() -> None:
    lines = [(path.name, line) for path in FRAGMENTS for line in path.read_text().split("\n")[:-1]]
    assert [(name, line) for name, line in lines if not line or len(line) > 120] == []


def test_the_changelog_has_the_line_below_which_a_release_is_put() -> None:
    assert SETTINGS["start_string"] in (ROOT / SETTINGS["filename"]).read_text()

# SPDX-License-Identifier: Apache-2.0
"""Pages of findings: each has its script and its line in the index, and known issues that name a page name a real one."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from migmatrix.harness.known import load_known

ROOT = Path(__file__).parents[2]
FINDINGS = ROOT / "docs" / "findings"
PAGES = sorted(FINDINGS.glob("[0-9]*.md"))
SCRIPTS = sorted(FINDINGS.glob("*.sh"))
KNOWN = sorted((ROOT / "matrices").glob("*-known.yaml"))


def test_pages_are_numbered_without_a_gap() -> None:
    assert [page.name[:5] for page in PAGES] == [f"{number:04}-" for number in range(1, len(PAGES) + 1)]


def test_each_page_has_its_script_and_each_script_its_page() -> None:
    assert [page.stem for page in PAGES] == [script.stem for script in SCRIPTS]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_links_its_script_and_says_what_was_searched(page: Path) -> None:
    text = page.read_text()
    assert f"({page.stem}.sh)" in text
    assert {"Reproducer", "Cause", "Public"} <= set(re.findall(r"^## (\w+)", text, re.MULTILINE))


def test_the_index_has_each_page_once_and_in_order() -> None:
    index = (FINDINGS / "README.md").read_text()
    assert re.findall(r"^\| \[\d+\]\((\S+)\)", index, re.MULTILINE) == [page.name for page in PAGES]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_is_one_of_any_shell_that_takes_other_emulators(script: Path) -> None:
    text = script.read_text()
    assert text.startswith("#!/bin/sh\n")
    assert os.access(script, os.X_OK)
    assert "SOURCE=${SOURCE:-" in text
    assert "DESTINATION=${DESTINATION:-" in text
    subprocess.run(["sh", "-n", script], check=True)


@pytest.mark.parametrize("file", KNOWN, ids=lambda file: file.stem)
def test_known_issues_that_name_a_page_name_one_that_is_there(file: Path) -> None:
    local = [issue.link for issue in load_known(file) if "://" not in issue.link]
    assert [link for link in local if not (ROOT / link).is_file()] == []

# SPDX-License-Identifier: Apache-2.0
"""`docs/document.md` against the document and the tests: no chapter is missing, and every test that it names is there."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "document.md").read_text()

# Titles of QEMU's document in its order; the level is the number of `#` here.
CHAPTERS: Final = """\
## Transports
## Debugging
## Common infrastructure
## Saving the state of one device
### General advice for device developers
### VMState
### Legacy way
### Changing migration data structures
### Subsections
### Connecting subsections to properties
### Not sending existing elements
### Versions
### Massaging functions
### Iterative device migration
### Device ordering
## Stream structure
### Return path
## Dirty limit
## Postcopy
### Enabling postcopy
### Postcopy device transfer
### Source behaviour
### Destination behaviour
### Postcopy Recovery
### Postcopy states
### Source side page map
### Postcopy with hugepages
### Postcopy with shared memory
### Postcopy Preemption Mode
## Firmware
## Backwards compatibility
### How backwards compatibility works
### A device with different features on both sides
### How to mitigate when we have a backward compatibility error
""".splitlines()

_NAMED = re.compile(r"`(test_\w+\.py)(?:::(test_\w+))?`")


@cache
def files() -> dict[str, Path]:
    return {path.name: path for path in (ROOT / "tests").rglob("test_*.py")}


def missing(text: str) -> list[str]:
    """Tests that a text names and nobody has written."""
    found = []
    for file, name in _NAMED.findall(text):
        path = files().get(file)
        if path is None or (
            name and not re.search(rf"^(async )?def {name}\(", path.read_text(), re.MULTILINE)
        ):
            found.append(f"{file}::{name}")
    return found


def rows() -> list[list[str]]:
    """Cells of all rows of claims."""
    lines = (line for line in PAGE.splitlines() if line.startswith("| "))
    return [
        line.strip("| ").split(" | ") for line in lines if not line.startswith(("| the document says", "|-"))
    ]


def test_every_chapter_of_the_document_is_there_in_its_order() -> None:
    headings = [line for line in PAGE.splitlines() if line.startswith(("## ", "### "))]
    assert headings == ["## Introduction", *CHAPTERS]


@pytest.mark.parametrize("chapter", [line for line in CHAPTERS if line != "## Backwards compatibility"])
def test_every_chapter_has_claims(chapter: str) -> None:
    body = re.split(r"\n#+ ", PAGE.split(f"\n{chapter}\n")[1])[0]
    assert body.count("\n| ") >= 2


def test_every_test_that_is_named_exists() -> None:
    assert len(_NAMED.findall(PAGE)) > 150
    assert missing(PAGE) == []


def test_a_test_that_is_not_there_is_found() -> None:
    text = "`test_docs_document.py::test_it`, `test_nowhere.py`, `test_docs_document.py::test_every_chapter_has_claims`"
    assert missing(text) == ["test_docs_document.py::test_it", "test_nowhere.py::"]


def test_every_test_is_named_whole() -> None:
    """A file alone shows nothing."""
    assert [file for file, name in _NAMED.findall(PAGE) if not name] == []
    assert set(re.findall(r"test_\w+\.py", PAGE)) <= files().keys()


@pytest.mark.parametrize("column", [1, 2])
def test_every_claim_says_what_shows_it_or_why_nothing_does(column: int) -> None:
    assert [row[0] for row in rows() if len(row) > 2 and not row[column].strip()] == []
    assert {len(row) for row in rows()} <= {2, 3}

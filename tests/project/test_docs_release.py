# SPDX-License-Identifier: Apache-2.0
"""`docs/how-to/release.md` from its first command to its last: they do and print what the page says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import needs
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "release.md"
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"(?:migmatrix|openssl|echo|sed) ")
# Commands that end with 1, by what their lines begin with and how often that was before.
RED = {("migmatrix run", 0), ("migmatrix sign-off", 0)}


def blocks(text: str) -> Iterator[tuple[str, str, str]]:
    """Language, text, and the file that was named last, of each fenced block."""
    for found in _BLOCK.finditer(text):
        names = re.findall(r"`([a-z]+\.yaml)`", text[: found.start()])
        yield found[1], found[2], names[-1] if names else ""


def pattern(shown: str) -> str:
    """What matches a shown output; `...` stands for what is new each time."""
    return ".*".join(map(re.escape, shown.rstrip("\n").split("...")))


@pytest.mark.slow
def test_the_page_does_and_prints_what_it_shows(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        needs.missing("openssl")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "MIGMATRIX_STORE": str(tmp_path / "store")}
    printed = ""
    ran: list[str] = []
    for language, text, name in blocks(PAGE.read_text()):
        if language == "yaml":
            (tmp_path / name).write_text(text)
        elif not _COMMAND.match(text):
            assert re.match(pattern(text), printed), printed
        for line in text.splitlines() if not language and _COMMAND.match(text) else ():
            done = subprocess.run(
                ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
            )
            words = " ".join(line.split()[:2])
            assert done.returncode == ((words, ran.count(words)) in RED), (line, done.stderr)
            ran.append(words)
            printed = done.stdout
    assert ran.count("migmatrix sign-off") == 2
    assert ran[-1] == "migmatrix verify"
    files = {path.name for path in (tmp_path / "releases" / "1").iterdir()}
    table = PAGE.read_text().partition("| file | is |")[2].partition("\n\n")[0]
    assert files == {name.rstrip("/") for row in table.splitlines() for name in _names(row)}


def _names(row: str) -> list[str]:
    """The files that the first column of a row names."""
    return re.findall(r"`([^`]+)`", row.split("|")[1]) if row.startswith("| `") else []

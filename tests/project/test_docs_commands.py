# SPDX-License-Identifier: Apache-2.0
"""Every command that the documentation shows is one: its name, its options, and what it prints where that is shown."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import typer
from test_docs import NOW, ROOT

from migmatrix.harness.commands.main import app

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FENCE = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`(migmatrix [^`]+)`")
_ENDS = {"|", "&&", ";", ">", ">>", "2>", "<", "||"}
_OF_ALL = {"--help", "-h", "--version", "--install-completion", "--show-completion"}
TIMES = re.compile(r"\d+ min \d\d s|[\d.]+ s\b")


def commands(text: str) -> Iterator[str]:
    """Command lines in fenced blocks, continued lines joined, and those in prose."""
    for block in _FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^\$ ?|^\s*|/bin/|\| |&& |`)(migmatrix [a-z].*)", line)
            if found:
                yield found[1]
    prose = _FENCE.sub("", text)
    yield from (span.replace("\n", " ") for span in _SPAN.findall(prose))


def words_of(line: str) -> list[str]:
    """The words of a command up to a comment, a pipe or a redirection."""
    words = shlex.split(line.partition("  #")[0].partition("   ")[0], comments=True)[1:]
    end = next((n for n, word in enumerate(words) if word in _ENDS), len(words))
    return words[:end]


def unknown(line: str) -> list[str]:
    """What a command line names that the program does not have."""
    command = typer.main.get_command(app())
    words, names = words_of(line), ["migmatrix"]
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        asked = [name for name in re.split(r"[|]", words.pop(0)) if re.fullmatch(r"[a-z-]+", name)]
        if missing := [name for name in asked if name not in command.commands]:
            return missing
        if len(asked) != 1:
            return []  # several commands, or a word that stands for one
        names += asked
        command = command.commands[asked[0]]
    if names[1:] == ["stream"]:
        return []  # its own parser; tests/vmstate/test_cli.py and tests/harness/test_stream_file.py call it
    known = {text for option in command.params for text in (*option.opts, *option.secondary_opts)} | _OF_ALL
    given = [word.partition("=")[0] for word in words if re.match(r"--?[a-zA-Z]", word)]
    return [option for option in given if option not in known]


@pytest.mark.parametrize("name", NOW)
def test_commands_and_options_exist(name: str) -> None:
    found = {line: unknown(line) for line in commands((ROOT / name).read_text())}
    assert {line: wrong for line, wrong in found.items() if wrong} == {}


def test_commands_are_found_in_blocks_and_in_prose() -> None:
    text = (
        "see `migmatrix plan\n-f F`, not `run`:\n```\n$ migmatrix run -f m.yaml \\\n    --nope 1 > x\n```\n"
    )
    assert list(commands(text)) == ["migmatrix run -f m.yaml      --nope 1 > x", "migmatrix plan -f F"]
    assert unknown("migmatrix run -f m.yaml --nope 1 > x --never") == ["--nope"]
    assert unknown("migmatrix bisect nothing") == ["nothing"]
    assert unknown("migmatrix compat diff|lint") == []


def called(directory: Path, *words: str) -> str:
    """What `migmatrix` prints there, on a store of its own."""
    environment = {**os.environ, "MIGMATRIX_STORE": str(directory / "store")}
    command = [sys.executable, "-m", "migmatrix", *words]
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout


def block_after(text: str, mark: str) -> list[str]:
    """The lines of the first fenced block behind some words, without times."""
    block = text[text.index(mark) + len(mark) :].split("```", 2)[1]
    return [TIMES.sub("N s", line) for line in block.splitlines()[1:]]


def test_the_table_comparison_prints_what_its_page_shows(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "how-to" / "compat.md").read_text()
    command, *shown = block_after(page, "values. Guests started in between have the wrong value.\n")
    printed = called(tmp_path, *words_of(command.removeprefix("$ ")), "-f", str(ROOT / "matrix.yaml"))
    assert printed.splitlines() == shown


@pytest.mark.qemu
@pytest.mark.usefixtures("container_engine")
@pytest.mark.timeout(900)
def test_the_example_of_the_readme_prints_what_it_shows(tmp_path: Path) -> None:
    """But for times, how many legs the store knew, and the digits of the plan."""
    readme = (ROOT / "README.md").read_text()
    (tmp_path / "mine.yaml").write_text("\n".join(block_after(readme, "guests see an error register")))
    shown = block_after(readme, "`migmatrix run -f mine.yaml` prints the plan")
    printed = called(tmp_path, "run", "-f", "mine.yaml").splitlines()
    same = re.compile(r"runs/mine-[0-9a-f]+/")
    assert [TIMES.sub("N s", same.sub("runs/mine-PLAN/", line)) for line in printed] == shown

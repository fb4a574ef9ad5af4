# SPDX-License-Identifier: Apache-2.0
"""Words that the program prints as terms are in `docs/words.md`, each once."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import typer.main

from migmatrix.harness.builds import PROVIDERS
from migmatrix.harness.commands.main import app
from migmatrix.harness.model import Outcome, Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).parents[2]
WORDS = (ROOT / "docs" / "words.md").read_text()
# terms in help texts
IN_HELP = (
    "build", "machine", "profile", "path", "pair", "route", "leg", "mode", "guest", "cell", "matrix", "plan", "shard", "store", "run",
    "engine", "verdict", "cause", "signature", "reproducer", "remedy", "trial", "stranded", "rescue", "source", "destination",
    "entry", "stream", "section", "evidence", "culprit", "flaky",
)  # fmt: skip
# terms that only reports, plans and explanations print
IN_REPORTS = (
    "hop", "chain", "probe", "problem", "outcome", "stage", "kind", "neighbour", "override", "cure", "table line", "cohort", "sandbox",
    "release", "role", "known issue", "pattern", "glob", "selection", "candidate", "check", "equality", "abi", "provider", "transport", "key", "stuck",
)  # fmt: skip
# keys of a result that are measures or references, and no terms
MEASURES = {"seconds", "cause", "reason", "known_issue", "hops", "number"}


def terms() -> set[str]:
    """Bold words, and words in italics that a definition brings in."""
    bold = re.findall(r"\*\*([^*]+)\*\*", WORDS)
    return {*bold, *re.findall(r"(?<!\*)\*([^*\n]+)\*(?!\*)", WORDS)}


def values() -> set[str]:
    """Words in code, as definitions list them and tables define them."""
    return set(re.findall(r"`([a-z-]+)`", WORDS))


@cache
def help_text() -> str:
    return "\n".join(_helps(typer.main.get_command(app())))


def _helps(command: object) -> Iterator[str]:
    """Help of a command, of its parameters and of those below it."""
    yield getattr(command, "help", None) or ""
    for parameter in getattr(command, "params", ()):
        yield f"{getattr(parameter, 'help', '') or ''} {parameter.name}"
    for below in getattr(command, "commands", {}).values():
        yield from _helps(below)


@pytest.mark.parametrize("words", [Verdict, Outcome, Stage, PROVIDERS])
def test_values_that_are_printed_are_defined(words: Iterable[str]) -> None:
    assert {str(word) for word in words} <= values()


@pytest.mark.parametrize("enum", [Verdict, Outcome, Stage])
def test_tables_hold_each_value_and_no_other(enum: type[Verdict | Outcome | Stage]) -> None:
    section = WORDS.split(f"\n## {enum.__name__}s\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `([a-z-]+)` \|", section, re.MULTILINE) == [member.value for member in enum]


@pytest.mark.parametrize("word", [*IN_HELP, *IN_REPORTS])
def test_terms_are_defined(word: str) -> None:
    assert word in terms()


def test_the_help_speaks_in_these_terms() -> None:
    absent = {
        word for word in IN_HELP if not re.search(rf"\b{re.sub('y$', '(y|ie)', word)}s?\b", help_text())
    }
    assert len(absent) < len(IN_HELP) / 4, absent


def test_keys_of_a_result_are_defined() -> None:
    schema = json.loads((ROOT / "docs" / "results.schema.json").read_text())
    assert set(schema["properties"]) - MEASURES <= terms()


def test_no_word_is_defined_twice() -> None:
    heads = re.findall(r"^\*\*([^*]+)\*\*", WORDS, re.MULTILINE)
    assert [word for word, times in Counter(heads).items() if times > 1] == []

# SPDX-License-Identifier: Apache-2.0
"""Annotations of GitHub Actions: workflow commands, ``::error file=F,line=L,title=T::MESSAGE``, one a line.

1. The runner reads commands line by line; ``%``, CR and LF are coded in a message, ``:`` and ``,`` in a property too
   (docs.github.com, "Workflow commands"; `toCommandValue` of its toolkit).
2. A step shows ten annotations of a kind, so that the tenth says how many more there are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.harness.exports.problems import problems
from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.data import Section
from migmatrix.harness.report.text import one_line
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.harness.errors import Position
    from migmatrix.harness.exports.problems import Problem
    from migmatrix.harness.model import Cell
    from migmatrix.harness.report.data import RunReport

__all__ = ["MOST", "render_github"]

MOST: Final = 10  # annotations of a kind that a step shows
_LEVELS: Final = {
    Section.PROBLEM: "error",
    Section.FLAKY: "warning",
    Section.INFRASTRUCTURE: "warning",
    Section.KNOWN: "notice",
    Section.FIXED: "notice",
}
_ANSWERS: Final = {Ship.NO: "error", Ship.UNKNOWN: "warning", Ship.YES: "notice", Ship.CLEAN: "notice"}
_LIMIT: Final = 500  # characters


def render_github(report: RunReport, place: Callable[[Cell], Position]) -> str:
    """The commands: the answer, then the problems."""
    lines: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    answer = report.answer()
    said = ". ".join(one_line(part, _LIMIT) for part in (answer.sentence, *answer.limits))
    title = one_line(f"migmatrix: {answer.headline}", _LIMIT)
    lines[_ANSWERS[answer.ship]].append(_command(_ANSWERS[answer.ship], said, title=title))
    for found in problems(report):
        lines[_LEVELS[found.section]].append(_of(found, place(found.group.smallest.cell)))
    return "".join(f"{line}\n" for level in lines for line in _shown(level, lines[level]))


def _shown(level: str, lines: list[str]) -> Iterator[str]:
    if len(lines) <= MOST:
        yield from lines
        return
    yield from lines[: MOST - 1]
    yield _command(level, f"and {len(lines) - MOST + 1} more", title="migmatrix")


def _of(found: Problem, where: Position) -> str:
    message = "\n".join(found.lines)
    return _command(_LEVELS[found.section], message, file=where.file, line=str(where.line), title=found.title)


def _command(level: str, message: str, **properties: str) -> str:
    said = ",".join(f"{name}={_coded(value, ':,')}" for name, value in properties.items())
    return f"::{level} {said}::{_coded(message)}"


def _coded(text: str, more: str = "") -> str:
    """A message, or with `more` a property; ``%`` first, as it stands in the codes."""
    return "".join(f"%{ord(c):02X}" if c in f"%\r\n{more}" else c for c in visible(text))

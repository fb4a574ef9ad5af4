# SPDX-License-Identifier: Apache-2.0
"""A comparison as text: for a terminal, as Markdown, as JSON. Decides nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.history.compare import Kind
from migmatrix.harness.report.markdown import code, table_code
from migmatrix.harness.report.terminal import describe_problem, spread
from migmatrix.harness.report.text import one_line, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.history.changes import Change
    from migmatrix.harness.history.compare import Comparison, Problem

__all__ = ["changes_json", "to_json", "to_lines", "to_markdown"]

_TITLES: Final = {
    Kind.NEW: "new problems",
    Kind.CHANGED: "still failing, with another signature",
    Kind.FLAKY: "flaky: the same legs gave two answers",
    Kind.STILL: "still there",
    Kind.FIXED: "fixed",
    Kind.GONE: "gone: failed before, no verdict now",
}
_MESSAGE: Final = 240
_CHANGES: Final = 12


def _head(found: Comparison) -> str:
    counts = ", ".join(f"{len(found.problems[kind])} {kind}" for kind in Kind if found.problems[kind])
    return f"{found.old} -> {found.new}: {counts or 'no difference'}"


def _loud(found: Comparison) -> Iterator[str]:
    """What comes before any list."""
    if found.surge:
        yield f"surge: {found.surge.text}"
    if found.silenced:
        yield f"{plural(len(found.silenced), 'cell')} had a verdict and now has none"


def to_lines(found: Comparison) -> Iterator[str]:
    """For a terminal: the surge first, then the problems of each kind."""
    yield visible(_head(found))
    yield from (f"  {visible(line)}" for line in _loud(found))
    yield from (f"  changed: {visible(line)}" for line in _few(found.changes))
    for kind, problems in found.problems.items():
        if problems:
            yield ""
            yield f"{_TITLES[kind]}"
        for number, problem in enumerate(problems, 1):
            yield from _lines(number, problem)


def _few(changes: Sequence[Change]) -> Iterator[str]:
    yield from (change.text for change in changes[:_CHANGES])
    if len(changes) > _CHANGES:
        yield f"and {len(changes) - _CHANGES:,} more"


def _lines(number: int, problem: Problem) -> Iterator[str]:
    group = problem.group
    yield f"{number:>3}. {plural(len(problem.cells), 'cell')}  {describe_problem(group)}{_own(problem)}"
    if group.cause is not None and group.cause.message:
        yield f"     {one_line(group.cause.message, _MESSAGE)}"
    if problem.before:
        yield f"     before: {visible(', '.join(problem.before))}"
    if problem.earlier:
        yield f"     before: {plural(problem.earlier, 'cell')} had it"
    yield f"     {spread(group)}"
    yield f"     smallest: {visible(group.smallest.cell.id)}"


def _own(problem: Problem) -> str:
    return " (a build has it with itself too)" if problem.group.own else ""


def to_markdown(found: Comparison) -> str:
    """For a merge request; foreign text stands in code spans only."""
    lines = [f"## {code(found.old)} → {code(found.new)}", ""]
    lines += [f"**{code(line, 600)}**" for line in _loud(found)]
    lines += [f"- changed: {code(line)}" for line in _few(found.changes)]
    if not any(found.problems.values()):
        lines += ["", "No difference."]
    for kind, problems in found.problems.items():
        if problems:
            lines += [
                "",
                f"### {_TITLES[kind].capitalize()}",
                "",
                "| cells | what | smallest cell |",
                "|---:|---|---|",
            ]
            lines += [_row(problem) for problem in problems]
    return "\n".join(lines) + "\n"


def _row(problem: Problem) -> str:
    what = table_code(describe_problem(problem.group))
    if problem.before:
        what += f" before {table_code(', '.join(problem.before))}"
    return f"| {len(problem.cells)} | {what} | {table_code(problem.group.smallest.cell.id)} |"


def to_json(found: Comparison) -> dict[str, Any]:
    """For programs: kinds, then problems, then ids, each in a stable order."""
    return {
        "old": found.old,
        "new": found.new,
        "cells": {"old": found.cells[0], "new": found.cells[1]},
        "worse": found.worse,
        "surge": found.surge and {**asdict(found.surge), "text": found.surge.text},
        "changes": changes_json(found.changes),
        "silenced": list(found.silenced),
        "problems": {kind.value: [_problem(one) for one in found.problems[kind]] for kind in Kind},
    }


def changes_json(changes: Sequence[Change]) -> list[dict[str, str]]:
    """Changes as JSON."""
    return [asdict(change) for change in changes]


def _problem(problem: Problem) -> dict[str, Any]:
    group = problem.group
    return {
        "signature": group.signature,
        "signatures": [variant.signature for variant in group.variants],
        "cause": asdict(group.cause) if group.cause else None,
        "own": group.own,
        "smallest": group.smallest.cell.id,
        "before": list(problem.before),
        "earlier": problem.earlier,
        "cells": list(problem.cells),
    }

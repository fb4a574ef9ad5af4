# SPDX-License-Identifier: Apache-2.0
"""GitLab's code quality report: one JSON array, shown in merge requests (docs.gitlab.com, "Code Quality").

A fingerprint is of the problem and not of its place: the same problem of another night is the same finding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.exports.clean import json_text
from migmatrix.harness.exports.problems import problems
from migmatrix.harness.report.data import Section

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.harness.errors import Position
    from migmatrix.harness.exports.problems import Problem
    from migmatrix.harness.model import Cell
    from migmatrix.harness.report.data import RunReport

__all__ = ["render_gitlab"]

_SEVERITY: Final = {
    Section.PROBLEM: "critical",
    Section.FLAKY: "minor",
    Section.INFRASTRUCTURE: "minor",
    Section.KNOWN: "info",
    Section.FIXED: "info",
}


def render_gitlab(report: RunReport, place: Callable[[Cell], Position]) -> str:
    """The document."""
    return json_text([_finding(found, place(found.group.smallest.cell)) for found in problems(report)])


def _finding(found: Problem, where: Position) -> dict[str, Any]:
    own = found.section is Section.PROBLEM and found.group.own
    return {
        "description": "\n".join((found.title, *found.lines)),
        "check_name": f"migmatrix-{found.section.value}",
        "fingerprint": found.fingerprint,
        "severity": "major" if own else _SEVERITY[found.section],
        "location": {"path": where.file, "lines": {"begin": where.line}},
    }

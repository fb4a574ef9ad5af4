# SPDX-License-Identifier: Apache-2.0
"""What a webhook is told of a run: one JSON object (docs/webhook.schema.json), small whatever the run's size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.exports.clean import json_text
from migmatrix.harness.exports.problems import ORDER, problems
from migmatrix.harness.report.text import one_line

if TYPE_CHECKING:
    from migmatrix.harness.exports.problems import Problem
    from migmatrix.harness.report.data import RunReport

__all__ = ["render_webhook"]

_FORMAT: Final = 1  # raised when a reader of the old form would misread the new one
_MOST: Final = 20  # problems
_TEXT: Final = 1000  # characters


def render_webhook(report: RunReport) -> str:
    """The document."""
    answer, found = report.answer(), list(problems(report))
    return json_text(
        {
            "format": _FORMAT,
            "event": "run",
            "title": one_line(report.title, _TEXT),
            "matrix": one_line(report.matrix, _TEXT),
            "answer": {
                "ship": answer.ship.value,
                "headline": one_line(answer.headline, _TEXT),
                "sentence": one_line(answer.sentence, _TEXT),
                "limits": [one_line(limit, _TEXT) for limit in answer.limits],
            },
            "exit_code": int(report.exit_code),
            "started": report.started.isoformat(),
            "finished": report.finished.isoformat(),
            "run_dir": one_line(report.run_dir, _TEXT),
            "cells": {
                "planned": report.cells_planned,
                "total": len(report.results),
                "verdicts": dict(sorted(report.verdicts().items())),
                "outcomes": dict(sorted(report.outcomes().items())),
            },
            "counts": {section.value: len(report.groups(section)) for section in ORDER},
            "problems": [_problem(one) for one in found[:_MOST]],
            "more_problems": max(0, len(found) - _MOST),
        }
    )


def _problem(found: Problem) -> dict[str, Any]:
    group = found.group
    return {
        "section": found.section.value,
        "fingerprint": found.fingerprint,
        "title": found.title,
        "text": list(found.lines),
        "signature": one_line(group.signature, _TEXT) if group.signature else None,
        "own": group.own,
        "cells": group.cells,
        "smallest": one_line(group.smallest.cell.id, _TEXT),
        "command": one_line(group.command, 4 * _TEXT),
    }

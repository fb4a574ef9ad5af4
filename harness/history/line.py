# SPDX-License-Identifier: Apache-2.0
"""A `Night` as one line of the history, and back (schema: docs/history.schema.json).

1. A line is a JSON object whose first member is the SHA-256 of the rest (`harness.files.sealed`); `previous` is that of
   the line before it, so that the order and the number of lines are part of what is sealed.
2. What is read was written so: ValueError for every other line.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.files import sealed, unsealed
from migmatrix.harness.history.columns import columns
from migmatrix.harness.history.records import (
    BuildRow,
    Counts,
    Environment,
    KnownIssueNote,
    Night,
    Sighting,
)
from migmatrix.harness.model import Cause

if TYPE_CHECKING:
    from migmatrix.harness.history.columns import Axes

__all__ = ["FIRST", "FORMAT", "night_of_line", "previous_of", "sealed_line"]

FORMAT: Final = 1
FIRST: Final = ""  # what the first line has as `previous`
_NEVER: Final = b"\n"  # no line without a seal is one


def sealed_line(night: Night, previous: str) -> bytes:
    """The line of a night behind the line with the SHA-256 `previous`; its number and its own SHA-256 do not matter."""
    data = {"format": FORMAT, "previous": previous, **_facts(night), **_cells(night)}
    return sealed(json.dumps(data, separators=(",", ":")).encode()) + b"\n"


def _facts(night: Night) -> dict[str, Any]:
    return {
        "run": night.run,
        "time": night.time.isoformat(),
        "finished": night.finished.isoformat(),
        "matrix": night.matrix,
        "title": night.title,
        "matrix_file": night.matrix_file,
        "exit_code": night.exit_code,
        "interrupted": night.interrupted,
        "selection": list(night.selection),
        "every": None if night.every is None else night.every.total_seconds(),
        "environment": asdict(night.environment),
        "builds": [asdict(build) for build in night.builds],
        "arguments": dict(night.arguments),
        "profiles": dict(night.profiles),
        "counts": asdict(night.counts),
        "legs": {"executed": night.legs[0], "reused": night.legs[1]},
        "root": night.root,
    }


def _cells(night: Night) -> dict[str, Any]:
    axis, cells = columns(night.cells)
    return {
        "signatures": [
            {
                "signature": seen.signature,
                **asdict(seen.cause),
                "cells": seen.cells,
                "explanation": list(seen.explanation),
            }
            for seen in night.sightings
        ],
        "known_issues": [asdict(note) for note in night.known_issues],
        "axis": axis,
        "cells": cells,
    }


def previous_of(line: bytes) -> tuple[str, str]:
    """The SHA-256 of a line and of the one before it; ValueError when it is not whole."""
    data = _data(line)
    return json.loads(line)["sha256"], data["previous"]


def night_of_line(line: bytes, number: int, axes: Axes) -> tuple[Night, str]:
    """The night of a line, and the SHA-256 of the line before it; ValueError when it is not what was written."""
    data = _data(line)
    try:
        return _night(data, number, json.loads(line[:80].partition(b",")[0] + b"}")["sha256"], axes), data[
            "previous"
        ]
    except (KeyError, TypeError, AttributeError) as err:
        raise ValueError(f"it lacks {err}") from err


def _data(line: bytes) -> Any:
    data = json.loads(unsealed(line.rstrip(b"\n"), _NEVER))
    if data.get("format") != FORMAT:
        raise ValueError(f"its format is {data.get('format')!r}, not {FORMAT}")
    return data


def _night(data: dict[str, Any], number: int, sha256: str, axes: Axes) -> Night:
    return Night(
        number=number,
        sha256=sha256,
        run=data["run"],
        time=datetime.fromisoformat(data["time"]),
        finished=datetime.fromisoformat(data["finished"]),
        matrix=data["matrix"],
        title=data["title"],
        matrix_file=data["matrix_file"],
        environment=Environment(**data["environment"]),
        builds=tuple(BuildRow(**row) for row in data["builds"]),
        arguments=data["arguments"],
        profiles=data["profiles"],
        counts=Counts(**data["counts"]),
        legs=(data["legs"]["executed"], data["legs"]["reused"]),
        exit_code=data["exit_code"],
        interrupted=data["interrupted"],
        selection=tuple(data["selection"]),
        every=None if data["every"] is None else timedelta(seconds=data["every"]),
        root=data["root"],
        sightings=tuple(
            Sighting(
                row["signature"],
                Cause(row["kind"], row["device"], row["field"], row["message"]),
                row["cells"],
                tuple(row["explanation"]),
            )
            for row in data["signatures"]
        ),
        known_issues=tuple(KnownIssueNote(**row) for row in data["known_issues"]),
        cells=axes.unpack(data["axis"], data["cells"]),
    )

# SPDX-License-Identifier: Apache-2.0
"""Nights as the tests of histories write them: cells by a word each, everything else as on any night."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from migmatrix.harness.history.book import append
from migmatrix.harness.history.columns import cells_of
from migmatrix.harness.history.merkle import root_of
from migmatrix.harness.history.records import BuildRow, Counts, Environment, Night, NightCell, Sighting
from migmatrix.harness.model import Cause, Cell, Outcome, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from migmatrix.harness.history.history import History

EPOCH = datetime(2026, 1, 1, 2, 0, tzinfo=UTC)
HERE = Environment("0.1.0", "aa", "6.1.0", "process")
OLD, NEW = BuildRow("old", "9.0.0", "", "", "0" * 64), BuildRow("new", "9.1.0", "", "", "1" * 64)
WORDS = {
    "ok": (Verdict.PASS, Outcome.OK),
    "red": (Verdict.FAIL, Outcome.REGRESSION),
    "known": (Verdict.FAIL, Outcome.KNOWN),
    "wrong": (Verdict.FAIL, Outcome.WRONG_FAILURE),
    "fixed": (Verdict.PASS, Outcome.FIXED),
    "skipped": (Verdict.UNSUPPORTED, Outcome.SKIPPED),
    "blocked": (Verdict.BLOCKED, Outcome.OK),
    "lost": (Verdict.ERROR, Outcome.INCOMPLETE),
    "flaky": (Verdict.ERROR, Outcome.FLAKY),
}


def cell(name: str) -> Cell:
    return Cell("pc-q35-7.2", name, ("old", "new"))


def one(name: str, word: str, key: str = "k1", **changes: Any) -> NightCell:
    """A cell by its profile and a word; ``red:sig`` has that signature."""
    word, _, signature = word.partition(":")
    verdict, outcome = WORDS[word]
    failed = verdict in (Verdict.FAIL, Verdict.ERROR)
    named = signature or ("pci-config nic 0x10" if failed else "")
    return NightCell(
        cell(name),
        verdict,
        outcome,
        named or None,
        key.ljust(10, "0"),
        False,
        1 if failed else None,
        **changes,
    )


def night(day: int, cells: Mapping[str, str | NightCell], **changes: Any) -> Night:
    """The night of a day from 0."""
    made = [found if isinstance(found, NightCell) else one(name, found) for name, found in cells.items()]
    signatures = sorted({found.signature for found in made if found.signature})
    base = Night(
        number=day + 1, sha256="", run=f"{day:064x}", time=EPOCH + timedelta(days=day),
        finished=EPOCH + timedelta(days=day, hours=1), matrix="m", title="Migration matrix m", matrix_file="m.yaml",
        environment=HERE, builds=(OLD, NEW), arguments={}, profiles=dict.fromkeys(cells, "p"),
        counts=Counts(len(made), len(made), 0, 0, 0), legs=(len(made), 0), exit_code=0, interrupted=False,
        selection=(), every=None, root=root_of(made),
        sightings=tuple(Sighting(s, Cause(*s.split(" ")[:3]), 1) for s in signatures), known_issues=(),
        cells=cells_of(made),
    )  # fmt: skip
    return replace(base, **changes)


def written(path: Path, *nights: Night) -> History:
    """The history of these nights in a file."""
    from migmatrix.harness.history.history import History

    for one_night in nights:
        append(path, lambda _, made=one_night: made, print)  # type: ignore[misc]  # a default binds the loop's night
    return History.open(path)

# SPDX-License-Identifier: Apache-2.0
"""What a history holds, as plain records: `Night` (one run), its `NightCells`, and one of them, `NightCell`.

1. Equal runs make equal records, whatever the order of their results: cells are in the order of their ids.
2. The cells of a night are columns: 30,000 cells of 60 nights are no objects until somebody asks for one.
3. `Environment` is what may change a verdict and is in no leg's key. So "the same legs, another verdict" is flaky only
   where the environment is the same too.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import TYPE_CHECKING, Final

from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Verdict
from migmatrix.harness.report import BuildRow, KnownIssueNote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime, timedelta

__all__ = [
    "KEY",
    "BuildRow",
    "Counts",
    "Environment",
    "KnownIssueNote",
    "Night",
    "NightCell",
    "NightCells",
    "Sighting",
    "State",
]


KEY: Final = 10  # hex digits that are kept of a key: by chance two keys of one cell agree once in 10^12


class State(StrEnum):
    """Where a cell stands on a night, told by that night and those before it (`harness.history.states`)."""

    NEW = "new"
    STILL = "still"
    FLAKY = "flaky"
    KNOWN = "known"
    FIXED = "fixed"
    STALE = "stale"
    NOT_RUN = "not run"
    SKIPPED = "skipped"
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Environment:
    """Where and by what a night was judged; `patterns` is the digest of the judge's table, "" where it is not known."""

    harness: str
    patterns: str
    kernel: str
    engine: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Cells: `planned`; `run`, with a leg done that night; `reused`, all legs from the store; `skipped`, not startable.

    `left_out` cells were not planned at all.
    """

    planned: int
    run: int
    reused: int
    skipped: int
    left_out: int

    @property
    def judged(self) -> int:
        """Cells that have a verdict."""
        return self.run + self.reused + self.skipped


@dataclass(frozen=True, slots=True)
class Sighting:
    """A signature on a night: a cause of one of its cells, how many it has, and what `explain` said, if it was asked."""

    signature: str
    cause: Cause
    cells: int
    explanation: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NightCell:
    """One cell on one night. `key` begins that of its last leg ("" not known); `reused` is None where it is not known."""

    cell: Cell
    verdict: Verdict
    outcome: Outcome
    signature: str | None = None
    key: str = ""
    reused: bool | None = None
    hop: int | None = None
    known_issue: str | None = None

    @property
    def id(self) -> str:
        """The id of the cell."""
        return self.cell.id


@dataclass(frozen=True)
class NightCells:
    """The cells of one night, by columns of equal length.

    `keys` has `KEY` characters for each cell, filled up with ``-``; `signature` is an index of `signatures` plus 1, 0 for
    none, `hop` 0 for none; `issues` are known issues by place.
    """

    cells: Sequence[Cell]
    ids: Sequence[str]
    places: Mapping[str, int] = field(repr=False)  # id -> index
    verdicts: Sequence[Verdict] = field(repr=False)
    outcomes: Sequence[Outcome] = field(repr=False)
    signatures: Sequence[str] = field(repr=False)
    signature: Sequence[int] = field(repr=False)
    hop: Sequence[int] = field(repr=False)
    keys: str = field(repr=False)
    reuse: Sequence[bool | None] = field(repr=False)
    issues: Mapping[int, str] = field(repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[NightCell]:
        return map(self.at, range(len(self.ids)))

    def at(self, index: int) -> NightCell:
        """The cell at a place of the columns."""
        return NightCell(
            self.cells[index],
            self.verdicts[index],
            self.outcomes[index],
            self.signature_at(index),
            self.key_at(index),
            self.reuse[index],
            self.hop[index] or None,
            self.issues.get(index),
        )

    def signature_at(self, index: int) -> str | None:
        """The signature at a place of the columns."""
        number = self.signature[index]
        return self.signatures[number - 1] if number else None

    def key_at(self, index: int) -> str:
        """The key at a place of the columns, "" where it is not known."""
        return self.keys[index * KEY : (index + 1) * KEY].rstrip("-")

    def get(self, id_: str) -> NightCell | None:
        """The cell of an id, None when the night has none."""
        index = self.places.get(id_)
        return None if index is None else self.at(index)


@dataclass(frozen=True)
class Night:
    """One run, as the history keeps it: a line of the file, whose schema is docs/history.schema.json.

    `number` counts lines from 1. `time` and `finished` are aware. `profiles` holds a digest of each profile's arguments, `arguments` one of
    each build's own.
    `every` is the cadence that was stored with it. `run` names the run: two records of one run have the same.
    """

    number: int
    sha256: str
    run: str
    time: datetime
    finished: datetime
    matrix: str
    title: str
    matrix_file: str
    environment: Environment
    builds: tuple[BuildRow, ...]
    arguments: Mapping[str, str]
    profiles: Mapping[str, str]
    counts: Counts
    legs: tuple[int, int]  # executed, reused
    exit_code: int
    interrupted: bool
    selection: tuple[str, ...]  # `--select` and `--path`: empty for a whole run
    every: timedelta | None
    root: str
    sightings: tuple[Sighting, ...]
    known_issues: tuple[KnownIssueNote, ...]
    cells: NightCells

    @cached_property
    def sighted(self) -> Mapping[str, Sighting]:
        """What was seen of each signature."""
        return {sighting.signature: sighting for sighting in self.sightings}

    @cached_property
    def built(self) -> Mapping[str, BuildRow]:
        """The builds by id."""
        return {build.id: build for build in self.builds}

    def results(self) -> list[CellResult]:
        """The cells as results, as far as a history knows them: without stage, seconds and legs."""
        return [self._result(cell) for cell in self.cells]

    def _result(self, cell: NightCell) -> CellResult:
        seen = self.sighted.get(cell.signature or "")
        return CellResult(
            cell.cell,
            cell.verdict,
            cell.outcome,
            cell.hop,
            None,
            seen.cause if seen else None,
            cell.signature,
            known_issue=cell.known_issue,
        )

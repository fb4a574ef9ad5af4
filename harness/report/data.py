# SPDX-License-Identifier: Apache-2.0
"""The one plain record that every renderer gets, and the questions all of them ask of it.

1. A renderer never decides: verdicts, outcomes and the exit code are in the record already.
2. Everything here is pure; equal records give equal reports, whatever the order of the results.
3. Only cells shown in detail ask for evidence, so that a run of 30,000 cells is not read into memory.
"""

from __future__ import annotations

import shlex
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import Cell, CellResult, LegEvidence, Outcome, Profile, Verdict
from migmatrix.harness.report.answer import Answer, Ship, answer_of
from migmatrix.harness.report.courses import Unlike, unlike
from migmatrix.harness.report.notes import Noted, noted
from migmatrix.harness.report.problems import (
    Group,
    group,
    group_key,
    natural,
    numbered,
    repeat_command,
    run_arguments,
)
from migmatrix.harness.tested import Untested, untested

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

__all__ = [
    "SECTIONS",
    "Answer",
    "BuildRow",
    "CiStatus",
    "Dropped",
    "ExplanationNote",
    "Group",
    "HostFacts",
    "KnownIssueNote",
    "LegCounts",
    "RunReport",
    "Section",
    "Ship",
    "ci_status",
    "group",
    "group_key",
    "natural",
    "numbered",
    "repeat_command",
    "section_of",
]


@dataclass(frozen=True, slots=True)
class BuildRow:
    """A build as the report shows it; `digest` is the hex SHA-256 of `BuildFacts`."""

    id: str
    version: str
    package: str = ""
    origin: str = ""
    digest: str = ""


@dataclass(frozen=True, slots=True)
class HostFacts:
    """Where the run took place; the kernel is one more axis of the matrix, not chosen in it.

    `engine` is for people ("docker 28.1.1").
    """

    kernel: str
    cpus: int
    engine: str


@dataclass(frozen=True, slots=True)
class LegCounts:
    """Legs that were executed by this run, and legs whose stored result was used again."""

    executed: int
    reused: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """`count` cells that were not planned: what they have in common, and why."""

    what: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class KnownIssueNote:
    """An entry of the known-issues file. `state` is ``active``, ``unmatched`` or ``expired``."""

    id: str
    state: str
    reason: str = ""
    link: str = ""
    owner: str = ""
    expires: str = ""


@dataclass(frozen=True, slots=True)
class ExplanationNote:
    """What `migmatrix explain` found about a signature.

    `summary` is one sentence, `lines` the whole for people, `data` as docs/explain.schema.json has it.
    """

    summary: str
    lines: tuple[str, ...]
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> list[tuple[str, list[str]]]:
        """The lines as a table: a name, and what is said of it; the first line, the signature, is left out.

        A line is two blanks, a name of twelve columns or more (none: the line before goes on), a blank, text.
        """
        rows: list[tuple[str, list[str]]] = []
        for line in self.lines:
            if not line.startswith("  "):
                continue
            name, text = line[2:14].rstrip(), line[14:]
            if not text.startswith(" "):
                rest, _, text = text.partition(" ")
                name += rest
            if name or not rows:
                rows.append((name, []))
            rows[-1][1].append(text.strip())
        return rows


class Section(StrEnum):
    """Where a group belongs in a report."""

    PROBLEM = "problem"
    FLAKY = "flaky"
    INFRASTRUCTURE = "infrastructure"
    KNOWN = "known"
    FIXED = "fixed"


SECTIONS = {
    Outcome.REGRESSION: Section.PROBLEM,
    Outcome.WRONG_FAILURE: Section.PROBLEM,
    Outcome.FLAKY: Section.FLAKY,
    Outcome.INCOMPLETE: Section.INFRASTRUCTURE,
    Outcome.KNOWN: Section.KNOWN,
    Outcome.FIXED: Section.FIXED,
}


def section_of(result: CellResult) -> Section | None:
    """The section whose groups contain `result`, None for a cell that needs no attention."""
    return SECTIONS.get(result.outcome)


class CiStatus(StrEnum):
    """What a CI server is told of a cell; it colours the job by it, so it must agree with the exit code."""

    PASSED = "passed"
    FAILED = "failed"  # makes the exit code 1
    ERROR = "error"  # makes the exit code 3
    KNOWN = "known"  # an expected failure: neither reddens the job nor hides among the passes
    FLAKY = "flaky"  # two answers: neither reddens the job nor hides among the passes
    SKIPPED = "skipped"  # not run, or refused with a reason


_CI_BY_OUTCOME = {
    Outcome.REGRESSION: CiStatus.FAILED,
    Outcome.WRONG_FAILURE: CiStatus.FAILED,
    Outcome.INCOMPLETE: CiStatus.ERROR,
    Outcome.FLAKY: CiStatus.FLAKY,
    Outcome.KNOWN: CiStatus.KNOWN,
    Outcome.SKIPPED: CiStatus.SKIPPED,
}


def ci_status(result: CellResult) -> CiStatus:
    """The status of a cell in every format for CI servers: by its outcome, and a blocked cell that is ok is skipped."""
    refused = result.verdict is Verdict.BLOCKED
    return _CI_BY_OUTCOME.get(result.outcome, CiStatus.SKIPPED if refused else CiStatus.PASSED)


def _no_evidence(_: CellResult) -> Sequence[LegEvidence]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One run, ready to be rendered.

    `started` and `finished` are aware datetimes. `seed` is None when none was given on the command
    line. `selection` holds the `--select` terms, `paths` those of `--path`. `unmet` are demands of the policy that are not
    met, in words, `missing_shards` those that a merge lacks (I/N). `command` repeats the run; `run_dir` names it for
    `migmatrix show`. `evidence` returns the legs of a cell in the order of its path, or nothing
    when they are no longer stored; it is called for few cells only. `explanations` are by signature.
    `numbers` are those of the plan, by cell id, as far as they are known.
    """

    matrix: str
    matrix_file: str
    title: str
    started: datetime
    finished: datetime
    results: Sequence[CellResult] = field(repr=False)
    cells_planned: int
    builds: Sequence[BuildRow]
    host: HostFacts
    legs: LegCounts
    exit_code: int
    command: str
    harness_version: str
    run_dir: str = ""
    seed: int | None = None
    shard: str = ""
    selection: Sequence[str] = ()
    paths: Sequence[str] = ()
    unmet: Sequence[str] = ()
    missing_shards: Sequence[str] = ()
    profiles: Sequence[Profile] = ()
    dropped: Sequence[Dropped] = ()
    known_issues: Sequence[KnownIssueNote] = ()
    explanations: Mapping[str, Sequence[ExplanationNote]] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict, repr=False)
    interrupted: bool = False
    evidence: Callable[[CellResult], Sequence[LegEvidence]] = _no_evidence
    _groups: dict[Section, list[Group]] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return (self.finished - self.started).total_seconds()

    def named(self, cell: Cell) -> str:
        """Return the cell id behind its number in the plan, ``#12 pc-q35-7.2/...``, which `migmatrix show` takes."""
        return numbered(cell, self.numbers.get(cell.id))

    def explained(self, found: Group) -> list[ExplanationNote]:
        """What was found out about a group: of each part of each of its signatures that was explained."""
        return [note for one in found.variants for note in self.explanations.get(one.signature or "", ())]

    def verdicts(self) -> Counter[Verdict]:
        """Cells by verdict."""
        return Counter(r.verdict for r in self.results)

    def outcomes(self) -> Counter[Outcome]:
        """Cells by outcome."""
        return Counter(r.outcome for r in self.results)

    def repeat(self, cell: Cell) -> str:
        """The command line, quoted for a shell, that runs `cell` alone."""
        return repeat_command(cell, self.matrix_file, self.seed)

    @property
    def repeat_prefix(self) -> str:
        """What stands before ``cell=...`` in the command that repeats a cell."""
        return shlex.join(run_arguments(self.matrix_file, self.seed))

    def groups(self, section: Section) -> list[Group]:
        """The groups of one section: breaks between builds before what a build has with itself too, largest first.

        Every report asks several times; results do not change, so they are grouped once.
        """
        if section not in self._groups:
            self._groups[section] = group(
                [r for r in self.results if section_of(r) is section],
                among=self.results,
                matrix_file=self.matrix_file,
                seed=self.seed,
                profiles=self.profiles,
            )
        return self._groups[section]

    @property
    def part(self) -> bool:
        """Whether only some cells of the matrix were asked for."""
        return bool(self.shard or self.selection or self.paths)

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return len(self.groups(Section.PROBLEM))

    @property
    def own_problems(self) -> int:
        """How many of them a build has with itself too."""
        return sum(found.own for found in self.groups(Section.PROBLEM))

    def carriers(self) -> dict[str, list[CellResult]]:
        """Flaky cells by who carries them, with the date until which: ``ann, until 2027-01-31``; else ``nobody``."""
        notes = {note.id: f"{note.owner}, until {note.expires}" for note in self.known_issues}
        found: dict[str, list[CellResult]] = {}
        for result in self.results:
            if result.outcome is Outcome.FLAKY:
                found.setdefault(notes.get(result.known_issue or "", "nobody"), []).append(result)
        return dict(sorted(found.items()))

    def untested(self) -> list[Untested]:
        """What was not tested, by reason, most cells first."""
        return untested(self.results)

    def noted(self) -> list[Noted]:
        """What the builds of passing cells were told otherwise than those before them, most cells first."""
        return noted(self.results)

    def unlike(self) -> list[Unlike]:
        """Statuses and events that not all builds have in the same mode."""
        return unlike(self.results)

    def answer(self) -> Answer:
        """The first line of every report."""
        return answer_of(self)

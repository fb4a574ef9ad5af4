# SPDX-License-Identifier: Apache-2.0
"""The one plain record that every renderer gets, and the questions all of them ask of it.

1. A renderer never decides: verdicts, outcomes and the exit code are in the record already.
2. Everything here is pure; equal records give equal reports, whatever the order of the results.
3. Only cells shown in detail ask for evidence, so that a run of 30,000 cells is not read into memory.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import Cause, Cell, CellResult, LegEvidence, Outcome, Profile, Verdict
from migmatrix.harness.report.answer import Answer, Ship, answer_of
from migmatrix.harness.tested import Untested, untested

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

__all__ = [
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


class Section(StrEnum):
    """Where a group belongs in a report."""

    PROBLEM = "problem"
    INFRASTRUCTURE = "infrastructure"
    KNOWN = "known"
    FIXED = "fixed"


_SECTIONS = {
    Outcome.REGRESSION: Section.PROBLEM,
    Outcome.WRONG_FAILURE: Section.PROBLEM,
    Outcome.INCOMPLETE: Section.INFRASTRUCTURE,
    Outcome.KNOWN: Section.KNOWN,
    Outcome.FIXED: Section.FIXED,
}


def section_of(result: CellResult) -> Section | None:
    """The section whose groups contain `result`, None for a cell that needs no attention."""
    return _SECTIONS.get(result.outcome)


class CiStatus(StrEnum):
    """What a CI server is told of a cell; it colours the job by it, so it must agree with the exit code."""

    PASSED = "passed"
    FAILED = "failed"  # makes the exit code 1
    ERROR = "error"  # makes the exit code 3
    KNOWN = "known"  # an expected failure: neither reddens the job nor hides among the passes
    SKIPPED = "skipped"  # not run, or refused with a reason


_CI_BY_OUTCOME = {
    Outcome.REGRESSION: CiStatus.FAILED,
    Outcome.WRONG_FAILURE: CiStatus.FAILED,
    Outcome.INCOMPLETE: CiStatus.ERROR,
    Outcome.KNOWN: CiStatus.KNOWN,
    Outcome.SKIPPED: CiStatus.SKIPPED,
}


def ci_status(result: CellResult) -> CiStatus:
    """The status of a cell in every format for CI servers: by its outcome, and a blocked cell that is ok is skipped."""
    refused = result.verdict is Verdict.BLOCKED
    return _CI_BY_OUTCOME.get(result.outcome, CiStatus.SKIPPED if refused else CiStatus.PASSED)


@dataclass(frozen=True, slots=True)
class Group:
    """Cells with one signature: one problem.

    `smallest` is the smallest reproducing cell and `command` repeats it; `cause` is its cause.
    `routes` are (source, destination) builds of the migrations that went wrong, most frequent first.
    """

    key: str
    signature: str | None
    cause: Cause | None
    cells: int
    outcomes: tuple[tuple[Outcome, int], ...]
    machines: tuple[str, ...]
    profiles: tuple[str, ...]
    routes: tuple[tuple[str, str], ...]
    smallest: CellResult
    command: str

    @property
    def sources(self) -> tuple[str, ...]:
        """The source builds involved, each once."""
        return tuple(dict.fromkeys(source for source, _ in self.routes))


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
    explanations: Mapping[str, ExplanationNote] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict, repr=False)
    interrupted: bool = False
    evidence: Callable[[CellResult], Sequence[LegEvidence]] = _no_evidence

    @property
    def seconds(self) -> float:
        """Wall time of the run."""
        return (self.finished - self.started).total_seconds()

    def named(self, cell: Cell) -> str:
        """Return the cell id behind its number in the plan, ``#12 pc-q35-7.2/...``, which `migmatrix show` takes."""
        return numbered(cell, self.numbers.get(cell.id))

    def explanation(self, found: Group) -> ExplanationNote | None:
        """What was found out about a group, if it was explained."""
        return self.explanations.get(found.signature or "")

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
        return shlex.join(_run_arguments(self.matrix_file, self.seed))

    def groups(self, section: Section) -> list[Group]:
        """The groups of one section, largest first."""
        chosen = [r for r in self.results if section_of(r) is section]
        return group(chosen, matrix_file=self.matrix_file, seed=self.seed, profiles=self.profiles)

    @property
    def part(self) -> bool:
        """Whether only some cells of the matrix were asked for."""
        return bool(self.shard or self.selection or self.paths)

    @property
    def problems(self) -> int:
        """How many problems there are."""
        return len(self.groups(Section.PROBLEM))

    def untested(self) -> list[Untested]:
        """What was not tested, by reason, most cells first."""
        return untested(self.results)

    def answer(self) -> Answer:
        """The first line of every report."""
        return answer_of(self)


def numbered(cell: Cell, number: int | None) -> str:
    """Return a cell id behind its number in the plan, if that is known."""
    return cell.id if number is None else f"#{number} {cell.id}"


def repeat_command(cell: Cell, matrix_file: str, seed: int | None = None) -> str:
    """Return ``migmatrix run`` for one cell; the id is escaped as a glob and quoted for a shell."""
    return shlex.join([*_run_arguments(matrix_file, seed), f"cell={glob.escape(cell.id)}"])


def _run_arguments(matrix_file: str, seed: int | None) -> list[str]:
    seeded = [] if seed is None else ["--seed", str(seed)]
    return ["migmatrix", "run", "-f", matrix_file, *seeded, "--select"]


def natural(text: str) -> tuple[tuple[int, int | str], ...]:
    """Sort key that puts ``pc-q35-9.2`` before ``pc-q35-10.0``."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(p)) if p.isdecimal() else (1, p) for p in parts)


def group(
    results: Iterable[CellResult],
    *,
    matrix_file: str = "matrix.yaml",
    seed: int | None = None,
    profiles: Iterable[Profile] = (),
) -> list[Group]:
    """Group by signature, largest first, equal sizes by signature.

    Cells without one are grouped by known issue, else by reason, else by verdict.
    """
    arguments = {p.name: len(p.args) for p in profiles}
    members: dict[str, list[CellResult]] = {}
    for result in results:
        members.setdefault(group_key(result), []).append(result)
    groups = [_group(key, cells, arguments, matrix_file, seed) for key, cells in members.items()]
    return sorted(groups, key=lambda g: (-g.cells, g.key))


def group_key(result: CellResult) -> str:
    """What makes cells one problem."""
    return result.signature or result.known_issue or result.reason or result.verdict.value


def _group(
    key: str, cells: list[CellResult], arguments: Mapping[str, int], file: str, seed: int | None
) -> Group:
    smallest = min(cells, key=lambda r: _size(r.cell, arguments))
    outcomes = Counter(r.outcome for r in cells)
    routes = Counter(_route(r) for r in cells)
    return Group(
        key=key,
        signature=smallest.signature,
        cause=smallest.cause,
        cells=len(cells),
        outcomes=tuple(sorted(outcomes.items())),
        machines=tuple(sorted({r.cell.machine for r in cells}, key=natural)),
        profiles=tuple(sorted({r.cell.profile for r in cells}, key=natural)),
        routes=tuple(sorted(routes, key=lambda route: (-routes[route], route))),
        smallest=smallest,
        command=repeat_command(smallest.cell, file, seed),
    )


def _size(cell: Cell, arguments: Mapping[str, int]) -> tuple[object, ...]:
    """Order cells from small to large: path, profile, then mode and guest, then names."""
    return (
        len(cell.path),
        arguments.get(cell.profile, 0),
        len(cell.profile),
        cell.mode != "snapshot",
        cell.guest != "paused",
        natural(cell.machine),
        cell,
    )


def _route(result: CellResult) -> tuple[str, str]:
    """The two ends of the migration that went wrong, of the whole path when none is named."""
    return result.failing_pair or (result.cell.path[0], result.cell.path[-1])

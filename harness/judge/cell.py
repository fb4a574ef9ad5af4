# SPDX-License-Identifier: Apache-2.0
"""The judgement of a cell from the judgements of its legs.

Rules, in order:
1. A build whose plain start (probe) failed makes the cell `unsupported`; a probe that met a deadline makes it
   fail, one that met a fault of the host makes it an error.
2. The first leg that did not pass decides. Legs after it may be missing; a leg missing before it is a bug.
3. A problem at the start of a leg is `unsupported` too, unless a probe shows that the build starts with these
   arguments: then a crash is a failure, and anything else the host's (a port or a file that is taken).
4. What the last build does after its load, for the sake of a longer chain, is no concern of this cell.

Migrations count from 1. In a snapshot cell leg k is build k: its start, load and check belong to migration k (the
first build's to migration 1), its run and save to migration k + 1. In a live cell there is a leg per migration.

What was expected of the cell is not known here: `harness/known.py` makes the outcome.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.judge.courses import courses
from migmatrix.harness.judge.leg import LegJudgement, judge_leg, started
from migmatrix.harness.judge.names import named_by
from migmatrix.harness.judge.notes import notes
from migmatrix.harness.judge.signature import signature
from migmatrix.harness.model import Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.model import Cause, Cell, Course, LegEvidence

__all__ = ["CellJudgement", "judge_cell"]


@dataclass(frozen=True, slots=True)
class CellJudgement:
    """What happened to a cell; the fields mean what they mean in `CellResult`, which has the outcome too."""

    cell: Cell
    verdict: Verdict
    hop: int | None = None
    stage: Stage | None = None
    cause: Cause | None = None
    signature: str | None = None
    seconds: float = 0.0
    reason: str = ""
    legs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    courses: tuple[Course, ...] = ()


@dataclass(frozen=True, slots=True)
class _Path:
    """Which migration a stage of a leg belongs to."""

    builds: tuple[str, ...]
    live: bool

    @property
    def migrations(self) -> int:
        return len(self.builds) - 1

    def migration(self, index: int, stage: Stage | None) -> int:
        if self.live or stage in (Stage.RUN, Stage.SAVE):
            return index + 1
        return max(index, 1)


def judge_cell(
    cell: Cell, legs: Sequence[LegEvidence | None], probes: Mapping[str, LegEvidence]
) -> CellJudgement:
    """Verdict, cause and signature of a cell.

    `legs`: for a snapshot cell one evidence per build of the path, for a live cell one per migration; None for
    what was not run because something before it failed. `probes`: by build id, that build's plain start.
    ValueError when evidence is missing that should be there.
    """
    if decided := _judge_probes(cell, probes):
        return decided
    path = _path(cell, legs)
    used: list[LegEvidence] = []
    for index, evidence in enumerate(legs):
        if evidence is None:
            raise ValueError(f"hop {index} of {cell.id} is missing, and nothing before it failed")
        used.append(named_by(cell.path[index:], evidence))
        judgement = _started(judge_leg(used[-1]), probes)
        migration = path.migration(index, judgement.stage)
        if judgement.verdict is not Verdict.PASS and migration <= path.migrations:
            return _judgement(cell, judgement, migration, used)
    passed = _judgement(cell, LegJudgement(Verdict.PASS), None, used)
    return replace(
        passed,
        reason=_refused(used),
        notes=notes(used),
        courses=courses(used, live=path.live, migrations=path.migrations),
    )


def _path(cell: Cell, legs: Sequence[LegEvidence | None]) -> _Path:
    missing = len(cell.path) - len(legs)
    if missing not in (0, 1):
        raise ValueError(f"{len(legs)} legs for {cell.id}: neither one a build nor one a migration")
    return _Path(cell.path, live=missing == 1)


def _judge_probes(cell: Cell, probes: Mapping[str, LegEvidence]) -> CellJudgement | None:
    for index, build in enumerate(cell.path):
        if build in probes:
            judgement = judge_leg(probes[build])
            if judgement.verdict is not Verdict.PASS and _about_start(judgement):
                named = replace(judgement, build=build)
                return _judgement(cell, named, max(index, 1), [probes[build]])
    return None


def _about_start(judgement: LegJudgement) -> bool:
    """Whether a probe tells against its build; what a probe did after its start is not asked of it."""
    return judgement.verdict is Verdict.ERROR or judgement.stage is Stage.START


def _started(judgement: LegJudgement, probes: Mapping[str, LegEvidence]) -> LegJudgement:
    """By rule 3, where a probe of the build is known."""
    return started(judgement) if judgement.build in probes else judgement


def _judgement(
    cell: Cell, judgement: LegJudgement, migration: int | None, used: Sequence[LegEvidence]
) -> CellJudgement:
    cause = judgement.cause
    return CellJudgement(
        cell=cell,
        verdict=judgement.verdict,
        hop=None if judgement.verdict is Verdict.UNSUPPORTED else migration,  # nothing migrated
        stage=judgement.stage,
        cause=cause,
        signature=signature(cause) if cause else None,
        seconds=sum(_seconds(used)),
        reason=_reason(judgement),
        legs=tuple(evidence.key for evidence in used),
    )


def _refused(used: Sequence[LegEvidence]) -> str:
    """The words with which a mode was refused that had to be; empty for all other cells."""
    words = dict.fromkeys(str(leg.facts["refused"]) for leg in used if "refused" in leg.facts)
    return f"refused, as it should be: {'; '.join(words)}" if words else ""


def _seconds(used: Sequence[LegEvidence]) -> Iterator[float]:
    return (stage.seconds for evidence in used for stage in evidence.stages)


def _reason(judgement: LegJudgement) -> str:
    """Why a cell was not run, or could not be judged; empty for the others."""
    cause = judgement.cause
    if cause is None or judgement.verdict not in (Verdict.UNSUPPORTED, Verdict.ERROR):
        return ""
    if judgement.verdict is Verdict.ERROR:
        return cause.message
    if cause.kind == "crash":
        return f"build {judgement.build!r} crashed at its start: {cause.message}"
    mode = judgement.problem == "qmp-error" or judgement.stage is Stage.MIGRATE
    does = "refuses this mode" if mode else "cannot start this"
    return f"build {judgement.build!r} {does}: {cause.message}"

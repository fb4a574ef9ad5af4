# SPDX-License-Identifier: Apache-2.0
"""Known issues: the verdict of a cell against what was expected of it. Outcomes are decided here and nowhere else.

An entry names cells (`selector`) and the `signature` of the failure, which is exact text or a glob with `*` and
`?`. An entry counts to the end of its day `expires`.

1. `pass`: `fixed` when an entry that has not expired selects the cell, else `ok`.
2. `fail`: `known` when an entry that has not expired selects the cell and has the signature; `regression` when
   only an expired one does; `wrong-failure` when entries select the cell but none has the signature; else
   `regression`.
3. `unsupported`: `skipped`. `error`: `incomplete`, but `flaky` where the leg gave two answers: the host did nothing wrong.
   An entry with the signature ``flaky`` gives such a cell its owner; it says nothing of the cell's other answers.
4. `blocked`: `ok`, because refusing to migrate is a documented answer; where the policy says `regression` it
   is judged like `fail`.
5. Exit code: 3 when anything is incomplete, even if regressions were seen, because the list of regressions may
   be short; else 1 for `regression` and `wrong-failure` and a demand of the policy that is not met; else 3 when the
   results answer nothing (`tested.py`), unless they are a shard's, which need not; else 0, also when cells are `fixed` or
   `flaky`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter

from migmatrix.harness.config.nodes import read_document
from migmatrix.harness.config.records import validate
from migmatrix.harness.config.schema import KnownIssueSpec
from migmatrix.harness.config.selectors import selection_of
from migmatrix.harness.errors import ConfigError, ExitCode
from migmatrix.harness.model import CellResult, Outcome, Verdict
from migmatrix.harness.select import glob_match
from migmatrix.harness.tested import silence

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from migmatrix.harness.config.nodes import Document
    from migmatrix.harness.errors import Position
    from migmatrix.harness.judge import CellJudgement
    from migmatrix.harness.model import Cell
    from migmatrix.harness.select import Selection
    from migmatrix.harness.tested import Demand

__all__ = [
    "FLAKY",
    "KnownIssue",
    "apply",
    "as_flaky",
    "exit_code",
    "known_of",
    "load_known",
    "plain_result",
    "unmatched",
]

FLAKY = "flaky"  # the kind, and the signature, of a leg that gave two answers
_ENTRIES = TypeAdapter(tuple[KnownIssueSpec, ...])
_BAD = (Outcome.REGRESSION, Outcome.WRONG_FAILURE)


@dataclass(frozen=True, slots=True)
class KnownIssue:
    """One entry of the known-issues file and where it stands."""

    id: str
    selection: Selection
    signature: str
    reason: str
    link: str
    owner: str
    expires: dt.date
    position: Position

    def selects(self, cell: Cell) -> bool:
        """Whether the entry is about this cell."""
        return self.selection.selects(cell)

    def has_signature(self, signature: str | None) -> bool:
        """Whether a failure of this signature is the one that is known."""
        return signature is not None and glob_match(signature, self.signature)

    @property
    def of_flaky(self) -> bool:
        """Whether the entry is about cells that give two answers: that one passes is no news."""
        return self.signature.rstrip("*") == FLAKY

    def expired(self, today: dt.date) -> bool:
        """Whether the entry no longer counts."""
        return today > self.expires


def load_known(path: Path) -> tuple[KnownIssue, ...]:
    """Read a known-issues file: a list of entries.

    UserError when it cannot be read, ConfigError with its position for the first mistake.
    """
    return known_of(read_document(path))


def known_of(document: Document) -> tuple[KnownIssue, ...]:
    """The entries of a known-issues file that was read; ConfigError with its position for the first mistake."""
    specs = validate(_ENTRIES, document)
    known: dict[str, KnownIssue] = {}
    for index, spec in enumerate(specs):
        position = document.position((index, "id"))
        if spec.id in known:
            raise ConfigError(f"{spec.id!r} is also the id of line {known[spec.id].position.line}", position)
        known[spec.id] = KnownIssue(
            spec.id,
            selection_of(document, (index, "selector"), spec.selector),
            spec.signature,
            spec.reason,
            spec.link,
            spec.owner,
            spec.expires,
            position,
        )
    return tuple(known.values())


@dataclass(frozen=True, slots=True)
class _Decision:
    """An outcome, and the entry and the reason that decided it."""

    outcome: Outcome
    entry: KnownIssue | None = None
    reason: str = ""


def apply(
    judgement: CellJudgement,
    known: Sequence[KnownIssue],
    today: dt.date,
    blocked: Literal["ok", "regression"] = "ok",
) -> CellResult:
    """The result of a judged cell: its outcome, with the entry and the reason that decided it (rules 1-4)."""
    return _result(judgement, _decide(judgement, known, today, blocked))


def plain_result(judgement: CellJudgement) -> CellResult:
    """The result of a cell of which nothing is expected, such as a trial: its verdict alone makes the outcome."""
    return _result(judgement, _UNLISTED[judgement.verdict])


_UNLISTED = {
    Verdict.PASS: _Decision(Outcome.OK),
    Verdict.FAIL: _Decision(Outcome.REGRESSION),
    Verdict.UNSUPPORTED: _Decision(Outcome.SKIPPED),
    Verdict.BLOCKED: _Decision(Outcome.OK),  # an emulator that says that it cannot migrate keeps its word
    Verdict.ERROR: _Decision(Outcome.INCOMPLETE),
}


def _decide(judgement: CellJudgement, known: Sequence[KnownIssue], today: dt.date, blocked: str) -> _Decision:
    listed = [entry for entry in known if entry.selects(judgement.cell)]
    if judgement.verdict is Verdict.PASS:
        return _passed([entry for entry in listed if not (entry.expired(today) or entry.of_flaky)])
    if judgement.verdict is Verdict.ERROR and judgement.cause and judgement.cause.kind == FLAKY:
        return _flaky(listed, today)
    if judgement.verdict is Verdict.FAIL or (
        judgement.verdict is Verdict.BLOCKED and blocked == "regression"
    ):
        return _failed(judgement, listed, today)
    return _UNLISTED[judgement.verdict]


def _result(judgement: CellJudgement, decided: _Decision) -> CellResult:
    return CellResult(
        cell=judgement.cell,
        verdict=judgement.verdict,
        outcome=decided.outcome,
        hop=judgement.hop,
        stage=judgement.stage,
        cause=judgement.cause,
        signature=judgement.signature,
        seconds=judgement.seconds,
        reason=decided.reason if decided.entry else judgement.reason,
        known_issue=decided.entry.id if decided.entry else None,
        legs=judgement.legs,
        notes=judgement.notes,
        courses=judgement.courses,
    )


def _passed(listed: Sequence[KnownIssue]) -> _Decision:
    if not listed:
        return _UNLISTED[Verdict.PASS]
    return _Decision(Outcome.FIXED, listed[0], f"passes although {listed[0].id!r} says that it fails")


def _flaky(listed: Sequence[KnownIssue], today: dt.date) -> _Decision:
    """The cell is nobody's fault yet; an entry says who looks after it."""
    carried = [entry for entry in listed if entry.has_signature(FLAKY) and not entry.expired(today)]
    if not carried:
        return _Decision(Outcome.FLAKY)
    return _Decision(Outcome.FLAKY, carried[0], carried[0].reason)


def as_flaky(result: CellResult, known: Sequence[KnownIssue], today: dt.date, reason: str) -> CellResult:
    """The result of a red cell of which a history tells that the same legs said otherwise: flaky, and who carries it."""
    decided = _flaky([entry for entry in known if entry.selects(result.cell)], today)
    issue = decided.entry.id if decided.entry else None
    return replace(result, outcome=Outcome.FLAKY, reason=reason, known_issue=issue)


def _failed(judgement: CellJudgement, listed: Sequence[KnownIssue], today: dt.date) -> _Decision:
    same = [entry for entry in listed if entry.has_signature(judgement.signature)]
    current = [entry for entry in same if not entry.expired(today)]
    others = [entry for entry in listed if not (entry.expired(today) or entry.of_flaky)]
    if current:
        entry, outcome, reason = current[0], Outcome.KNOWN, current[0].reason
    elif same:
        entry, outcome = same[0], Outcome.REGRESSION
        reason = f"known issue {entry.id!r} expired on {entry.expires}"
    elif others:
        entry, outcome = others[0], Outcome.WRONG_FAILURE
        reason = f"known issue {entry.id!r} has the signature {entry.signature!r}"
    else:
        return _UNLISTED[Verdict.FAIL]
    return _Decision(outcome, entry, reason)


def unmatched(known: Sequence[KnownIssue], results: Iterable[CellResult]) -> tuple[KnownIssue, ...]:
    """The entries that select no cell that came to an end: stale, misspelt, or not part of this run."""
    left = list(known)
    for result in results:
        if result.outcome is Outcome.FLAKY or result.verdict not in (Verdict.UNSUPPORTED, Verdict.ERROR):
            left = [entry for entry in left if not entry.selects(result.cell)]
        if not left:
            break
    return tuple(left)


def exit_code(
    results: Sequence[CellResult], demands: Sequence[Demand] = (), *, part: bool = False, shard: bool = False
) -> ExitCode:
    """What the shell is told (rule 5); `part`: only some cells of the matrix were asked for, `shard`: a share of them."""
    outcomes = {result.outcome for result in results}
    if Outcome.INCOMPLETE in outcomes:
        return ExitCode.INCOMPLETE
    if outcomes.intersection(_BAD) or any(demand.unmet(results, part=part or shard) for demand in demands):
        return ExitCode.REGRESSIONS
    return ExitCode.INCOMPLETE if silence(results) and not shard else ExitCode.OK

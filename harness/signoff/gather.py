# SPDX-License-Identifier: Apache-2.0
"""What a run tested, as plain records: each planned cell with its verdict, judged again from the evidence.

1. Every planned cell is there, whether it ran or not; one that other shards have is counted.
2. The verdict is the one that `judge_cell` gives now. Where the run has another, that is told (`otherwise`); where only
   the words differ, too (`retold`).
3. A cell's age is that of the oldest evidence that it rests on: of a reused leg, when that leg was done.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import UserError
from migmatrix.harness.judge import judge_cell
from migmatrix.harness.known import FLAKY
from migmatrix.harness.plan import LEG_FORMAT, from_json
from migmatrix.harness.store import kept_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.judge import CellJudgement
    from migmatrix.harness.model import Cell, CellResult, Verdict
    from migmatrix.harness.plan import Plan
    from migmatrix.harness.store import Basis, RunStore

__all__ = ["CellFacts", "Tested", "gather"]

_ELSEWHERE = "--shard"  # what the planner names the cells of other shards by


@dataclass(frozen=True, slots=True)
class CellFacts:
    """A planned cell: its judgement and the result that the run has, None when it did not come to an end.

    `began` is when its oldest evidence was made, None when that is not known; `checks` what was asked beside "did it
    arrive" (`policy.Check`); `strange` a leg that it rests on and that the plan does not have for it.
    """

    cell: Cell
    judgement: CellJudgement | None = None
    result: CellResult | None = None
    began: datetime | None = None
    checks: frozenset[str] = frozenset()
    strange: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict from the evidence."""
        return self.judgement.verdict if self.judgement else None

    @property
    def flaky(self) -> bool:
        """Whether the same leg gave two answers."""
        cause = self.judgement.cause if self.judgement else None
        return cause is not None and cause.kind == FLAKY

    @property
    def otherwise(self) -> bool:
        """Whether the run has another verdict for the cell than its evidence, or another reason for it."""
        one, other = self.judgement, self.result
        return one is not None and other is not None and _said(one) != _said(other)

    @property
    def retold(self) -> CellResult | None:
        """The result in the words of the evidence that is there, None when those are its words.

        Shards that did one leg twice have two evidences, of which a merge keeps one; messages and times may differ.
        """
        one, other = self.judgement, self.result
        if one is None or other is None or _words(one) == _words(other):
            return None
        return replace(other, cause=one.cause, notes=one.notes, courses=one.courses, seconds=one.seconds)


def _said(one: CellJudgement | CellResult) -> tuple[Any, ...]:
    return one.verdict, one.hop, one.stage, one.signature, one.legs


def _words(one: CellJudgement | CellResult) -> tuple[Any, ...]:
    """What is told of a cell; results have rounded seconds."""
    return one.cause, one.notes, one.courses, round(one.seconds, 4)


@dataclass(frozen=True, slots=True)
class Tested:
    """A run as a sign-off sees it: `cells` in the order of the plan, and the `meta` of the run.

    `elsewhere` counts cells of the matrix that this run leaves to other shards; `legs` are the keys of all evidence.
    """

    cells: tuple[CellFacts, ...]
    elsewhere: int
    meta: Mapping[str, Any]
    legs: tuple[str, ...]

    @property
    def builds(self) -> Sequence[Mapping[str, Any]]:
        """Rows with `id`, `version` and `digest`, as the run has them, of the builds that a cell with a verdict has."""
        used = {build for facts in self.cells if facts.judgement for build in facts.cell.path}
        return [row for row in self.meta["builds"] if row["id"] in used]


def gather(run: RunStore) -> Tested:
    """Read a run with its plan and judge all of it again.

    UserError when the run has no plan, or one that is damaged, or results that are not of it.
    """
    plan, document = _plan(run)
    meta = run.meta()
    modes, guests = _named(document, "modes"), _named(document, "guests")
    results = {result.cell: result for result in run.results()}
    bases = dict(run.judged())
    if strange := next((cell for cell in results if cell not in plan.cell_legs), None):
        raise UserError(f"{strange.id!r} is in the run and not in its plan")
    cells = []
    legs: set[str] = set()
    for cell in plan.cells:
        checks = _checks(modes[cell.mode], guests[cell.guest])
        basis = bases.get(cell)
        legs.update(one.key for one in basis.evidence()) if basis else None
        cells.append(_facts(plan, cell, basis, results.get(cell), checks))
    elsewhere = meta["cells_planned"] - len(plan.cells)
    elsewhere += sum(row["cells"] for row in meta["dropped"] if row["what"] == _ELSEWHERE)
    return Tested(tuple(cells), elsewhere, meta, tuple(sorted(legs)))


def _plan(run: RunStore) -> tuple[Plan, dict[str, Any]]:
    document = kept_plan(run.directory)
    where = repr(str(run.directory))
    if document is None:
        raise UserError(
            f"the run in {where} does not hold its plan, as an older migmatrix made it; run it again"
        )
    try:
        # A format tells what a leg's key stands for. Here keys are only compared with those of the evidence.
        return from_json({**document, "format": LEG_FORMAT}), document
    except (AttributeError, LookupError, TypeError, ValueError) as err:
        raise UserError(f"cannot read the plan of the run in {where}: {err}") from err


def _named(document: Mapping[str, Any], kind: str) -> dict[str, Mapping[str, Any]]:
    return {row["name"]: row for row in document["origin"]["definition"][kind]}


def _checks(mode: Mapping[str, Any], guest: Mapping[str, Any]) -> frozenset[str]:
    asked = {
        "runs-on": guest["kind"] != "paused",
        "memory": mode.get("memory") == "compared",
        "equality": mode.get("check") == "equality",
    }
    return frozenset(name for name, is_asked in asked.items() if is_asked)


def _facts(
    plan: Plan, cell: Cell, basis: Basis | None, result: CellResult | None, checks: frozenset[str]
) -> CellFacts:
    if basis is None or result is None:
        return CellFacts(cell, checks=checks)
    planned = {*plan.legs_of(cell), *plan.probes_of(cell).values()}
    strange = next((one.key for one in basis.evidence() if one.key not in planned), "")
    judgement = judge_cell(cell, basis.legs, basis.probes)
    return CellFacts(cell, judgement, result, _oldest(basis), checks, strange)


def _oldest(basis: Basis) -> datetime | None:
    """When the oldest evidence was made; None when one does not say, or there is none."""
    times = list(_times(basis))
    known = [time for time in times if time is not None]
    return min(known) if known and len(known) == len(times) else None


def _times(basis: Basis) -> Iterator[datetime | None]:
    for evidence in basis.evidence():
        if not evidence.infrastructure:
            yield datetime.fromisoformat(evidence.began).astimezone(UTC) if evidence.began else None

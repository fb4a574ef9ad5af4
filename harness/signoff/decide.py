# SPDX-License-Identifier: Apache-2.0
"""May this run be signed? Pure: equal policy, waivers, tested cells, moment and signer give an equal decision.

1. Every planned cell has exactly one fate: `passed`, `waived`, `broken`, `blocked` (the source refuses), `unsupported`,
   `flaky`, `error`, `not-run`. A cell that failed in two ways is `broken`, and counts as flaky too.
2. A waiver takes a cell that ran and did not pass, by its cell and its signature, to the end of its day (UTC). It never
   takes one that did not run, or gave no answer: `unsupported`, `flaky`, `error`, `not-run`.
3. A requirement counts what passed and what is waived against all planned cells that it selects. So what it promises
   and a build does not support counts against it. Cells that nothing requires are told and refuse nothing.
4. Known issues of the matrix are no waivers: the outcome of a cell is not looked at.
5. Each thing that is missing is a reason; a run is signed when there is none.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.model import Verdict
from migmatrix.harness.report.text import plural
from migmatrix.harness.signoff.records import Broken, Decision, Fate, Kept, WaiverNote
from migmatrix.harness.tested import silence

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from migmatrix.harness.model import Cell
    from migmatrix.harness.signoff.gather import CellFacts, Tested
    from migmatrix.harness.signoff.policy import Policy, Requirement, Waiver

__all__ = ["decide"]

_CANNOT: Final = ("abi",)  # checks that the harness does not have yet


_FATES: Final = {
    None: Fate.NOT_RUN,
    Verdict.PASS: Fate.PASSED,
    Verdict.FAIL: Fate.BROKEN,
    Verdict.BLOCKED: Fate.BLOCKED,
    Verdict.UNSUPPORTED: Fate.UNSUPPORTED,
    Verdict.ERROR: Fate.ERROR,
}
_AGAINST: Final = (Fate.BROKEN, Fate.BLOCKED)  # what a waiver may take
_RAN: Final = (Fate.PASSED, Fate.WAIVED, *_AGAINST)


def _unwaived(facts: CellFacts) -> Fate:
    fate = _FATES[facts.verdict]
    return Fate.FLAKY if fate is Fate.ERROR and facts.flaky else fate


def _taken(facts: CellFacts, current: Sequence[Waiver]) -> Waiver | None:
    """The waiver that takes a cell (rule 2), of those that hold on the day."""
    if facts.judgement is None or _unwaived(facts) not in _AGAINST:
        return None
    signature = facts.judgement.signature
    mine = (w for w in current if w.selects(facts.cell) and w.has_signature(signature))
    return next(mine, None)


@dataclass(frozen=True, slots=True)
class _Case:
    """What is decided on; `carried` has the waiver of each cell that one takes."""

    policy: Policy
    tested: Tested
    at: dt.datetime
    carried: Mapping[Cell, Waiver]

    def waiver(self, facts: CellFacts) -> Waiver | None:
        """The waiver that takes a cell."""
        return self.carried.get(facts.cell)

    def fate(self, facts: CellFacts) -> Fate:
        """Rule 1."""
        return Fate.WAIVED if self.waiver(facts) is not None else _unwaived(facts)

    def selected(self, requirement: Requirement) -> list[CellFacts]:
        """The planned cells that a requirement asks for."""
        return [facts for facts in self.tested.cells if requirement.selection.selects(facts.cell)]


def decide(
    policy: Policy, waivers: Sequence[Waiver], tested: Tested, at: dt.datetime, signer: str
) -> Decision:
    """Compare what was promised with what was tested; `signer` is the id of the key that is to sign."""
    today = at.astimezone(dt.UTC).date()
    current = [waiver for waiver in waivers if not waiver.expired(today)]
    taken = ((facts.cell, _taken(facts, current)) for facts in tested.cells)
    case = _Case(policy, tested, at, {cell: waiver for cell, waiver in taken if waiver is not None})
    ages = [facts.began for facts in tested.cells if facts.judgement is not None]
    known = [began for began in ages if began is not None]
    return Decision(
        at=at,
        reasons=tuple(_reasons(case, signer)),
        fates=tuple((facts.cell.id, case.fate(facts).value) for facts in tested.cells),
        elsewhere=tested.elsewhere,
        requirements=tuple(_kept(case, requirement) for requirement in policy.requirements),
        waivers=tuple(_note(case, waiver, today) for waiver in waivers),
        broken=tuple(_broken(case)),
        oldest=min(known).isoformat() if known and len(known) == len(ages) else "",
    )


def _reasons(case: _Case, signer: str) -> Iterator[str]:
    policy, tested = case.policy, case.tested
    if policy.signers and signer not in policy.signers:
        yield f"signer: key {signer} is none of those that the policy lets sign"
    if "finished" not in tested.meta:
        yield "run: it did not come to its end"
    yield from _unfit(case)
    for requirement in policy.requirements:
        yield from _missing(case, requirement)
    if said := silence([facts.result for facts in tested.cells if facts.result is not None]):
        yield f"run: {said}"
    yield from _limits(case)


def _unfit(case: _Case) -> Iterator[str]:
    """A run whose own results are not what its evidence says."""
    cells = case.tested.cells
    yield from _some(cells, lambda f: f.otherwise, "judged otherwise now, which `migmatrix judge` takes over")
    yield from _some(cells, lambda f: bool(f.strange), "on evidence that the plan does not have for them")


def _some(cells: Iterable[CellFacts], wrong: Callable[[CellFacts], bool], what: str) -> Iterator[str]:
    found = [facts.cell.id for facts in cells if wrong(facts)]
    if found:
        yield f"run: {plural(len(found), 'cell')} {what}: {_few(found)}"


def _few(names: Sequence[str], most: int = 2) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _missing(case: _Case, requirement: Requirement) -> Iterator[str]:
    """Why a requirement is not met (rule 3): by its part, then by what its cells had to be."""
    asked = case.selected(requirement)
    name = f"require {requirement.text}"
    if not asked:
        cells = [facts.cell for facts in case.tested.cells]
        lonely = (
            term.hint(cells) for term in requirement.selection.terms if not any(map(term.selects, cells))
        )
        yield f"{name}: no such cell was planned{next(lonely, '')}"
        return
    good = [facts for facts in asked if case.fate(facts) in (Fate.PASSED, Fate.WAIVED)]
    if len(good) * 100 < requirement.percent * len(asked):
        yield f"{name}: {len(good):,} of {len(asked):,} cells pass or are waived, {requirement.percent}% must"
        yield from (f"{name}: {line}" for line in _against(case, asked))
    yield from (f"{name}: {line}" for line in _least(case.policy, requirement, good))


def _against(case: _Case, asked: Sequence[CellFacts]) -> Iterator[str]:
    """What counts against a requirement, in groups, most cells first."""
    groups: dict[str, list[str]] = {}
    for facts in asked:
        fate = case.fate(facts)
        if fate not in (Fate.PASSED, Fate.WAIVED):
            groups.setdefault(_why(facts, fate), []).append(facts.cell.id)
    for why, cells in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        yield f"{plural(len(cells), 'cell')} {why}: {_few(cells)}"


def _why(facts: CellFacts, fate: Fate) -> str:
    judgement = facts.judgement
    if judgement is None:
        return "not run"
    what = judgement.signature or judgement.reason
    words = {
        Fate.BROKEN: "fail, not waived",
        Fate.BLOCKED: "blocked, not waived",
        Fate.ERROR: "without a verdict (host)",
    }
    return f"{words.get(fate, fate.value)}: {what}"


def _least(policy: Policy, requirement: Requirement, good: Sequence[CellFacts]) -> Iterator[str]:
    """Guests, modes, checks and lengths that are wanted and that no good cell has; what the selection names is its own."""
    if not requirement.names("guest"):
        had = {facts.cell.guest for facts in good}
        yield from (f"no cell with the guest {name!r} passes" for name in policy.guests if name not in had)
    if not requirement.names("mode"):
        had = {facts.cell.mode for facts in good}
        yield from (f"no cell with the mode {name!r} passes" for name in policy.modes if name not in had)
    for check in policy.checks:
        if not any(check in facts.checks for facts in good):
            unable = ": migmatrix does not have it yet" if check in _CANNOT else ""
            yield f"no cell with the check {check!r} passes{unable}"
    longest = max((len(facts.cell.path) for facts in good), default=0)
    if not requirement.names("path") and longest < policy.chains:
        yield f"no path of {policy.chains} builds passes"


def _limits(case: _Case) -> Iterator[str]:
    policy, cells = case.policy, case.tested.cells
    missing = [f.cell.id for f in cells if case.fate(f) in (Fate.NOT_RUN, Fate.ERROR)]
    count = len(missing) + case.tested.elsewhere
    if count > policy.max_not_run:
        shards = f"{plural(case.tested.elsewhere, 'cell')} of other shards" if case.tested.elsewhere else ""
        said = "; ".join(filter(None, (_few(missing), shards)))
        yield f"max_not_run: {plural(count, 'cell')} without a verdict, at most {policy.max_not_run:,} may be: {said}"
    flaky = [facts.cell.id for facts in cells if facts.flaky]
    if len(flaky) > policy.max_flaky:
        yield f"max_flaky: {plural(len(flaky), 'cell')}, at most {policy.max_flaky:,} may be: {_few(flaky)}"
    yield from _aged(case)


def _aged(case: _Case) -> Iterator[str]:
    limit = case.policy.max_age
    if limit is None:
        return
    ran = [facts for facts in case.tested.cells if case.fate(facts) in (*_RAN, Fate.UNSUPPORTED)]
    unknown = [facts.cell.id for facts in ran if facts.began is None]
    if unknown:
        yield f"max_age: {plural(len(unknown), 'cell')} with evidence of unknown age (of an older migmatrix): {_few(unknown)}"
    old = [(facts.began, facts.cell.id) for facts in ran if facts.began and case.at - facts.began > limit]
    if old:
        began, cell = min(old)
        yield f"max_age: {plural(len(old), 'cell')} with evidence older than {_days(limit)}, the oldest of {began:%Y-%m-%d}: {cell}"


def _days(span: dt.timedelta) -> str:
    hours = int(span.total_seconds()) // 3600
    return plural(hours // 24, "day") if hours % 24 == 0 else plural(hours, "hour")


def _kept(case: _Case, requirement: Requirement) -> Kept:
    asked = case.selected(requirement)
    fates = Counter(case.fate(facts) for facts in asked)
    return Kept(
        text=requirement.text,
        percent=requirement.percent,
        cells=len(asked),
        fates=tuple((fate.value, fates[fate]) for fate in Fate if fates[fate]),
        kept=not any(_missing(case, requirement)),
    )


def _note(case: _Case, waiver: Waiver, today: dt.date) -> WaiverNote:
    mine = [facts for facts in case.tested.cells if waiver.selects(facts.cell)]
    taken = tuple(facts.cell.id for facts in mine if case.waiver(facts) is waiver)
    fates = [(_unwaived(facts), facts) for facts in mine]
    return WaiverNote(
        id=waiver.id,
        state="expired" if waiver.expired(today) else "applied" if taken else "unused",
        signature=waiver.signature,
        owner=waiver.owner,
        reason=waiver.reason,
        link=waiver.link,
        expires=waiver.expires.isoformat(),
        left=(waiver.expires - today).days,
        cells=taken,
        refused=sum(fate not in _RAN for fate, _ in fates),
        others=sum(
            fate in _AGAINST and not waiver.has_signature(f.judgement.signature if f.judgement else None)
            for fate, f in fates
        ),
    )


def _broken(case: _Case) -> Iterator[Broken]:
    groups: dict[str, list[CellFacts]] = {}
    for facts in case.tested.cells:
        if facts.judgement is not None and _unwaived(facts) in _AGAINST:
            groups.setdefault(facts.judgement.signature or "", []).append(facts)
    for signature, cells in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])):
        carriers = [case.waiver(facts) for facts in cells]
        first = min(cells, key=lambda facts: (len(facts.cell.path), facts.cell))
        cause = first.judgement.cause if first.judgement else None
        names = (f"{waiver.owner} (waiver {waiver.id})" for waiver in carriers if waiver is not None)
        yield Broken(
            signature=signature,
            message=cause.message if cause else "",
            cells=len(cells),
            example=first.cell.id,
            carried=sum(waiver is not None for waiver in carriers),
            carriers=tuple(dict.fromkeys(names)),
        )

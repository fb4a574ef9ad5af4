# SPDX-License-Identifier: Apache-2.0
"""The whole procedure as one pure function: everything that was run so far -> the next run, or the finding.

1. The runs are the only memory. So a journal of them is all that a resumed search needs, and `ahead` can compute what
   comes next under either outcome.
2. Both ends run first. The runs tell which end fails, and the failure that they show is followed. If the ends show no
   difference, they run up to `_PATIENCE` times as often before `decide` says so.
3. Only a failure with the followed signature is bad, and only a pass is good: anything else is unknown, a skip.
4. Single runs are believed until one contradicts another, at an end, in between or when confirming; from then on the
   search is Bayesian, over all runs so far.
5. The culprit and its parent run again before they are named, until the model that takes no run for certain is as sure
   as the rules ask.
"""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from typing import TYPE_CHECKING

from migmatrix.harness.bisect.records import Finding, Kind, Run, Shown, Want
from migmatrix.harness.bisect.search import Certain, Noisy, Seen, Tally, look
from migmatrix.harness.bisect.theory import minimum_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.bisect.records import Rules
    from migmatrix.harness.bisect.search import Belief, Model

__all__ = ["ahead", "decide"]

_FORESIGHT = 20  # runs of points that are ready, within which another one may be needed
_PATIENCE = 5  # times `verify`, for ends that show no difference


def decide(size: int, runs: Sequence[Run], rules: Rules) -> Want | Finding:
    """The next step for `size` >= 2 points; the later end is the last one."""
    return _Case(size, runs, rules).step()


def ahead(size: int, runs: Sequence[Run], rules: Rules, want: Want) -> tuple[int, ...]:
    """The points that were not run yet and may be wanted next, first the one that a failure of `want` leads to.

    If a point is wanted that was run before, as at the ends, it is assumed to show the same again.
    """
    signature = _Case(size, runs, rules).signature
    outcomes = (Run(want.point, Shown.FAIL, signature), Run(want.point, Shown.PASS))
    found = (_next_new(size, [*runs, outcome], rules) for outcome in outcomes)
    return tuple(dict.fromkeys(point for point in found if point is not None))


def _next_new(size: int, runs: list[Run], rules: Rules) -> int | None:
    """The first point that was not run before, if the others show the same as before."""
    for _ in range(_FORESIGHT):
        step = decide(size, runs, rules)
        if isinstance(step, Finding):
            return None
        known = next((run for run in reversed(runs) if run.point == step.point), None)
        if known is None:
            return step.point
        runs.append(known)
    return None


class _Case:
    """The runs so far and what follows from them."""

    def __init__(self, size: int, runs: Sequence[Run], rules: Rules) -> None:
        self.size, self.runs, self.rules = size, runs, rules
        self.ends = 0, size - 1
        self.signature = rules.signature or self._shown_at_ends()
        first, last = (self._tally(end) for end in self.ends)
        # The later end is the failing one unless the earlier one fails more often.
        self.broke = last.bad * first.runs >= first.bad * last.runs

    def _shown_at_ends(self) -> str:
        """The failure that the later end shows most often; that of the earlier one if it shows none."""
        for end in reversed(self.ends):
            seen = Counter(r.signature for r in self.runs if r.point == end and r.shown is Shown.FAIL)
            if seen:
                return seen.most_common(1)[0][0]
        return ""

    def _seen(self, run: Run) -> Seen:
        if run.shown is Shown.PASS:
            return Seen.GOOD
        follows = run.shown is Shown.FAIL and run.signature == self.signature
        return Seen.BAD if follows else Seen.SKIP

    def _tally(self, point: int) -> Tally:
        seen = Counter(self._seen(run) for run in self.runs if run.point == point)
        return Tally(seen[Seen.GOOD], seen[Seen.BAD])

    def step(self) -> Want | Finding:
        return self._at_ends() or self._between()

    # -- the ends (rule 2)

    def _at_ends(self) -> Want | Finding | None:
        """What is left to do at the ends; None when they differ."""
        for end in self.ends:
            if (unknown := self._unknown_end(end)) is not None:
                return unknown
        first, last = (self._tally(end) for end in self.ends)
        asked = self.rules.verify
        if self._no_difference(first, last):
            asked *= _PATIENCE
        fewer, other = sorted(self.ends, key=lambda end: self._tally(end).runs)
        for end in (fewer, other):
            if self._tally(end).runs < asked:
                return Want(end, "end") if len(self.runs) < self.rules.budget else self._no_change()
        return self._no_change() if self._no_difference(first, last) else None

    def _unknown_end(self, end: int) -> Finding | None:
        """The finding when an end was run and showed nothing that counts."""
        other = [run for run in self.runs if run.point == end and self._seen(run) is Seen.SKIP]
        if not other or self._tally(end).runs:
            return None
        shown = other[-1].signature or other[-1].reason
        return Finding(
            Kind.END_UNTESTABLE, f"neither passes nor fails as followed: {shown}", (end,), runs=len(self.runs),
            signature=self.signature, skipped=(end,),
        )  # fmt: skip

    @staticmethod
    def _no_difference(first: Tally, last: Tally) -> bool:
        """Whether the ends fail equally often, or have not both been run."""
        return not (first.runs and last.runs) or first.bad * last.runs == last.bad * first.runs

    def _no_change(self) -> Finding:
        first, last = (self._tally(end) for end in self.ends)
        text = f"both ends show the same: {first.bad} of {first.runs} and {last.bad} of {last.runs} runs fail"
        return Finding(Kind.NO_CHANGE, text, runs=len(self.runs), signature=self.signature)

    # -- between them (rules 4 and 5)

    def _between(self) -> Want | Finding:
        certain = self._look(Certain(self.broke))
        flaky = self.rules.flaky or certain.contradictory
        belief = self._noisy if flaky else certain
        enough = self.rules.confidence if flaky else 1 - 1e-9
        if belief.confidence < enough:
            return self._want(belief.next(), "search") or self._finding(belief, flaky=flaky)
        if belief.says_no_change:
            return self._no_change()
        unsure = self._unconfirmed(belief)
        if unsure is not None:
            return self._want(unsure, "confirm") or self._finding(belief, flaky=flaky)
        return self._finding(belief, flaky=flaky, confirmed=True)

    @cached_property
    def _noisy(self) -> Belief:
        return self._look(Noisy(self.broke))

    def _look(self, model: Model) -> Belief:
        return look(self.size, ((run.point, self._seen(run)) for run in self.runs), model)

    def _want(self, point: int, why: str) -> Want | None:
        return Want(point, why) if len(self.runs) < self.rules.budget else None

    def _unconfirmed(self, belief: Belief) -> int | None:
        """The culprit or its parent, whichever was run less often, until both were often enough (rule 5)."""
        pair = belief.leading, belief.leading - 1
        fewest = min(pair, key=lambda h: belief.tallies[h].runs)
        sure = _mass(self._noisy, belief.block(belief.leading)) >= self.rules.confidence
        enough = belief.tallies[fewest].runs >= self.rules.confirm
        return None if sure and enough else belief.testable[fewest]

    # -- the answer

    def _finding(self, belief: Belief, *, flaky: bool, confirmed: bool = False) -> Finding:
        sure = belief.confidence >= self.rules.confidence and not belief.says_no_change
        culprits = belief.block(belief.leading) if sure else belief.interval(self.rules.confidence)
        found = len(culprits) == 1 and confirmed
        failing, false = self._rates(culprits)
        searched = sum(run.why == "search" for run in self.runs)
        return Finding(
            kind=Kind.FOUND if found else Kind.RANGE,
            text=self._text(found=found, sure=sure, confirmed=confirmed),
            culprits=tuple(culprits),
            parent=max((p for p in belief.testable if p < culprits.start), default=None),
            broke=self.broke,
            flaky=flaky,
            signature=self.signature,
            confidence=_mass(self._noisy, culprits),
            confirmed=confirmed,
            failing=failing,
            false_failures=false,
            runs=len(self.runs),
            search_runs=searched,
            minimum=minimum_runs(self.size - 1, failing, false) if failing != false else 0,
            skipped=tuple(sorted(belief.skipped)),
        )

    def _text(self, *, found: bool, sure: bool, confirmed: bool) -> str:
        if found:
            return "confirmed against its parent"
        if not sure:
            return f"the budget of {self.rules.budget} runs is used up"
        return (
            "the points before it cannot be tested" if confirmed else "the budget did not reach to confirm it"
        )

    def _rates(self, culprits: range) -> tuple[float, float]:
        """Failures per run on the failing side and on the other."""
        before = sum((self._tally(p) for p in range(culprits.start)), Tally())
        after = sum((self._tally(p) for p in range(culprits.stop - 1, self.size)), Tally())
        failing, other = (after, before) if self.broke else (before, after)
        return failing.bad / max(failing.runs, 1), other.bad / max(other.runs, 1)


def _mass(belief: Belief, points: range) -> float:
    """Probability that the change is in `points`."""
    within = (h for h in range(1, len(belief.testable)) if belief.testable[h] in points)
    return sum(belief.posterior[h] for h in within)

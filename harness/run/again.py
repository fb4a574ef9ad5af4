# SPDX-License-Identifier: Apache-2.0
"""Legs done again beside the stored ones: a leg is a function of its inputs, so another answer makes it flaky.

1. ``--repeat N`` does every leg N times more, each time with an empty store; ``--fresh`` does them once more and takes that
   for the run's own. What the store has is kept, and nothing is added to it.
2. What came of a leg otherwise goes into its evidence as `again`, where the judge finds it: a verdict can still be computed
   from the evidence alone. `facts` get ``answers``, how often the leg said what.
3. An answer counts that says something of the emulator, and that was given on a host like this one (`LegEvidence.host`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.judge import flaky, judge_cell, judge_leg, signature
from migmatrix.harness.model import Verdict
from migmatrix.harness.run.runner import Judged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.judge import LegJudgement
    from migmatrix.harness.model import LegEvidence
    from migmatrix.harness.plan import Plan
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.store import LegStore

__all__ = ["Rounds", "answer", "beside", "counts", "same_answer"]


@contextmanager
def beside(where: Opened, *, fresh: bool, repeat: int) -> Iterator[tuple[Opened, Rounds]]:
    """Where the run's own legs are done, and the rounds that it is compared with."""
    with ExitStack() as stack:
        own = stack.enter_context(where.with_empty_store()) if fresh else where
        more = [stack.enter_context(where.with_empty_store()) for _ in range(repeat)]
        yield own, Rounds(more, [where.store] if fresh else [])


def answer(judgement: LegJudgement) -> tuple[str, ...]:
    """What a leg said, as it is compared: verdict, stage, signature."""
    cause = judgement.cause
    return judgement.verdict, judgement.stage or "", signature(cause) if cause else ""


def same_answer(one: LegEvidence, other: LegEvidence) -> bool | None:
    """Whether a leg said the same twice; None when one of the two says nothing of the emulator, or of another host."""
    if one.host != other.host or not (counts(one) and counts(other)):
        return None
    return answer(judge_leg(one)) == answer(judge_leg(other))


def counts(evidence: LegEvidence) -> bool:
    """Whether it says something of the emulator."""
    judgement = judge_leg(evidence)
    return judgement.verdict is not Verdict.ERROR or flaky(judgement)


@dataclass
class Rounds:
    """`more` are the places of further rounds; `stores` hold what was done before."""

    more: Sequence[Opened]
    stores: Sequence[LegStore]
    _unstored: dict[str, list[LegEvidence]] = field(default_factory=lambda: defaultdict(list))
    _legs: int = 0

    async def run(self, plan: Plan, builds: Mapping[str, PreparedBuild], log: Callable[[str], None]) -> int:
        """Do all cells of a plan once in each place; how many legs that took."""
        before = self._legs
        for number, place in enumerate(self.more, 1):
            log(f"repeat {number} of {len(self.more)}")
            runner = place.runner(plan, builds, self._take)
            try:
                async for _ in runner.run():
                    pass
            finally:
                await runner.close()
        return self._legs - before

    def _take(self, evidence: LegEvidence, _: bool) -> None:
        self._legs += 1
        if flaky(judge_leg(evidence)):  # no store keeps it
            self._unstored[evidence.key].append(evidence)

    def compared(self, judged: Judged) -> Judged:
        """The cell with what its legs said otherwise in other rounds, judged by both (rule 2)."""
        basis = judged.basis
        legs = tuple(None if leg is None else self._both(leg) for leg in basis.legs)
        probes = {build: self._both(probe) for build, probe in basis.probes.items()}
        reused = False if self.more else basis.reused
        if (legs, probes) == (basis.legs, basis.probes):
            return replace(judged, basis=replace(basis, reused=reused))
        both = replace(basis, legs=legs, probes=probes, reused=reused)
        return Judged(judge_cell(judged.judgement.cell, legs, probes), both)

    def _both(self, leg: LegEvidence) -> LegEvidence:
        """The leg, with another answer of it if there was one; the one that failed comes first, as it has a stage."""
        if leg.again is not None or not counts(leg):
            return leg
        others = [*self._unstored.get(leg.key, ())]
        stores = [*self.stores, *(place.store for place in self.more)]
        others += [found for store in stores if (found := store.get(leg.key)) is not None]
        other = next((found for found in others if same_answer(leg, found) is False), None)
        if other is None:
            return leg
        seen = Counter(
            " ".join(filter(None, answer(judge_leg(found)))) for found in (leg, *others) if counts(found)
        )
        first, second = (leg, other) if leg.failed else (other, leg)
        if first.again is not None:
            return first
        return replace(first, again=second, facts={**first.facts, "answers": dict(seen)})

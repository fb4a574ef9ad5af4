# SPDX-License-Identifier: Apache-2.0
"""May it be shipped after a night? The answer of a run's report, with what a history knows besides.

1. Red cells that are not flaky say "do not ship". A flaky cell never turns a night red by itself, and is always told.
2. A night that did not come, ran short, ended early, reused everything or tested nothing says "no answer": as loud as red.
3. Nothing is green that the run did not end well with: exit code 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.report.answer import Answer, Ship
from migmatrix.harness.report.page import OWN
from migmatrix.harness.report.text import plural
from migmatrix.harness.site.window import NOT_RUN
from migmatrix.harness.tested import silence

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from migmatrix.harness.history import Night

__all__ = ["answer_of"]

_RED: Final = ("regression", "wrong-failure", OWN)


def answer_of(night: Night, counts: Counter[str], missed: int = 0) -> Answer:
    """The answer of a night, whose cells are `counts` by status; `missed` nights should have come before it."""
    limits = tuple(_limits(night, counts, missed))
    red, judged = sum(counts[status] for status in _RED), plural(len(night.cells), "cell")
    if red:
        own = f", {counts[OWN]:,} of them with one build alone too" if counts[OWN] else ""
        return Answer(Ship.NO, f"{red:,} of {judged} went wrong unexpectedly{own}", limits)
    if night.exit_code == ExitCode.REGRESSIONS and not counts["flaky"]:
        return Answer(Ship.NO, "no cell is red, but a demand of the policy is not met", limits)
    if why := next(_unanswered(night, counts, missed), ""):
        return Answer(Ship.UNKNOWN, why, limits)
    nothing = f"nothing unexpected in {judged}"
    if night.selection:
        return Answer(Ship.CLEAN, nothing, limits, "the selection")
    return Answer(Ship.YES, nothing, limits)


def _unanswered(night: Night, counts: Counter[str], missed: int) -> Iterator[str]:
    """Why a night that is not red says nothing."""
    judged = plural(len(night.cells), "cell")
    if night.interrupted:
        yield f"the run was interrupted after {judged} of {night.counts.planned:,}"
    if len(night.cells) < night.counts.planned:
        yield f"the run ended short: {judged} of {night.counts.planned:,} planned"
    if lost := counts["incomplete"]:
        yield f"{plural(lost, 'cell')} without a verdict: the host or the engine failed"
    if counts[NOT_RUN]:
        yield f"{plural(counts[NOT_RUN], 'cell')} of the matrix not run"
    if said := silence(night.results()):
        yield said
    if not night.counts.run:
        yield f"nothing was run: all {judged} have verdicts from the store"
    if missed:
        yield f"nothing unexpected, but {plural(missed, 'night')} before this one did not come"
    if night.exit_code == ExitCode.REGRESSIONS:
        yield "only flaky cells went wrong, and the run ended as red: a demand of its policy may not be met"
    if night.exit_code != ExitCode.OK:
        yield f"the run ended with exit code {night.exit_code}"


def _limits(night: Night, counts: Counter[str], missed: int) -> Iterator[str]:
    if missed:
        yield f"{plural(missed, 'night')} missed before this one"
    if counts["flaky"]:
        yield f"{plural(counts['flaky'], 'cell')} flaky"
    if counts[NOT_RUN]:
        yield f"{plural(counts[NOT_RUN], 'cell')} of the matrix not run"
    if counts["incomplete"]:
        yield f"{plural(counts['incomplete'], 'cell')} without a verdict: the host or the engine failed"
    if not night.counts.run:
        yield "nothing was run: all verdicts are from the store"
    if night.selection:
        yield f"only the cells selected by {' '.join(night.selection)}"

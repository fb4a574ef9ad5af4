# SPDX-License-Identifier: Apache-2.0
"""The first line of every report: may it be shipped, why, and what limits the answer.

1. It follows the exit code, which is decided (`known.py`): "do not ship" is 1, "no answer" is not 0 but for a matrix
   of one build, and nothing is green for nothing.
2. Only a whole run says "ship"; a selection or a shard is at most clean.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.model import Outcome
from migmatrix.harness.report.text import plural
from migmatrix.harness.tested import between_builds, silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.report.data import RunReport

__all__ = ["Answer", "Ship", "answer_of"]

_ONE_BUILD = "none of them leads from one build to another"


class Ship(StrEnum):
    """The answer that a release manager reads first."""

    YES = "ship"
    NO = "do not ship"
    UNKNOWN = "no answer"
    CLEAN = "clean"  # of a selection or a shard


@dataclass(frozen=True, slots=True)
class Answer:
    """`ship`, what it is said of, the sentence that supports it, and what limits it (empty when nothing does)."""

    ship: Ship
    sentence: str
    limits: tuple[str, ...]
    of: str = ""  # "the selection", "shard 1/4"; empty for a whole run

    @property
    def headline(self) -> str:
        """``ship``, ``do not ship``, ``no answer``, ``the selection is clean``, ``shard 1/4 is clean``."""
        return f"{self.of} is clean" if self.ship is Ship.CLEAN else self.ship.value


def answer_of(report: RunReport) -> Answer:
    """The answer of a run."""
    of = f"shard {report.shard}" if report.shard else "the selection" if report.part else ""
    return Answer(*_ship(report), tuple(_limits(report)), of)


def _ship(report: RunReport) -> tuple[Ship, str]:
    judged = plural(len(report.results), "cell")
    if said := _against(report, judged):
        return Ship.NO, said
    nothing = f"nothing unexpected in {judged}"
    complete = report.exit_code == ExitCode.OK and not report.interrupted
    if not complete:
        return Ship.UNKNOWN, _unanswered(report) or f"{nothing}, but the run is not complete"
    if report.results and not between_builds(report.results):
        return Ship.CLEAN if report.part else Ship.UNKNOWN, f"{nothing}, but {_ONE_BUILD}"
    if report.part:
        return Ship.CLEAN, nothing
    unanswered = silence(report.results)
    return (Ship.UNKNOWN, unanswered) if unanswered else (Ship.YES, nothing)


def _against(report: RunReport, judged: str) -> str:
    """What speaks against shipping, or empty."""
    outcomes = report.outcomes()
    broken = outcomes[Outcome.REGRESSION] + outcomes[Outcome.WRONG_FAILURE]
    if broken:
        return f"{broken:,} of {judged} went wrong unexpectedly, in {plural(report.problems, 'problem')}{_own(report)}"
    if report.unmet:
        return f"{plural(len(report.unmet), 'demand')} of the policy not met by {judged}"
    return "the run went wrong" if report.exit_code == ExitCode.REGRESSIONS else ""


def _own(report: RunReport) -> str:
    """How many of the problems are no break between builds, if any."""
    own = report.own_problems
    return f", {own:,} of which a build has with itself too" if own else ""


def _unanswered(report: RunReport) -> str:
    """Why a run that ended says nothing; empty when it did not end, or the host failed."""
    done = (
        len(report.results) == report.cells_planned and not report.interrupted and not report.missing_shards
    )
    return silence(report.results) if done and not report.outcomes()[Outcome.INCOMPLETE] else ""


def _limits(report: RunReport) -> Iterator[str]:
    if report.interrupted:
        yield "interrupted"
    if incomplete := report.outcomes()[Outcome.INCOMPLETE]:
        yield f"{plural(incomplete, 'cell')} without a verdict: the host or the engine failed"
    for carrier, cells in report.carriers().items():
        yield f"{plural(len(cells), 'cell')} flaky, carried by {carrier}"
    if report.missing_shards:
        noun = "shard" if len(report.missing_shards) == 1 else "shards"
        yield f"without {noun} {', '.join(report.missing_shards)}"
    missing = report.cells_planned - len(report.results)
    if missing > 0:
        yield f"{plural(missing, 'cell')} of the plan not run"
    yield from report.unmet
    if report.shard:
        yield f"only shard {report.shard}"
    if report.selection:
        yield f"only the cells selected by {' '.join(report.selection)}"
    if report.paths:
        yield f"only the paths {' '.join(report.paths)}"

# SPDX-License-Identifier: Apache-2.0
"""Runs a cell whose path has one open step, `@`, with a build for it per point.

1. Every run is made anew, in a store that lives as long as the run: a stored leg says nothing about flakiness.
2. A failure has the judge's signature; a build that does not start, or refuses the machine, is untestable.
3. A failure of the host is an InfrastructureError; the search stops, and continues later from its journal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from migmatrix.harness.bisect.records import Run, Shown
from migmatrix.harness.errors import UnusableBuild
from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.runner import TrialRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.records import Trial

__all__ = ["OPEN", "Builder", "CellProber", "Unbuildable"]

OPEN = "@"  # the step of a path that the points fill
_SHOWN = {Verdict.PASS: Shown.PASS, Verdict.FAIL: Shown.FAIL, Verdict.BLOCKED: Shown.FAIL}


class Unbuildable(Exception):
    """A point has no build; the text says why. Evidence, not an error: it never leaves this package."""


class Builder(Protocol):
    """Where the builds of the points come from."""

    async def build(self, point: int) -> PreparedBuild:
        """The build of a point, made if need be; Unbuildable when it cannot be had."""


@dataclass
class CellProber:
    """`trial` is a path with the step `@`; `fixed` are the builds of its other steps."""

    trial: Trial
    fixed: Mapping[str, PreparedBuild]
    builder: Builder
    opened: Opened
    _ready: dict[int, PreparedBuild] = field(default_factory=dict)
    _refused: dict[int, str] = field(default_factory=dict)

    async def prepare(self, point: int) -> str:
        """Build a point once; one that cannot be built is not tried again."""
        if point not in self._ready and point not in self._refused:
            try:
                self._ready[point] = await self.builder.build(point)
            except (Unbuildable, UnusableBuild) as err:
                self._refused[point] = str(err)
        return self._refused.get(point, "")

    async def run(self, point: int) -> Run:
        """Run the cell with the build of a point."""
        builds = {**self.fixed, OPEN: self._ready[point]}
        with self.opened.with_empty_store() as fresh:
            runner = TrialRunner(builds, fresh, _nothing)
            attempt = await runner.one(f"point {point}", self.trial)
        result = attempt.result
        shown = _SHOWN.get(result.verdict, Shown.UNTESTABLE)
        said = result.cause.message if result.cause else ""
        return Run(point, shown, result.signature or "", said or result.reason, hops=runner.legs)


def _nothing(_: str) -> None:
    """The search tells of its own runs."""

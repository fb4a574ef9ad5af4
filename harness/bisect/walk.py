# SPDX-License-Identifier: Apache-2.0
"""Walks a search to its end: run what `decide` wants, write it down, ask again. Knows no builds and no cells.

1. A run is in the journal before anything is concluded from it.
2. While a point runs, the points that may come next are prepared: the one after a failure and the one after a pass.
3. A preparation that can no longer come next is stopped, so at most three are under way.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from migmatrix.harness.bisect.decide import ahead, decide
from migmatrix.harness.bisect.records import Finding, Run, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.harness.bisect.journal import Journal
    from migmatrix.harness.bisect.records import Rules, Want

__all__ = ["Prober", "walk"]


class Prober(Protocol):
    """How the points of a search are made ready and run."""

    async def prepare(self, point: int) -> str:
        """Make a point ready; empty, or why it cannot be tested. May be called again, and be cancelled."""

    async def run(self, point: int) -> Run:
        """Run a point that is ready, once. InfrastructureError when the host fails: then nothing is known."""


async def walk(
    size: int, prober: Prober, journal: Journal, rules: Rules, tell: Callable[[Run], None]
) -> Finding:
    """Search `size` points to the end, from where the journal stands; `tell` gets each new run."""
    preparing = _Preparing(prober)
    try:
        while not isinstance(step := decide(size, journal.runs, rules), Finding):
            run = await _run(prober, preparing, step, ahead(size, journal.runs, rules, step))
            journal.add(run)
            tell(run)
    finally:
        await preparing.keep(())
    return step


async def _run(prober: Prober, preparing: _Preparing, want: Want, later: Iterable[int]) -> Run:
    begun = time.monotonic()
    await preparing.keep((want.point, *later))
    refused = await preparing.result(want.point)
    run = Run(want.point, Shown.UNTESTABLE, reason=refused) if refused else await prober.run(want.point)
    return replace(run, why=want.why, seconds=round(time.monotonic() - begun, 3))


class _Preparing:
    """The preparations under way, one task per point."""

    def __init__(self, prober: Prober) -> None:
        self._prober = prober
        self._tasks: dict[int, asyncio.Task[str]] = {}

    async def keep(self, points: Iterable[int]) -> None:
        """Prepare these points, in this order, and stop what is prepared for others."""
        wanted = tuple(points)
        others = [self._tasks.pop(point) for point in tuple(self._tasks) if point not in wanted]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)  # what nobody needs any more cannot fail
        for point in wanted:
            if point not in self._tasks:
                self._tasks[point] = asyncio.create_task(self._prober.prepare(point))

    async def result(self, point: int) -> str:
        """What came of a preparation; its error, if it had one."""
        return await asyncio.shield(self._tasks[point])

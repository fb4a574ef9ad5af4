# SPDX-License-Identifier: Apache-2.0
"""Waits for the two sides of a live migration, and says which of them is believed when both have a problem."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from migmatrix.harness.hops.patience import patience
from migmatrix.harness.hops.task import Problem

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from migmatrix.harness.hops.emulator import Emulator

__all__ = ["both", "done"]

# Seconds that a destination gets to tell why, after its source has failed.
_LAST_WORDS = 10.0


async def done(emulator: Emulator) -> None:
    """Wait until its migration has ended; MigrationFailed when it failed."""
    await emulator.migration_status()


def _only_waited(side: asyncio.Future[None]) -> bool:
    """Whether one side ended by its deadline."""
    problem = side.exception() if side.done() and not side.cancelled() else None
    return isinstance(problem, Problem) and problem.problem == "deadline"


async def both(source: Coroutine[Any, Any, None], destination: Coroutine[Any, Any, None]) -> None:
    """Wait for both sides; a destination's problem is told first, as it is the one that rejects a stream.

    But a destination that only waits for a source that has failed has no problem of its own.
    """
    sides = asyncio.ensure_future(destination), asyncio.ensure_future(source)
    try:
        await asyncio.wait(sides, return_when=asyncio.FIRST_EXCEPTION)
        if not sides[0].done():  # the source failed: the destination's reason follows, if it has one
            with contextlib.suppress(TimeoutError):
                async with patience(_LAST_WORDS):
                    await asyncio.wait(sides[:1])
        only_waited = [_only_waited(side) for side in sides]
        for side in reversed(sides) if only_waited == [True, False] else sides:
            if side.done():
                side.result()
    finally:
        for side in sides:
            side.cancel()
        await asyncio.gather(*sides, return_exceptions=True)

# SPDX-License-Identifier: Apache-2.0
"""Which side of a live migration is believed when both have a problem."""

from __future__ import annotations

import asyncio

import pytest

from migmatrix.harness.hops.sides import both
from migmatrix.harness.hops.task import Problem

REFUSED = Problem("migration-failed", "Zero copy send feature not detected in host kernel", "source")
TIRED = Problem("deadline", "not done within 8 s", "destination")
TIRED_TOO = Problem("deadline", "not done within 8 s", "source")
REJECTS = Problem("exited", role="destination")


async def seen(destination: Problem | None, source: Problem | None) -> None:
    """The two sides of a migration, of which the source ends first."""
    source_ended = asyncio.Event()

    async def loads() -> None:
        await source_ended.wait()
        if destination:
            raise destination

    async def saves() -> None:
        source_ended.set()
        if source:
            raise source

    await both(saves(), loads())


@pytest.mark.parametrize(
    ("destination", "source", "believed"),
    [
        (TIRED, REFUSED, REFUSED),
        (TIRED, TIRED_TOO, TIRED),
        (REJECTS, REFUSED, REJECTS),
        (TIRED, None, TIRED),
        (None, REFUSED, REFUSED),
    ],
)
def test_a_destination_that_only_waits_for_a_failed_source_is_not_believed(
    destination: Problem | None, source: Problem | None, believed: Problem
) -> None:
    with pytest.raises(Problem) as caught:
        asyncio.run(seen(destination, source))
    assert caught.value is believed


def test_two_sides_without_a_problem_are_done() -> None:
    asyncio.run(seen(None, None))

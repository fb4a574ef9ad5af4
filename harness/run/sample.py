# SPDX-License-Identifier: Apache-2.0
"""A drawn sample of stored legs, done again and compared: whether the store says what the emulators say.

1. Legs are drawn by a seed from those that a plan needs and the store answers for, so that a seed repeats a sample.
2. Legs are done again with an empty store, through a cell that needs them; the store is only read.
3. What the host failed at, or what ran on another host, is neither equal nor different; it is told.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness import interrupt
from migmatrix.harness.errors import UserError
from migmatrix.harness.judge import judge_leg
from migmatrix.harness.run.again import answer, counts, same_answer
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import settings_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from migmatrix.harness.model import Cell, LegEvidence
    from migmatrix.harness.plan import Plan
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.run.pipeline import Prepared, RunOptions

__all__ = ["Compared", "compare_sample"]


@dataclass(frozen=True, slots=True)
class Compared:
    """A stored leg, a cell that needs it, what the store says and what came of it now ("" when nothing did).

    `same` is None when the two cannot be compared.
    """

    key: str
    cell: Cell
    stored: str
    now: str
    same: bool | None


def compare_sample(
    prepared: Prepared, options: RunOptions, number: int, seed: int, log: Callable[[str], None]
) -> tuple[list[Compared], int]:
    """Do at most `number` stored legs of a plan again; what came of each, and how many the store has.

    UserError when the store has none of them.
    """
    found: list[Compared] = []
    total = 0

    async def work() -> None:
        nonlocal total
        async with opened(options.store, settings_of(prepared.matrix, options.jobs), log) as where:
            stored = _stored(prepared.plan, where)
            total = len(stored)
            if not stored:
                raise UserError(f"the store {str(options.store)!r} has no leg of this plan")
            drawn = random.Random(seed).sample(sorted(stored), min(number, total))  # noqa: S311 - no secret
            found.extend(await _compare(prepared, where, {key: stored[key] for key in drawn}))

    interrupt.run(work())
    return found, total


def _stored(plan: Plan, where: Opened) -> dict[str, LegEvidence]:
    """The planned legs that the store answers for."""
    every = ((key, where.store.get(key)) for key in plan.legs)
    return {key: evidence for key, evidence in every if evidence is not None and counts(evidence)}


def _needing(plan: Plan, keys: Sequence[str]) -> dict[str, Cell]:
    """For each key the first of the cells with the shortest path that needs it."""
    found: dict[str, Cell] = {}
    for cell in sorted(plan.cells, key=lambda cell: (len(cell.path), cell)):
        for key in (*plan.probes_of(cell).values(), *plan.legs_of(cell)):
            found.setdefault(key, cell)
    return {key: found[key] for key in keys}


async def _compare(prepared: Prepared, where: Opened, drawn: Mapping[str, LegEvidence]) -> list[Compared]:
    cells = _needing(prepared.plan, list(drawn))
    now: dict[str, LegEvidence] = {}
    with where.with_empty_store() as empty:
        runner = empty.runner(prepared.plan, prepared.builds, lambda leg, _: now.update({leg.key: leg}))
        try:
            await asyncio.gather(*(runner.cell(cell) for cell in dict.fromkeys(cells.values())))
        finally:
            await runner.close()
    return [_compared(key, cells[key], drawn[key], now.get(key)) for key in drawn]


def _compared(key: str, cell: Cell, stored: LegEvidence, now: LegEvidence | None) -> Compared:
    return Compared(
        key,
        cell,
        _told(stored),
        "" if now is None else _told(now),
        None if now is None else same_answer(stored, now),
    )


def _told(evidence: LegEvidence) -> str:
    if evidence.infrastructure:
        return f"error: {evidence.infrastructure}"
    return " ".join(filter(None, answer(judge_leg(evidence))))

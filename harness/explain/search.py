# SPDX-License-Identifier: Apache-2.0
"""Searches a smallest set of settings that makes the failing migration pass; every answer was run.

1. Candidates are tried alone, most plausible first, up to a bound.
2. Then all candidates of one side are tried together, except those that only go back to a default; if they pass, ddmin
   makes the set small. Halving the set finds the settings that the build refuses to start with; they are left out.
3. A setting that changes the failure into another one is no remedy alone, but takes part in step 2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.candidates import compatible
from migmatrix.harness.explain.ddmin import minimise
from migmatrix.harness.explain.records import Remedy
from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.records import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.explain.candidates import Candidate
    from migmatrix.harness.trials.records import Setting, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["find_remedies", "with_settings"]

PURPOSE = "property"
TOGETHER = "properties together"
_AT_ONCE = 4  # candidates that are tried side by side


async def find_remedies(
    runner: TrialRunner, trial: Trial, candidates: Sequence[Candidate], singles: int
) -> tuple[Remedy, ...]:
    """At most one remedy per side; `singles` bounds the candidates that are tried alone on each side."""
    found: list[Remedy] = []
    for side in (Side.DESTINATION, Side.SOURCE):
        mine = compatible_values([c for c in candidates if c.side is side])
        remedy = await _one_side(runner, trial, side, mine, singles)
        if remedy is not None:
            found.append(remedy)
    if not found:
        return await _both(runner, trial, candidates, singles)
    return tuple(found)


def compatible_values(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Each setting once, in order."""
    return list({c.setting: c for c in reversed(candidates)}.values())[::-1]


async def _one_side(
    runner: TrialRunner, trial: Trial, side: Side, candidates: Sequence[Candidate], singles: int
) -> Remedy | None:
    refused: set[Setting] = set()
    for start in range(0, min(len(candidates), singles), _AT_ONCE):
        some = candidates[start : min(start + _AT_ONCE, singles)]
        attempts = await runner.run(PURPOSE, [with_settings(trial, side, [c.setting]) for c in some])
        for candidate, attempt in zip(some, attempts, strict=True):
            if attempt.passed:
                return _remedy(side, (candidate,))
            if attempt.result.verdict is Verdict.UNSUPPORTED:
                refused.add(candidate.setting)
    left = compatible([c for c in candidates if c.setting not in refused and c.basis != "default"])
    left = await _startable(runner, trial, side, left)
    return await _together(runner, trial, side, left) if len(left) > 1 else None


async def _startable(
    runner: TrialRunner, trial: Trial, side: Side, candidates: tuple[Candidate, ...]
) -> tuple[Candidate, ...]:
    """The candidates without those that the build does not start with, alone or beside the ones before them."""
    kept: tuple[Candidate, ...] = ()
    todo = [candidates]
    while todo:
        some = todo.pop(0)
        attempt = await runner.one(TOGETHER, with_settings(trial, side, [c.setting for c in (*kept, *some)]))
        if attempt.result.verdict is not Verdict.UNSUPPORTED:
            kept = (*kept, *some)
        elif len(some) > 1:
            half = len(some) // 2
            todo = [some[:half], some[half:], *todo]
    return kept


async def _together(
    runner: TrialRunner, trial: Trial, side: Side, candidates: Sequence[Candidate]
) -> Remedy | None:
    """All settings of one side, made small if they pass."""

    async def passes(chosen: tuple[Candidate, ...]) -> bool:
        settings = [c.setting for c in chosen]
        return (await runner.one(TOGETHER, with_settings(trial, side, settings))).passed

    if not await passes(tuple(candidates)):
        return None
    smallest = await minimise(tuple(candidates), passes)
    return _remedy(side, smallest)


def _remedy(side: Side, chosen: tuple[Candidate, ...]) -> Remedy:
    """The record of what passed; one number among the settings makes it a matter of numbers."""
    bases = {candidate.basis for candidate in chosen}
    basis = next(b for b in ("number", "table", "difference", "switch", "default") if b in bases)
    return Remedy(
        side=side,
        settings=tuple(c.setting for c in chosen),
        basis=basis,
        why="; ".join(c.why for c in chosen),
        instead_of=tuple(replace(c.setting, value=c.now) for c in chosen),
    )


async def _both(
    runner: TrialRunner, trial: Trial, candidates: Sequence[Candidate], singles: int
) -> tuple[Remedy, ...]:
    """The same setting on both sides, for properties that both have."""
    everywhere = {c.setting: c for c in candidates if _either_side(c, candidates)}
    chosen = list(everywhere.values())[:singles]
    trials = [with_settings(trial, Side.BOTH, [c.setting]) for c in chosen]
    for candidate, attempt in zip(chosen, await runner.run(PURPOSE, trials), strict=True):
        if attempt.passed:
            return (_remedy(Side.BOTH, (candidate,)),)
    return ()


def _either_side(candidate: Candidate, others: Iterable[Candidate]) -> bool:
    """Whether the other side also has the property, with a number of the failure to set."""
    wanted = candidate.setting
    return any(
        other.side is not candidate.side
        and (other.setting.type, other.setting.name) == (wanted.type, wanted.name)
        for other in others
    )


def with_settings(trial: Trial, side: Side, settings: Iterable[Setting]) -> Trial:
    """The trial with settings on the last step, on all before it, or on all."""
    chosen = tuple(settings)
    last = len(trial.path) - 1
    steps = tuple(
        replace(step, settings=(*step.settings, *chosen)) if _meant(side, at, last) else step
        for at, step in enumerate(trial.path)
    )
    return replace(trial, path=steps)


def _meant(side: Side, at: int, last: int) -> bool:
    return side is Side.BOTH or (at == last) == (side is Side.DESTINATION)

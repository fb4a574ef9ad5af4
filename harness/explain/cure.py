# SPDX-License-Identifier: Apache-2.0
"""What an adjacent build that passes has and the failing build lacks: the property that repaired it.

A build with a defect often has no property for it: the property came with the repair. So the neighbour that passes is
searched for it. The proof is to take it away there: the neighbour must then fail with the same signature.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.candidates import candidates
from migmatrix.harness.explain.records import Cure, Near
from migmatrix.harness.explain.reduce import same_failure
from migmatrix.harness.explain.search import with_settings
from migmatrix.harness.explain.tableline import line_type
from migmatrix.harness.trials.records import Side, Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explain.candidates import Candidate
    from migmatrix.harness.explain.records import Difference, Neighbour
    from migmatrix.harness.trials.qom import MachineView
    from migmatrix.harness.trials.records import Attempt, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["find_cures"]

_TRIED = 4  # properties of one neighbour
_BASES = ("switch", "difference")


@dataclass(frozen=True, slots=True)
class _Better:
    """An adjacent build that passes, and the failing trial with it instead of `instead_of`."""

    side: Side
    build: str
    instead_of: str
    trial: Trial


async def find_cures(
    runner: TrialRunner,
    failing: Attempt,
    views: tuple[MachineView, MachineView],
    neighbours: Sequence[Neighbour],
    where: Sequence[Difference],
) -> tuple[Cure, ...]:
    """At most one cure per adjacent build that passes; `views` are of the source and the destination."""
    found = [
        await _cure(runner, failing, better, views, where) for better in _better(failing.trial, neighbours)
    ]
    return tuple(cure for cure in found if cure is not None)


def _better(trial: Trial, neighbours: Iterable[Neighbour]) -> Iterator[_Better]:
    for near in neighbours:
        alike = near.kind is Near.ADJACENT and len(near.path) == len(trial.path)
        if not (near.passes and alike) or near.side is None:
            continue
        at = 0 if near.side is Side.SOURCE else len(near.path) - 1
        steps = tuple(Step(near.path[at]) if i == at else step for i, step in enumerate(trial.path))
        yield _Better(near.side, near.path[at], trial.path[at].build, replace(trial, path=steps))


async def _cure(
    runner: TrialRunner,
    failing: Attempt,
    better: _Better,
    views: tuple[MachineView, MachineView],
    where: Sequence[Difference],
) -> Cure | None:
    at_end = better.side is Side.DESTINATION
    step = better.trial.path[-1 if at_end else 0]
    here = await runner.view(step, better.trial.machine, better.trial.arguments)
    for candidate in _properties(here, views[at_end], failing, where)[:_TRIED]:
        attempt = await runner.one(
            "cure taken away", with_settings(better.trial, better.side, [candidate.setting])
        )
        if same_failure(attempt, failing):
            setting = candidate.setting
            return Cure(
                better.side,
                better.build,
                better.instead_of,
                broken=setting,
                healthy=replace(setting, value=candidate.now),
                owner=line_type(here, setting),
            )
    return None


def _properties(
    here: MachineView, failing: MachineView, attempt: Attempt, where: Sequence[Difference]
) -> list[Candidate]:
    """Properties that the build which passes has and the failing one has not, or has otherwise."""
    cause = attempt.result.cause
    assert cause is not None  # noqa: S101 - it failed
    found = candidates(failing, here, cause, where)
    return [c for c in found if c.side is Side.DESTINATION and c.basis in _BASES]

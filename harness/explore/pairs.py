# SPDX-License-Identifier: Apache-2.0
"""Between which builds a case is tried first. Pure; the rules are those of `search`."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.explore.records import Phase
from migmatrix.harness.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.explore.records import Case
    from migmatrix.harness.trials.records import Attempt

__all__ = ["at_once", "first_pairs", "is_clear", "neighbours"]


def at_once(case: Case) -> list[tuple[str, str]]:
    """Rule 2: what is not plain begins between builds."""
    return [] if case.candidate.phase is Phase.PLAIN else neighbours(case)


def is_clear(attempts: Sequence[Attempt]) -> bool:
    """Whether attempts between builds tell that all of them start and save."""
    return bool(attempts) and all(a.result.verdict in (Verdict.PASS, Verdict.FAIL) for a in attempts)


def first_pairs(case: Case) -> list[tuple[str, str]]:
    """What a group is tried with: plain ones from builds to themselves too, and where there is no other build."""
    own = case.candidate.phase is Phase.PLAIN or len(case.builds) == 1
    return [*((b, b) for b in case.builds if own), *neighbours(case)]


def neighbours(case: Case) -> list[tuple[str, str]]:
    """Rule 2: pairs of builds next to each other in age, and the two ends, both ways."""
    steps = [*pairwise(case.builds)]
    if len(case.builds) > 2:  # noqa: PLR2004 - of two the ends are the neighbours
        steps.append((case.builds[0], case.builds[-1]))
    return [pair for step in steps for pair in (step, step[::-1])]

# SPDX-License-Identifier: Apache-2.0
"""A doubtful answer (a crash, a hang, a silent guest) is asked for again at once, and the evidence has both.

Whether the two agree is the judge's to say. Nothing here knows where legs are run or kept.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.judge import doubtful

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from migmatrix.harness.judge import LegJudgement
    from migmatrix.harness.model import LegEvidence

__all__ = ["confirmed"]


async def confirmed(
    work: Callable[[], Awaitable[Sequence[LegEvidence]]], judge: Callable[[LegEvidence], LegJudgement]
) -> list[LegEvidence]:
    """What `work` returns: legs one after another, of which the last may have failed."""
    found = list(await work())
    if doubtful(judge(found[-1])):
        second = await work()
        same = next((leg for leg in second if leg.key == found[-1].key), second[-1])
        found[-1] = replace(found[-1], again=same)
    return found

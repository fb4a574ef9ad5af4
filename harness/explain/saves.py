# SPDX-License-Identifier: Apache-2.0
"""What a build was sent beside what it saves itself of the same machine: the one function that runs and loads both.

`where` compares two streams; this gets them. A failure that is no load, a live migration, which leaves no stream, and
a stream that cannot be read give nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.where import compare_sides
from migmatrix.harness.model import Stage
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from migmatrix.harness.explain.records import Difference
    from migmatrix.harness.trials.records import Attempt, Step
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["sent_and_own"]

_LEGS = 2  # that saved and that loaded


async def sent_and_own(runner: TrialRunner, failing: Attempt, own: Step) -> tuple[Difference, ...]:
    """Where the stream that the failing load got differs from one that `own` saves of a guest of its own.

    `failing` is an attempt whose load failed; the differences are those in the section that its cause names, the
    blamed ones first. Starts `own` once for a guest that never ran elsewhere.
    """
    result, trial = failing.result, failing.trial
    if trial.mode.live or result.stage is not Stage.LOAD or result.cause is None or len(result.legs) < _LEGS:
        return ()
    alone = await runner.one(f"own values of {own.build}", replace(trial, path=(own, own)))
    sent = runner.stream(result.legs[-2])
    here = runner.stream(alone.result.legs[0]) if alone.result.legs else None
    if sent is None or here is None:
        return ()
    try:
        return compare_sides(sent, here, result.cause)
    except StreamError as err:
        runner.log(f"cannot compare the streams: {err}")
        return ()

"""What a chain carries: a value of an earlier build that a later one saves although its own would be another.

A chain whose steps pass alone fails because the build in the middle takes what it would not send. The stream that it
saved after loading is compared with the one that it saves of a guest of its own.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.where import compare_sides
from migmatrix.harness.model import Stage
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from migmatrix.harness.trials.records import Attempt
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["carried"]


async def carried(runner: TrialRunner, first: Attempt) -> str:
    """A sentence on what the last build before the failing one carries; empty for a pair or when nothing is seen."""
    result, trial = first.result, first.trial
    at = result.hop or 1
    if at < 2 or trial.mode.live or result.stage is not Stage.LOAD or result.cause is None:  # noqa: PLR2004
        return ""
    via = trial.path[at - 1]
    own = await runner.one("own values of the build between", replace(trial, path=(via, via)))
    sent, here = (
        runner.stream(result.legs[-2]),
        runner.stream(own.result.legs[0]) if own.result.legs else None,
    )
    if sent is None or here is None:
        return ""
    try:
        blamed = [d for d in compare_sides(sent, here, result.cause) if d.blamed]
    except StreamError as err:
        runner.log(f"cannot compare the streams: {err}")
        return ""
    if not blamed:
        return ""
    place = blamed[0]
    return (
        f"{via.build} takes it and passes it on: after loading it saves {place.source} in {place.name},"
        f" of a guest of its own {place.destination}"
    )

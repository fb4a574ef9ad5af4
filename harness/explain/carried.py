# SPDX-License-Identifier: Apache-2.0
"""What a chain carries: a value of an earlier build that a later one saves although its own would be another.

A chain whose steps pass alone fails because the build in the middle loads what it would not send itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.explain.saves import sent_and_own

if TYPE_CHECKING:
    from migmatrix.harness.trials.records import Attempt
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["carried"]


async def carried(runner: TrialRunner, first: Attempt) -> str:
    """A sentence on what the last build before the failing one carries; empty for a pair or when nothing is seen."""
    migration = first.result.hop or 1
    if migration < 2:  # noqa: PLR2004 - nothing lies before the first
        return ""
    via = first.trial.path[migration - 1]
    blamed = next((d for d in await sent_and_own(runner, first, via) if d.blamed), None)
    if blamed is None:
        return ""
    return (
        f"{via.build} loads it and passes it on: then it saves {blamed.source} in {blamed.name},"
        f" and {blamed.destination} for a guest of its own"
    )

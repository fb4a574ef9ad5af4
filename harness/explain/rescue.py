# SPDX-License-Identifier: Apache-2.0
"""Where a guest that cannot migrate to its destination can go: other builds of the run, with overrides if need be.

1. This is asked only when no setting of the destination helps.
2. The overrides are what the source has now, where a remedy would have changed it: a guest that was started with a
   defect keeps it until it is powered off.
3. Of several builds that are one emulator with different arguments, the one with the fewest arguments is tried.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import Rescue
from migmatrix.harness.trials.records import Step

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.trials.records import Setting, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["distinct", "find_rescues"]


async def find_rescues(
    runner: TrialRunner, trial: Trial, settings: tuple[Setting, ...], builds: Iterable[str]
) -> tuple[Rescue, ...]:
    """Builds that take the guest that `trial` cannot bring to its destination; both ways are run."""
    known = {step.build for step in trial.path}
    wanted = set(builds)  # in the order in which cells were done: the run's own order is told
    others = [
        build
        for build in distinct(runner.builds, [id_ for id_ in runner.builds if id_ in wanted])
        if build not in known and _has_machine(runner, build, trial.machine)
    ]
    plain = await runner.run("rescue", [_to(trial, build, ()) for build in others])
    refused = [build for build, attempt in zip(others, plain, strict=True) if not attempt.passed]
    again = refused if settings else []
    overridden = await runner.run("rescue with override", [_to(trial, build, settings) for build in again])
    healed = {build for build, attempt in zip(again, overridden, strict=True) if attempt.passed}
    return tuple(
        Rescue(build, settings if build in healed else ())
        for build in others
        if build in healed or build not in refused
    )


def distinct(builds: Mapping[str, PreparedBuild], ids: Iterable[str]) -> list[str]:
    """One build of each emulator, in the order of `ids`."""
    every = list(ids)
    plainest: dict[str, str] = {}
    for id_ in sorted(every, key=lambda b: len(builds[b].args)):
        plainest.setdefault(builds[id_].facts.digest, id_)
    return [id_ for id_ in every if plainest[builds[id_].facts.digest] == id_]


def _has_machine(runner: TrialRunner, build: str, machine: str) -> bool:
    return runner.builds[build].facts.knows_machine(machine)


def _to(trial: Trial, build: str, settings: tuple[Setting, ...]) -> Trial:
    return replace(trial, path=(*trial.path[:-1], Step(build, settings)))

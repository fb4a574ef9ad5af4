# SPDX-License-Identifier: Apache-2.0
"""Knocks one entry out on one side and runs the pairs that should fail.

1. The build without the entry and the build with it migrate to each other. If both loads pass and the streams say the
   same, a paused guest cannot show the difference: nothing else is run.
2. Otherwise the pairs with the other builds of the matrix are run, each way, until one that passes with the entry
   fails without it: caught. Only a pair of the matrix counts.
3. An entry that a paused guest does not show is tried with a guest whose driver has set the devices up, if the emulator
   can pretend one: `caught` then becomes `needs a guest driver`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.builds import is_reference
from migmatrix.harness.model import Verdict
from migmatrix.harness.mutate.records import Status
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Setting, Step
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.harness.mutate.records import Mutant
    from migmatrix.harness.mutate.survey import Knockout
    from migmatrix.harness.trials.records import Attempt, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["knock_out"]

_DRIVER = Setting("pci-device", "x-guest", "driver")  # the reference emulator's; rule 3
_FAMILIES = ("virtio", "vhost")


@dataclass(frozen=True, slots=True)
class _Experiment:
    """One entry in one profile; `common` is set on all sides."""

    runner: TrialRunner
    knockout: Knockout
    trial: Trial
    common: tuple[Setting, ...] = ()

    def step(self, build: str, *, knocked: bool = False) -> Step:
        more = (self.knockout.setting,) if knocked else ()
        return Step(build, (*self.common, *more))

    async def run(self, *routes: tuple[Step, Step]) -> list[Attempt]:
        trials = [replace(self.trial, path=route) for route in routes]
        return await self.runner.run(f"knock out {self.knockout.row.text}", trials)

    async def screen(self) -> Status | None:
        """Rule 1; None when the pairs have to be run."""
        whole, without = self.step(self.knockout.build), self.step(self.knockout.build, knocked=True)
        there, back = await self.run((whole, without), (without, whole))
        if there.result.verdict is Verdict.UNSUPPORTED or back.result.verdict is Verdict.UNSUPPORTED:
            return Status.NOT_SETTABLE
        if there.passed and back.passed and self._same(there, back):
            return Status.SAME_STREAM
        return None

    def _same(self, one: Attempt, other: Attempt) -> bool:
        """Whether the streams of two sources say the same, but for what changes by itself."""
        first, second = (self.runner.stream(a.result.legs[0]) for a in (one, other))
        if first is None or second is None:
            return False
        try:
            a, b = (read_stream(memoryview(raw), strict=False) for raw in (first, second))
            return not any(not change.volatile for change in diff(a, b, ram=False))
        except StreamError as err:
            self.runner.log(f"cannot compare the streams: {err}")
            return False

    async def noticed(self) -> Attempt | None:
        """Rule 2: the first pair that passes with the entry and not without."""
        mine = self.knockout.build
        for other in self._others():
            plain = await self.run(*_both(self.step(other), self.step(mine)))
            knocked = await self.run(*_both(self.step(other), self.step(mine, knocked=True)))
            for before, after in zip(plain, knocked, strict=True):
                if before.passed and after.result.verdict is Verdict.FAIL:
                    return after
        return None

    def _others(self) -> Iterator[str]:
        """Builds that know the machine, oldest first: they are the least like one that has the entry."""
        builds = self.runner.builds
        knowing = [b for b in builds.values() if b.facts.knows_machine(self.knockout.machine)]
        mine = builds[self.knockout.build].facts.digest
        others = [b for b in knowing if b.facts.digest != mine and not b.args]
        yield from (b.id for b in sorted(others, key=lambda b: version_key(b.facts.version)))


def _both(one: Step, other: Step) -> tuple[tuple[Step, Step], tuple[Step, Step]]:
    return (one, other), (other, one)


async def knock_out(runner: TrialRunner, knockout: Knockout, starts: Mapping[str, Trial]) -> Mutant:
    """What became of an entry; `starts` are the machine's profiles as trials."""
    statuses: list[Status] = []
    for at, profile in enumerate(knockout.profiles):
        experiment = _Experiment(runner, knockout, starts[profile])
        status = await experiment.screen()
        caught = await experiment.noticed() if status is None else None
        if caught is not None:
            tried = knockout.profiles[: at + 1]
            return _told(knockout.mutant(Status.CAUGHT), profile, caught, tried)
        statuses.append(status or Status.TOLERATED)
    mutant = replace(knockout.mutant(_summed(statuses)), tried=knockout.profiles)
    return await _with_driver(runner, knockout, starts, mutant)


def _summed(statuses: list[Status]) -> Status:
    """One word for what several profiles gave: what shows most of it."""
    for status in (Status.TOLERATED, Status.SAME_STREAM):
        if status in statuses:
            return status
    return Status.NOT_SETTABLE


def _told(mutant: Mutant, profile: str, attempt: Attempt, tried: tuple[str, ...]) -> Mutant:
    result = attempt.result
    return replace(
        mutant, profile=profile, route=attempt.trial.route, signature=result.signature or "", tried=tried
    )


async def _with_driver(
    runner: TrialRunner, knockout: Knockout, starts: Mapping[str, Trial], mutant: Mutant
) -> Mutant:
    """Rule 3; on real QEMU, which cannot pretend a driver, it is only said of device families that have one."""
    if mutant.status is Status.NOT_SETTABLE:
        return mutant
    if knockout.row.device == "migration":
        return replace(mutant, hint="only a live mode with the capability that it is about can show it")
    for profile in knockout.profiles:
        experiment = _Experiment(runner, knockout, starts[profile], (_DRIVER,))
        if not is_reference(runner.builds[knockout.build]):
            break
        caught = await experiment.noticed()
        if caught is not None:
            needs = replace(
                mutant, status=Status.NEEDS_DRIVER, hint="a guest whose driver has set the device up"
            )
            return _told(needs, profile, caught, mutant.tried)
    if knockout.row.device.startswith(_FAMILIES):
        return replace(mutant, hint="perhaps a guest whose driver has accepted the feature; not run here")
    return mutant

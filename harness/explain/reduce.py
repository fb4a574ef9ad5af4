# SPDX-License-Identifier: Apache-2.0
"""The smallest trial with the same signature: mode and guest, path, argument groups, options of devices.

Every step is a run, and a step counts only if the signature stays the same. The machine version is never changed: that
would be a contrast (`contrast`), not a reduction. What one build needs to start, and another does not, stays where the
smallest trial has to start on both: a device may want a back end in some versions only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING

from migmatrix.harness.explain.ddmin import minimise
from migmatrix.harness.explain.options import (
    arguments_of,
    closed,
    closure,
    device_type,
    groups,
    parts,
    removable_parts,
    without_part,
)
from migmatrix.harness.explain.records import Reproducer
from migmatrix.harness.explain.told import droppable, shorter_pairs, spelt_out, without
from migmatrix.harness.model import Guest, Mode, Verdict
from migmatrix.harness.trials.records import Step

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from migmatrix.harness.explain.options import Group
    from migmatrix.harness.explain.told import Unit
    from migmatrix.harness.trials.records import Attempt, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Reduced", "reduce"]

_SIMPLE_MODE = Mode("snapshot")
_SIMPLE_GUEST = Guest("paused", "paused")


@dataclass(frozen=True, slots=True)
class Reduced:
    """The smallest trial, its attempt, and the record for the report."""

    attempt: Attempt
    record: Reproducer

    @property
    def trial(self) -> Trial:
        """What reproduces the failure."""
        return self.attempt.trial

    def with_note(self, more: str) -> Reduced:
        """The same with one more sentence on the path."""
        notes = [note for note in (self.record.note, more) if note]
        return replace(self, record=replace(self.record, note="; ".join(notes)))


async def reduce(runner: TrialRunner, first: Attempt, builds: Collection[str] = ()) -> Reduced:
    """Reduce an attempt that showed the failure; what is left starts on each of `builds`, which start the attempt."""
    smallest = await _reduced(runner, first, ())
    if await _start(runner, builds, smallest.trial):
        return smallest
    return await _reduced(runner, first, builds)


async def _start(runner: TrialRunner, builds: Collection[str], trial: Trial) -> bool:
    """Whether each of the builds starts a trial's machine, by itself."""
    alone = [replace(trial, path=(Step(build), Step(build))) for build in builds]
    done = await runner.run("starts", alone)
    return all(attempt.result.verdict is not Verdict.UNSUPPORTED for attempt in done)


async def _reduced(runner: TrialRunner, first: Attempt, builds: Collection[str]) -> Reduced:
    reducer = _Reducer(runner, first, builds)
    await reducer.mode_and_guest()
    await reducer.path()
    await reducer.own_arguments()
    await reducer.groups()
    if await reducer.options():
        await reducer.groups()  # what only a removed option needed
    return Reduced(reducer.best, reducer.record())


class _Reducer:
    """Holds the best attempt so far; each method makes it smaller or leaves it."""

    def __init__(self, runner: TrialRunner, first: Attempt, builds: Collection[str]) -> None:
        self._runner = runner
        self._builds = builds
        self._first = first
        self._signature = first.result.signature
        self.best = first

    async def _try(self, what: str, trial: Trial) -> bool:
        """Run a smaller trial, and keep it if the failure is the same, and the builds that have to start it do."""
        attempt = await self._runner.one(f"smaller {what}", trial)
        if not same_failure(attempt, self._first) or not await _start(self._runner, self._builds, trial):
            return False
        self.best = attempt
        return True

    async def mode_and_guest(self) -> None:
        """A snapshot of a paused guest is the cheapest and the easiest to look into."""
        trial = self.best.trial
        simplest = replace(trial, mode=_SIMPLE_MODE, guest=_SIMPLE_GUEST)
        for simpler in (simplest, replace(trial, guest=_SIMPLE_GUEST), replace(trial, mode=_SIMPLE_MODE)):
            if simpler != trial and await self._try("mode and guest", simpler):
                return

    async def path(self) -> None:
        """The shortest path to the build that failed, over some of the builds before it."""
        trial = self.best.trial
        for steps in _shorter(trial.path, self.best.result.hop or len(trial.path) - 1):
            if await self._try("path", replace(trial, path=steps)):
                return

    async def own_arguments(self) -> None:
        """What the builds and the sides of the mode are told, without all that the failure does not need (`told`)."""
        whole = spelt_out(self.best.trial, self._runner.builds)
        units = droppable(whole)

        async def holds(chosen: tuple[Unit, ...]) -> bool:
            gone = [unit for unit in units if unit not in chosen]
            return await self._try("build arguments", without(whole, gone))

        await minimise(units, holds)
        self.best = replace(self.best, trial=spelt_out(self.best.trial, self._runner.builds))
        while await self._one_shorter():
            pass

    async def _one_shorter(self) -> bool:
        for trial in shorter_pairs(self.best.trial):
            if await self._try("build arguments", trial):
                return True
        return False

    async def groups(self) -> None:
        """First only what the failing device needs, which is nearly always right; then without each other group."""
        every = groups(self.best.trial.arguments)
        guess = _guess(every, self.best)
        if len(guess) < len(every):
            await self._try("arguments", self._with(guess))
        left = groups(self.best.trial.arguments)
        loose = [group for group in left if not group.fixed]
        fixed = [group for group in left if group.fixed]

        async def holds(chosen: tuple[Group, ...]) -> bool:
            selection = (*fixed, *chosen)
            return closed(selection, left) and await self._try("arguments", self._with(selection))

        await minimise(loose, holds)

    async def options(self) -> bool:
        """The options of each device that is left, one by one; whether any was removed."""
        before = self.best
        while await self._one_option_less():
            pass
        return self.best is not before

    async def _one_option_less(self) -> bool:
        for trial in self._without_one_option():
            if await self._try("options", trial):
                return True
        return False

    def _without_one_option(self) -> Iterator[Trial]:
        left = groups(self.best.trial.arguments)
        for group in left:
            for number in removable_parts(group):
                changed = tuple(without_part(group, number) if g is group else g for g in left)
                yield self._with(changed)

    def _with(self, chosen: Sequence[Group]) -> Trial:
        return replace(self.best.trial, arguments=arguments_of(chosen))

    def record(self) -> Reproducer:
        """What was found, for people."""
        trial, first = self.best.trial, self._first.trial
        builds = tuple(step.build for step in trial.path)
        return Reproducer(
            machine=trial.machine,
            arguments=trial.arguments,
            path=tuple(step.text for step in trial.path),
            mode=trial.mode.name,
            guest=trial.guest.name,
            removed=tuple(_removed(first.arguments, trial.arguments)),
            started_on=builds[0],
            build_arguments=own_arguments(trial),
            note=_note(tuple(step.build for step in first.path), builds, self._first.result.hop or 1),
        )


def own_arguments(trial: Trial) -> tuple[tuple[str, ...], ...]:
    """The builds' arguments as a reproducer has them: a row per step, empty when no build of the path has any."""
    rows = tuple(step.args or () for step in trial.path)
    return rows if any(rows) else ()


def same_failure(attempt: Attempt, first: Attempt) -> bool:
    """Whether an attempt shows the failure that is followed: verdict and signature."""
    mine, wanted = attempt.result, first.result
    return (mine.verdict, mine.signature) == (wanted.verdict, wanted.signature)


def _shorter(path: tuple[Step, ...], migration: int) -> Iterator[tuple[Step, ...]]:
    """Paths over some of the builds before the failing migration's end, shortest first, latest builds first."""
    before, last = path[:migration], path[migration]
    for length in range(1, len(before) + 1):
        for chosen in reversed(list(combinations(before, length))):
            if (*chosen, last) != path:
                yield (*chosen, last)


def _guess(every: Sequence[Group], attempt: Attempt) -> tuple[Group, ...]:
    """The groups that the device of the cause needs; all of them when none is of its model."""
    cause = attempt.result.cause
    model = cause.device.rpartition("/")[2].casefold() if cause and cause.device else ""
    stem = model.removesuffix("-device").replace("_", "-")
    named = [g for g in every if stem and stem in device_type(g).casefold().replace("_", "-")]
    fixed = [g for g in every if g.fixed]
    return closure((*fixed, *named), every) if named else tuple(every)


def _removed(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """Groups and parts of devices that are gone."""
    kept = {group.text for group in groups(after)}
    smaller = {device_type(g): dict.fromkeys(parts(g.value)) for g in groups(after) if device_type(g)}
    for group in groups(before):
        if group.text in kept:
            continue
        if (type_ := device_type(group)) in smaller:
            gone = [f"{k}={v}" for k, v in parts(group.value) if (k, v) not in smaller[type_]]
            yield f"{', '.join(gone)} of {type_}"
        else:
            yield group.text


def _note(before: tuple[str, ...], after: tuple[str, ...], migration: int) -> str:
    """How the builds of the first path matter, in a sentence; empty for a pair."""
    travelled = before[: migration + 1]
    if len(travelled) <= 2:  # noqa: PLR2004 - a pair
        return ""
    gone = [build for build in travelled[:-1] if build not in after]
    if not gone:
        return f"needs every step: the guest is started on {after[0]}, and {', '.join(after[1:-1])} changes its state"
    if after[0] == travelled[0]:
        via = " and ".join(gone)
        return f"the state of a guest started on {after[0]} is to blame: {via} passes it on unchanged in what matters"
    return f"what {', '.join(gone)} did before does not matter: {after[0]} saves it so by itself"

# SPDX-License-Identifier: Apache-2.0
"""What can be knocked out, and where it would show: entries, defaults, and the device types of each profile.

1. The newest build of the matrix that knows the machine is asked: it has the most entries.
2. Of the profiles with an entry's device a few are chosen that cover as many as possible of the types it is for.
3. Where no profile has the device, the machine is started with one of its types added; the emulator's answer to that
   is the hint.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.compat.effective import Row, TypeFacts, rows_of, tables_of, types_of
from migmatrix.harness.compat.values import opposite, same
from migmatrix.harness.model import Verdict
from migmatrix.harness.mutate.records import Mutant, Status
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.qom import types_in
from migmatrix.harness.trials.records import Setting, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.trials.records import Attempt, Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Knockout", "Survey", "survey"]

_BARE = ("-m", "64", "-display", "none", "-nodefaults")
_ALWAYS = frozenset({"migration"})  # objects that are in no machine's tree but in every emulator


@dataclass(frozen=True, slots=True)
class Knockout:
    """An entry that can be knocked out on `build` by `setting`; `profiles` have the device, best first."""

    machine: str
    row: Row
    build: str
    setting: Setting
    profiles: tuple[str, ...]
    having: int

    def mutant(self, status: Status) -> Mutant:
        """The record of it."""
        return Mutant(self.machine, self.row, self.build, self.setting, status, having=self.having)


@dataclass(frozen=True, slots=True)
class Survey:
    """What will be tried, and what is settled without a run."""

    knockouts: tuple[Knockout, ...]
    settled: tuple[Mutant, ...]


async def survey(
    runner: TrialRunner,
    starts: Mapping[str, Sequence[tuple[str, Trial]]],
    tables: Path | None,
    at_most: int,
    wanted: Callable[[Row], bool],
) -> Survey:
    """`starts` are the profiles of each machine as trials; `at_most` bounds the profiles of one entry.

    Only the `wanted` entries count.
    """
    knockouts: list[Knockout] = []
    settled: list[Mutant] = []
    for machine, profiles in starts.items():
        build = _newest(runner, machine)
        every = rows_of(tables_of(build, tables), machine, build.facts.version)
        rows = [row for row in every if wanted(row)]
        facts = await types_of(
            runner.opened.engine, build, (r.device for r in rows), runner.opened.settings.deadlines
        )
        present = await _present(runner, build, profiles)
        found = [_settled_or_not(machine, row, build.id, facts[row.device], present, at_most) for row in rows]
        knockouts += [one for one in found if isinstance(one, Knockout)]
        bare = replace(profiles[0][1], arguments=_BARE, path=(Step(build.id), Step(build.id)))
        settled += await _reasoned(runner, bare, [one for one in found if isinstance(one, Mutant)], facts)
    return Survey(tuple(knockouts), tuple(settled))


async def _present(
    runner: TrialRunner, build: PreparedBuild, profiles: Sequence[tuple[str, Trial]]
) -> dict[str, frozenset[str]]:
    """The types that each profile has, several machines looked at side by side."""
    slots = asyncio.Semaphore(runner.opened.settings.jobs)

    async def types(trial: Trial) -> frozenset[str]:
        where = runner.opened
        async with slots:
            return await types_in(
                where.engine, build, trial.machine, trial.arguments, where.settings.deadlines
            )

    found = await asyncio.gather(*(types(trial) for _, trial in profiles))
    return {name: types for (name, _), types in zip(profiles, found, strict=True)}


async def _reasoned(
    runner: TrialRunner, bare: Trial, mutants: Sequence[Mutant], facts: Mapping[str, TypeFacts]
) -> list[Mutant]:
    """The mutants, those without a profile with what the machine says to one of the device's types."""
    known = runner.builds[bare.path[0].build].facts.devices
    lacking = {m: _first_type(facts[m.row.device], known) for m in mutants if m.status is Status.NO_PROFILE}
    trials = [replace(bare, arguments=(*bare.arguments, "-device", type_)) for type_ in lacking.values()]
    attempts = await runner.run("a device that no profile has", trials)
    said = {
        mutant: _why_not(type_, attempt)
        for (mutant, type_), attempt in zip(lacking.items(), attempts, strict=True)
    }
    return [replace(mutant, hint=said.get(mutant, mutant.hint)) for mutant in mutants]


def _first_type(facts: TypeFacts, known: Sequence[str]) -> str:
    """A type that has the entry; of a virtio device its PCI card, which is what is put on a command line."""
    first = min(facts.concrete)
    card = f"{first.removesuffix('-device')}-pci"
    return card if card in known else first


def _why_not(type_: str, attempt: Attempt) -> str:
    """What the machine has against a device: the emulator's own words, its name for itself left out."""
    result = attempt.result
    if result.verdict is not Verdict.UNSUPPORTED:
        return f"a profile with {type_}"
    said = result.cause.message if result.cause else result.reason
    return f"a profile with {type_}, to which this machine says: {said}"


def _newest(runner: TrialRunner, machine: str) -> PreparedBuild:
    knowing = [b for b in runner.builds.values() if b.facts.knows_machine(machine)]
    return max(knowing, key=lambda b: (version_key(b.facts.version), -len(b.args)))


def _settled_or_not(
    machine: str, row: Row, build: str, facts: TypeFacts, present: Mapping[str, frozenset[str]], at_most: int
) -> Knockout | Mutant:
    """What is to be run for an entry, or why nothing is."""
    default = _default(row, facts)
    setting = Setting(row.device, row.name, default or "")
    having = {name: types & facts.concrete for name, types in present.items() if types & facts.concrete}
    if row.device in _ALWAYS:
        having = {name: frozenset({row.device}) for name in present}
    chosen = tuple(_covering(having))[:at_most]
    knockout = Knockout(machine, row, build, setting, chosen, len(having))
    status = _status_without_run(row, facts, default, having)
    if status is None:
        return knockout
    return replace(knockout.mutant(status), hint=_hint(status, row, facts))


def _default(row: Row, facts: TypeFacts) -> str | None:
    """What the type has by itself; of a switch whose default the binary does not tell it is the other value."""
    told = facts.defaults.get(row.name)
    if told is None and row.name in facts.defaults:
        return opposite(row.value)
    return told


def _hint(status: Status, row: Row, facts: TypeFacts) -> str:
    if status is not Status.NOT_SETTABLE:
        return ""
    return (
        "its default is not told"
        if row.name in facts.defaults
        else "the binary's device has no such property"
    )


def _status_without_run(
    row: Row, facts: TypeFacts, default: str | None, having: Mapping[str, frozenset[str]]
) -> Status | None:
    if not facts.concrete:
        return Status.NOT_HERE
    if default is None:
        return Status.NOT_SETTABLE
    if same(default, row.value):
        return Status.NO_EFFECT
    return None if having else Status.NO_PROFILE


def _covering(having: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Profiles in an order in which each adds as many new types as possible; at equal numbers the smaller."""
    left = dict(having)
    seen: frozenset[str] = frozenset()
    while left:
        best = max(left, key=lambda name: (len(left[name] - seen), -len(left[name])))
        seen |= left.pop(best)
        yield best

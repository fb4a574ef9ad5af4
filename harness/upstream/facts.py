# SPDX-License-Identifier: Apache-2.0
"""Runs a failure and all that a maintainer asks about it: every pair of builds, other machines, the explanation, streams.

1. Nothing is taken from what was run before: the builds are started anew.
2. The failure is that of the subject's path. If it does not come again, there is nothing but that to say.
3. Pairs are run `_TIMES` times, each time with nothing stored: what depends on chance says nothing of versions.
4. `explain` reduces and concludes; what it ran is kept, so that what passes can be told without running it again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from migmatrix.harness.compat.static import StaticTools, StaticView
from migmatrix.harness.errors import UnusableBuild
from migmatrix.harness.explain.contrast import Stored
from migmatrix.harness.explain.explain import explain_cell
from migmatrix.harness.explain.kinds import EXPLAINED, Problem
from migmatrix.harness.explain.row import Budget, Case
from migmatrix.harness.model import Guest, Mode, Stage
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Step, Trial
from migmatrix.harness.trials.runner import TrialRunner
from migmatrix.harness.upstream.title import subject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.model import Cell, CellResult, EmulatorEvidence
    from migmatrix.harness.trials.records import Attempt
    from migmatrix.harness.upstream.finding import Subject

__all__ = ["Facts", "Streams", "gather"]

_PAIR = 2
_TIMES = 3
_Pairs = dict[tuple[str, str], "CellResult"]


@dataclass(frozen=True, slots=True)
class Streams:
    """What the failing load was sent, and what its build saves itself of the same machine; None where there is none.

    `plain` is what the source saves with the nearest command line that passes.
    """

    sent: bytes | None = None
    own: bytes | None = None
    plain: bytes | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that was seen. `attempt` is the smallest that fails alike; without one the failure did not come again.

    `pairs` are the verdicts of all pairs of builds with its command line, `elsewhere` those of its pair on other
    machines, `said` the emulators of the failing legs, `near` the nearest command line that passes.
    """

    builds: Mapping[str, PreparedBuild]
    first: Attempt
    attempt: Attempt | None = None
    explanation: Explanation | None = None
    pairs: Mapping[tuple[str, str], CellResult] | None = None
    elsewhere: Mapping[str, CellResult] | None = None
    said: tuple[EmulatorEvidence, ...] = ()
    streams: Streams = Streams()
    static: StaticView | None = None
    near: Attempt | None = None
    varying: frozenset[tuple[str, str]] = frozenset()  # pairs that did not always give one verdict

    @property
    def by_age(self) -> list[str]:
        """Ids of the builds, oldest first."""
        return sorted(self.builds, key=lambda id_: (version_key(self.builds[id_].facts.version), id_))


async def gather(runner: TrialRunner, asked: Subject, budget: Budget) -> Facts:
    """Run it all; InfrastructureError when the host fails meanwhile."""
    builds = asked.origin.builds
    first = await runner.one("again", asked.trial)
    if first.result.verdict not in EXPLAINED or not first.result.signature:
        return Facts(builds, first)
    result = replace(first.result, cell=asked.cell)
    case = Case(result, Problem("finding", (result,)), asked.trial, budget)
    stored = await _neighbourhood(runner, asked, result)
    explanation = await explain_cell(runner, stored, case)
    explanation = replace(explanation, machines=stored.alike(result))
    attempt = await runner.one("again", _smallest(asked.trial, explanation))
    pairs, varying = await _pairs(runner, attempt.trial)
    near = _nearest(runner, attempt)
    failing = replace(attempt.result, cell=_cell(asked.cell, attempt.trial))
    return Facts(
        builds,
        first,
        attempt,
        explanation,
        pairs,
        {cell.machine: r for cell, r in stored.results.items() if cell.path == asked.cell.path},
        tuple(_said(runner, attempt)),
        await _streams(runner, attempt, near),
        await asyncio.to_thread(_static, StaticTools(builds), failing, attempt, runner),
        near,
        varying,
    )


async def _neighbourhood(runner: TrialRunner, asked: Subject, result: CellResult) -> Stored:
    """What a run of this profile would hold: all pairs on its machine, and its own path on the other machines."""
    builds, cell, trial = asked.origin.builds, asked.cell, asked.trial
    cells = [replace(cell, path=pair) for pair in product(_knowing(builds, cell.machine), repeat=_PAIR)]
    cells += [
        replace(cell, machine=m)
        for m in asked.machines
        if all(builds[build].facts.knows_machine(m) for build in cell.path)
    ]
    trials = [replace(trial, machine=c.machine, path=tuple(map(Step, c.path))) for c in cells]
    attempts = await runner.run("all pairs", trials)
    found = {c: replace(a.result, cell=c) for c, a in zip(cells, attempts, strict=True)}
    return Stored({**found, cell: result}, builds)


def _knowing(builds: Mapping[str, PreparedBuild], machine: str) -> list[str]:
    return [id_ for id_, build in builds.items() if build.facts.knows_machine(machine)]


def _smallest(whole: Trial, explanation: Explanation) -> Trial:
    """What `explain` reduced the trial to."""
    small = explanation.reproducer
    own = small.build_arguments or ((),) * len(small.path)
    return Trial(
        machine=small.machine,
        arguments=small.arguments,
        path=tuple(Step(build, args=args) for build, args in zip(small.path, own, strict=True)),
        mode=whole.mode if small.mode == whole.mode.name else Mode(small.mode),
        guest=whole.guest if small.guest == whole.guest.name else Guest(small.guest, small.guest),
    )


async def _pairs(runner: TrialRunner, trial: Trial) -> tuple[_Pairs, frozenset[tuple[str, str]]]:
    """All pairs with their verdicts, and those that do not always have one (rule 3)."""
    pairs = list(product(_knowing(runner.builds, trial.machine), repeat=_PAIR))
    known = {step.build: step for step in trial.path}
    trials = [replace(trial, path=tuple(known.get(build, Step(build)) for build in pair)) for pair in pairs]
    attempts = await runner.run("all pairs", trials)
    found = {(a, b): attempt.result for (a, b), attempt in zip(pairs, attempts, strict=True)}
    varying: set[tuple[str, str]] = set()
    for _ in range(_TIMES - 1):
        with runner.opened.with_empty_store() as fresh:
            again = await TrialRunner(runner.builds, fresh, runner.log).run("all pairs again", trials)
        varying |= {
            pair
            for (pair, first), attempt in zip(found.items(), again, strict=True)
            if (first.verdict, first.signature) != (attempt.result.verdict, attempt.result.signature)
        }
    return found, frozenset(varying)


def _cell(cell: Cell, trial: Trial) -> Cell:
    return replace(cell, path=tuple(step.build for step in trial.path))


def _said(runner: TrialRunner, attempt: Attempt) -> list[EmulatorEvidence]:
    """The emulators of the leg that failed."""
    evidence = runner.evidence(attempt.result.legs[-1]) if attempt.result.legs else None
    return list(evidence.emulators) if evidence else []


async def _streams(runner: TrialRunner, attempt: Attempt, near: Attempt | None) -> Streams:
    """Both sides' saves; nothing for a failure that is no load, and for a live migration, which leaves no stream."""
    result, trial = attempt.result, attempt.trial
    if trial.mode.live or result.stage is not Stage.LOAD or len(result.legs) < _PAIR:
        return Streams()
    last = trial.path[-1]
    alone = await runner.one("own values", replace(trial, path=(last, last)))
    return Streams(
        runner.stream(result.legs[-2]),
        runner.stream(alone.result.legs[0]) if alone.result.legs else None,
        runner.stream(near.result.legs[0]) if near is not None else None,
    )


def _static(
    tools: StaticTools, result: CellResult, attempt: Attempt, runner: TrialRunner
) -> StaticView | None:
    """What they say of the section that the failure names, and of the device of the command line."""
    cause = result.cause
    if cause is None or result.failing_pair is None or result.stage is not Stage.LOAD:
        return None
    names = dict.fromkeys((cause.device, subject(attempt.trial.arguments, cause)))
    try:
        asked = [replace(result, cause=replace(cause, device=name)) for name in names]
        views, schemas = list(map(tools.sees, asked)), list(map(tools.findings, asked))
    except UnusableBuild as err:
        runner.log(f"static tools could not be asked: {err}")
        return None
    return StaticView(
        tuple(dict.fromkeys(line for view in views for line in view.tables)),
        tuple(dict.fromkeys(f"{found.device}: {found.message}" for some in schemas for found in some)),
    )


def _nearest(runner: TrialRunner, attempt: Attempt) -> Attempt | None:
    """Of what `explain` ran on the same builds and machine, what passes with the fewest words less."""
    mine = attempt.trial
    passing = [
        other
        for other in runner.journal
        if other.passed and replace(other.trial, arguments=mine.arguments) == mine
    ]
    return max(passing, key=lambda a: _shared(a.trial.arguments, mine.arguments), default=None)


def _shared(one: tuple[str, ...], other: tuple[str, ...]) -> int:
    """How many characters of options both have, less those of one alone."""
    words, wanted = ({part for word in words for part in word.split(",")} for words in (one, other))
    return sum(map(len, words & wanted)) - sum(map(len, words ^ wanted))

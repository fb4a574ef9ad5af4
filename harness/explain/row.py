# SPDX-License-Identifier: Apache-2.0
"""The row that a remedy is verified on: which machines, which other pairs, and the whole path of a chain.

1. The profile is the run's, not the reproducer's: people have the run's.
2. The machines are those of the run that all builds of the path know; on request every versioned machine type of the
   same board that they know. A bound keeps the first ones. `Remedy.scope` says which were taken.
3. Other failing pairs of the same problem are run with the remedy too, and so is a chain that was made shorter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import RowCheck
from migmatrix.harness.explain.reduce import own_arguments
from migmatrix.harness.explain.search import with_settings
from migmatrix.harness.explain.tableline import line_type
from migmatrix.harness.explain.verify import verify
from migmatrix.harness.trials.records import Side, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.explain.contrast import Stored
    from migmatrix.harness.explain.kinds import Problem
    from migmatrix.harness.explain.records import Explanation, Remedy
    from migmatrix.harness.model import Cell, CellResult
    from migmatrix.harness.trials.records import Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Budget", "Case", "verified"]

_OTHER_PAIRS = 4


@dataclass(frozen=True, slots=True)
class Budget:
    """How much is tried: candidates alone per side; machines of a row (0: all), those of the run or every one."""

    singles: int = 12
    machines: int = 0
    every_machine: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """What is explained: a result of a run, the problem it stands for, and its cell as a trial.

    `earlier` are explanations of the same run.
    """

    result: CellResult
    problem: Problem
    whole: Trial
    budget: Budget
    earlier: tuple[Explanation, ...] = ()

    @property
    def cell(self) -> Cell:
        """The cell of the result."""
        return self.result.cell

    def same_reproducer(self, reduced: Trial) -> Explanation | None:
        """An earlier explanation with the very same reproducer: what was tried there need not be tried again."""
        for found in self.earlier:
            small = found.reproducer
            if self._another(found) and _key(reduced) == (
                small.machine, small.arguments, small.path, small.mode, small.guest, small.build_arguments,
            ):  # fmt: skip
                return found
        return None

    def _another(self, found: Explanation) -> bool:
        """Whether an explanation is of another problem with the same signature; its own is made anew."""
        return (
            found.reproduced and found.signature == self.result.signature and found.kind != self.problem.kind
        )

    def others(self, route: Sequence[str]) -> tuple[tuple[str, ...], ...]:
        """Other failing pairs of the same problem, with the same machine, profile, mode and guest."""
        cells = (r.cell for r in self.problem.results)
        pairs = (c.path for c in cells if replace(c, path=self.cell.path) == self.cell and len(c.path) == 2)  # noqa: PLR2004
        return tuple(path for path in dict.fromkeys(pairs) if path != tuple(route))[:_OTHER_PAIRS]


def _key(trial: Trial) -> tuple[object, ...]:
    """A trial as a `Reproducer` names it."""
    path = tuple(step.text for step in trial.path)
    own = own_arguments(trial)
    return trial.machine, trial.arguments, path, trial.mode.name, trial.guest.name, own


async def verified(runner: TrialRunner, stored: Stored, case: Case, reduced: Trial, remedy: Remedy) -> Remedy:
    """The remedy with its row, its scope, and the base types that its properties come from."""
    route = [step.build for step in reduced.path]
    machines, scope = _machines(stored, case, route)
    # The profile and the builds' arguments are the run's.
    trial = replace(case.whole, path=tuple(replace(step, args=None) for step in reduced.path))

    def before(machine: str, path: tuple[str, ...]) -> CellResult | None:
        return stored.results.get(replace(case.cell, machine=machine, path=path))

    checked = await verify(runner, trial, remedy, machines, before)
    more = [*_others(case, route), *_chain(case, reduced)]
    remedied = [with_settings(other, remedy.side, remedy.settings) for other in more]
    attempts = await runner.run("same problem with remedy", remedied)
    rows = [
        RowCheck(a.trial.machine, a.trial.route, case.result.verdict.value, a.result.verdict.value)
        for a in attempts
    ]
    step = reduced.path[-1 if remedy.side is Side.DESTINATION else 0]
    view = await runner.view(step, reduced.machine, reduced.arguments)
    owners = tuple(line_type(view, setting) for setting in remedy.settings)
    return replace(checked, rows=(*checked.rows, *rows), owners=owners, scope=scope)


def _machines(stored: Stored, case: Case, route: Sequence[str]) -> tuple[tuple[str, ...], str]:
    mine, most = case.whole.machine, case.budget.machines
    if case.budget.every_machine:
        known, of = (
            stored.all_machines_for(route, mine),
            f"{mine.rpartition('-')[0]} machines that all builds know",
        )
    else:
        known, of = stored.machines_for(route), "machines of the run that all builds know"
    chosen = (mine, *(m for m in known if m != mine))
    taken = chosen[:most] if most else chosen
    return taken, f"{len(taken)} of the {len(chosen)} {of}"


def _others(case: Case, route: Sequence[str]) -> Iterator[Trial]:
    for path in case.others(route):
        yield replace(case.whole, path=tuple(Step(build) for build in path))


def _chain(case: Case, reduced: Trial) -> Iterator[Trial]:
    """The path up to its failing build, when a shorter one was found."""
    path = case.whole.path[: (case.result.hop or 1) + 1]
    if [step.build for step in path] != [step.build for step in reduced.path]:
        yield replace(case.whole, path=path)

# SPDX-License-Identifier: Apache-2.0
"""Extends routes build by build, with the property overrides that the next build needs to take the guest.

1. A route is a chain and is judged as that chain: what the run has not run is run now. Pairs imply nothing.
2. An override that a step needed is set on every later step too: it is the guest's, until that guest is powered off. A
   build that does not know the property is tried without it.
3. The run's explanations are asked first for an override; if none has one, it is searched on the leg that fails, as
   `explain` does. Only the destination is changed: the guest is already running on the source.
4. What was tried and did not pass is kept as a `Blocker`, with the failure's own words.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.candidates import candidates
from migmatrix.harness.explain.saves import sent_and_own
from migmatrix.harness.explain.search import find_remedies
from migmatrix.harness.model import Stage, Verdict
from migmatrix.harness.trials.records import Side, Step, Trial, setup_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from migmatrix.harness.advise.verdicts import Verdicts
    from migmatrix.harness.model import Cell, CellResult
    from migmatrix.harness.trials.records import Setting
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Blocker", "Route", "RouteSearch"]

_SINGLES = 8  # properties that are tried alone for a leg that no explanation covers


@dataclass(frozen=True, slots=True)
class Route:
    """Builds in order, each with the overrides it needs; `stored` when the run itself had run exactly this."""

    steps: tuple[Step, ...]
    stored: bool = False

    @property
    def overrides(self) -> tuple[Setting, ...]:
        """All overrides of the route, in order."""
        return tuple(dict.fromkeys(s for step in self.steps[1:] for s in step.settings))

    @property
    def text(self) -> str:
        """``A>B(x.y=z)``."""
        return ">".join(step.text for step in self.steps)

    @property
    def builds(self) -> tuple[str, ...]:
        """Build ids in order."""
        return tuple(step.build for step in self.steps)


@dataclass(frozen=True, slots=True)
class Blocker:
    """A route that did not pass: which, of how many migrations, what came of it, and the failure's own words."""

    route: str
    verdict: str
    signature: str
    message: str
    migrations: int

    @classmethod
    def of(cls, steps: Sequence[Step], result: CellResult) -> Blocker:
        """From a verdict that is not a pass."""
        message = result.cause.message if result.cause else result.reason
        route = Route(tuple(steps))
        return cls(route.text, result.verdict.value, result.signature or "", message, len(steps) - 1)


@dataclass
class RouteSearch:
    """Searches routes for guests of one machine, profile, mode and guest; `start` is the cell as a trial.

    `ran` counts the routes that the run did not have; `blockers` are the ones that did not pass.
    """

    verdicts: Verdicts
    runner: TrialRunner
    cell: Cell
    start: Trial
    blockers: list[Blocker] = field(default_factory=list)
    ran: int = 0
    _overrides: dict[tuple[str | None, str, str], tuple[tuple[Setting, ...], ...]] = field(
        default_factory=dict
    )

    def trial(self, steps: Sequence[Step]) -> Trial:
        """A route as a trial."""
        return replace(self.start, path=tuple(steps))

    def knows_machine(self, build: str) -> bool:
        """Whether a build has this machine type."""
        return self.verdicts.builds[build].facts.knows_machine(self.cell.machine)

    async def starts(self, build: str) -> bool:
        """Whether a build can start such a guest: it knows the machine and all devices."""
        if not self.knows_machine(build):
            return False
        result, _ = await self.verdict((Step(build), Step(build)))
        return result.verdict is not Verdict.UNSUPPORTED

    async def verdict(self, steps: Sequence[Step]) -> tuple[CellResult, bool]:
        """What comes of a route, and whether the run had it (rule 1)."""
        stored = self.verdicts.verdict(setup_of(self.cell), steps)
        if stored is not None:
            return stored, True
        self.ran += 1
        return (await self.runner.one("advise", self.trial(steps))).result, False

    async def extend(self, route: Route, build: str) -> Route | None:
        """The route with one more build, with an override if it needs one; None when nothing makes it pass."""
        if not self.knows_machine(build):
            self._block_unknown(route, build)
            return None
        carried = route.overrides
        first, result = await self._try(route, Step(build, carried))
        if first is None and carried and result.verdict is Verdict.UNSUPPORTED:
            first, result = await self._try(route, Step(build))  # rule 2
            carried = ()
        if first is not None or result.verdict is not Verdict.FAIL:
            return first
        step = Step(build, carried)
        told = await self._overridden(route, step, self.verdicts.overrides(result.signature))
        return told or await self._overridden(route, step, await self._search(route, step, result))

    async def _overridden(
        self, route: Route, step: Step, overrides: Iterable[tuple[Setting, ...]]
    ) -> Route | None:
        """The route with the first of these overrides that makes the step take the guest."""
        for more in overrides:
            if not set(more) <= set(step.settings):
                found, _ = await self._try(route, Step(step.build, _merged(step.settings, more)))
                if found is not None:
                    return found
        return None

    async def _try(self, route: Route, step: Step) -> tuple[Route | None, CellResult]:
        steps = (*route.steps, step)
        result, stored = await self.verdict(steps)
        if result.verdict is Verdict.PASS:
            return Route(steps, stored), result
        self._block(Blocker.of(steps, result))
        return None, result

    def _block(self, blocker: Blocker) -> None:
        if blocker not in self.blockers:
            self.blockers.append(blocker)

    def _block_unknown(self, route: Route, build: str) -> None:
        longer = Route((*route.steps, Step(build)))
        message = f"{build} does not know {self.cell.machine}"
        self._block(Blocker(longer.text, Verdict.UNSUPPORTED.value, "", message, len(route.steps)))

    async def _search(self, route: Route, step: Step, result: CellResult) -> tuple[tuple[Setting, ...], ...]:
        """Overrides that may make `step` take the guest (rule 3), searched once per signature, source and build."""
        key = result.signature, route.steps[-1].text, step.text
        if key not in self._overrides:
            self._overrides[key] = await self._searched(route, step)
        return self._overrides[key]

    async def _searched(self, route: Route, step: Step) -> tuple[tuple[Setting, ...], ...]:
        trial = self.trial((*route.steps, step))
        attempt = await self.runner.one("advise", trial)
        if attempt.result.cause is None or attempt.result.stage is not Stage.LOAD:
            return ()
        source = await self.runner.view(trial.path[-2], trial.machine, trial.arguments)
        destination = await self.runner.view(step, trial.machine, trial.arguments)
        where = await sent_and_own(self.runner, attempt, step)
        found = candidates(source, destination, attempt.result.cause, where, trial.machine)
        mine = [c for c in found if c.side is Side.DESTINATION]
        remedies = await find_remedies(self.runner, trial, mine, _SINGLES)
        return tuple(remedy.settings for remedy in remedies)

    async def shortest(self, start: Step, goal: str, longest: int) -> Route | None:
        """A route of as few legs as possible, at most `longest`; of those the one with fewest overrides."""
        level = [Route((start,), stored=True)]
        for _ in range(longest):
            done = [found for route in level if (found := await self.extend(route, goal)) is not None]
            if done:
                return min(done, key=lambda route: len(route.overrides))
            level = [r async for r in self._further(level, goal)]
        return None

    async def _further(self, level: Sequence[Route], goal: str) -> AsyncIterator[Route]:
        for route in level:
            for build in self._next(route, goal):
                found = await self.extend(route, build)
                if found is not None:
                    yield found

    def _next(self, route: Route, goal: str) -> Iterator[str]:
        """Builds that the route has not been to and that have the machine."""
        been = {self.verdicts.canonical(step).build for step in route.steps} | {*route.builds, goal}
        return (b for b in self.verdicts.base_builds if b not in been and self.knows_machine(b))

    async def through(self, start: Step, builds: Sequence[str]) -> Route | None:
        """The route along these builds, one after another."""
        route: Route | None = Route((start,), stored=True)
        for build in builds:
            route = await self.extend(route, build) if route is not None else None
        return route


def _merged(carried: Sequence[Setting], more: Sequence[Setting]) -> tuple[Setting, ...]:
    """Overrides with newer ones instead of older ones for the same property."""
    merged = {(s.type, s.name): s for s in (*carried, *more)}
    return tuple(sorted(merged.values()))

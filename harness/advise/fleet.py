# SPDX-License-Identifier: Apache-2.0
"""`migmatrix advise fleet`: in which order to upgrade, whether a guest can go back, which guests are stranded.

1. The upgrade order begins at the oldest build and ends at the goal. A build is in it if every guest that follows the
   order so far reaches it without an override, and every guest that is started there reaches the goal without one. A
   release whose guests need overrides is left out, with the reason. Each prefix of the order is run as a chain. Kinds
   of guests that nothing takes from the oldest build to the goal do not count here; they are told as stranded.
2. Rollback over one upgrade: the guest that followed the order goes back one build (its whole chain is run), and a
   guest that was started on the later build goes down.
3. A cohort is all guests of one kind that were started on one build of the fleet, in the order or not. It is `free`
   when it reaches the goal without overrides, `marked` when it needs some, `stranded` when nothing that was tried takes
   it; `elsewhere` then names the other builds that take it as it is.
4. A machine type dies where the next build of the order does not know it; it is dying where a build calls it deprecated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.advise.path import UNTIL, PathAdvice, advise_path, proved
from migmatrix.harness.advise.published import published
from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.records import Step

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from migmatrix.harness.advise.advisor import Advisor
    from migmatrix.harness.advise.fleet_file import Fleet
    from migmatrix.harness.advise.search import RouteSearch

    Searches = dict[tuple[str, str], RouteSearch]

__all__ = ["Cohort", "Dying", "FleetAdvice", "LeftOut", "Upgrade", "advise_fleet"]

# Published words for a cohort's state, and what people read for two of them.
FREE, NEEDS_OVERRIDES, STRANDED = "free", "marked", "stranded"
_SAID = {NEEDS_OVERRIDES: "needs overrides", STRANDED: "stranded"}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A build that is not in the order: the first guest that cannot come or go on, where to, and what happens."""

    build: str
    guest: str
    route: str
    why: str


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One upgrade, from a build to the next; the guests that cannot go back, by kind, with what happens.

    `came_up` are guests that followed the order from the oldest build, `started` those started on the upper build.
    """

    lower: str
    upper: str
    came_up: tuple[tuple[str, str], ...]
    started: tuple[tuple[str, str], ...]

    @property
    def rollback(self) -> bool:
        """Whether every guest can go back."""
        return not (self.came_up or self.started)


@dataclass(frozen=True, slots=True)
class Dying:
    """A machine type that a build of the order does not know (`dead`) or calls deprecated."""

    machine: str
    build: str
    dead: bool


@dataclass(frozen=True, slots=True)
class Cohort:
    """Guests of one kind that were started on one build, and their way to the goal."""

    started_on: str
    state: str
    path: PathAdvice
    elsewhere: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetAdvice:
    """The whole answer; `unsupported` counts cohorts that cannot even be started."""

    order: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    upgrades: tuple[Upgrade, ...]
    dying: tuple[Dying, ...]
    cohorts: tuple[Cohort, ...]
    unsupported: int
    ran: int

    @property
    def safe(self) -> bool:
        """Whether nobody is stranded."""
        return all(cohort.state != STRANDED for cohort in self.cohorts)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"safe": self.safe, **published(self)}

    def render(self) -> Iterator[str]:
        """For people."""
        yield f"upgrade order: {' > '.join(self.order)}"
        for left in self.left_out:
            yield f"  leave out {left.build}: {left.guest}: {left.route}: {left.why}"
        for step in self.upgrades:
            yield f"{step.lower} > {step.upper}: rollback {'possible' if step.rollback else 'NOT for all guests'}"
            yield from (f"  came up, cannot go back: {kind}: {why}" for kind, why in step.came_up)
            yield from (f"  started there, cannot go down: {kind}: {why}" for kind, why in step.started)
        for dying in self.dying:
            word = "is unknown to" if dying.dead else "is deprecated in"
            yield f"machine type {dying.machine} {word} {dying.build}"
        yield from _cohorts(self.cohorts)
        if self.unsupported:
            yield f"{self.unsupported} cohorts cannot be started at all (the build lacks the machine or a device)"


def _cohorts(cohorts: Sequence[Cohort]) -> Iterator[str]:
    free = sum(c.state == FREE for c in cohorts)
    yield f"cohorts: {free} of {len(cohorts)} reach the goal without overrides"
    for cohort in cohorts:
        if cohort.state != FREE:
            yield f"{_SAID[cohort.state]}: started on {cohort.started_on}"
            yield from (f"  {line}" for line in cohort.path.render())
        if cohort.state == STRANDED:
            others = f", or goes to {', '.join(cohort.elsewhere)}" if cohort.elsewhere else ""
            yield f"  rescue: it stays on {cohort.started_on}{others} {UNTIL}"


async def advise_fleet(advisor: Advisor, fleet: Fleet, longest: int = 3) -> FleetAdvice:
    """Work out the upgrade order, the ways back and the cohorts; run what the run does not know."""
    searches = {kind: advisor.routes(*kind) for kind in fleet.kinds}
    climbing = await _climbing(searches, fleet, longest) or searches
    order, left_out = await _order(climbing, fleet)
    upgrades = [await _upgrade(climbing, order, at) for at in range(1, len(order))]
    cohorts = [c async for c in _each_cohort(advisor, searches, fleet, order, longest)]
    possible = [c for c in cohorts if c is not None]
    return FleetAdvice(
        order=tuple(order),
        left_out=tuple(left_out),
        upgrades=tuple(upgrades),
        dying=tuple(_dying(advisor, fleet, order)),
        cohorts=tuple(possible),
        unsupported=len(cohorts) - len(possible),
        ran=sum(search.ran for search in searches.values()),
    )


async def _climbing(searches: Searches, fleet: Fleet, longest: int) -> Searches:
    """The kinds of guests that something takes from the oldest build that starts them to the goal."""
    found: Searches = {}
    for kind, search in searches.items():
        oldest = next(iter(await _climb(search, fleet.builds)), fleet.goal)
        if (
            oldest == fleet.goal
            or (await advise_path(search, None, oldest, fleet.goal, longest=longest)).found
        ):
            found[kind] = search
    return found


async def _order(searches: Searches, fleet: Fleet) -> tuple[list[str], list[LeftOut]]:
    """Rule 1; builds newer than the goal are not in the order."""
    order, left_out = [fleet.builds[0]], []
    for build in fleet.builds[1 : fleet.builds.index(fleet.goal) + 1]:
        blocked = await _refused(searches, [*order, build], fleet.goal)
        if blocked is None:
            order.append(build)
        else:
            left_out.append(LeftOut(build, *blocked))
    return order, left_out


async def _refused(searches: Searches, builds: Sequence[str], goal: str) -> tuple[str, str, str] | None:
    """The first guest that cannot climb to the last of `builds`, or go on from there: kind, route, reason."""
    last = builds[-1]
    for kind, search in searches.items():
        climb = await _climb(search, builds)
        onward = await _climb(search, [last, goal]) if last != goal else []
        for route in (climb, onward):
            why = await _fails(search, route) if len(route) > 1 and last in route else None
            if why is not None:
                return "/".join(kind), ">".join(route), why
    return None


async def _climb(search: RouteSearch, builds: Sequence[str]) -> list[str]:
    """The builds that can start such a guest, in the order given."""
    return [build for build in builds if await search.starts(build)]


async def _fails(search: RouteSearch, builds: Sequence[str]) -> str | None:
    """Why a chain without overrides fails or is blocked; None when it passes or cannot be started."""
    result, _ = await search.verdict([Step(build) for build in builds])
    if result.verdict in (Verdict.PASS, Verdict.UNSUPPORTED):
        return None
    return result.signature or result.reason or result.verdict.value


async def _upgrade(searches: Searches, order: Sequence[str], at: int) -> Upgrade:
    """Rule 2."""
    lower, upper = order[at - 1], order[at]
    came_up, started = [], []
    for kind, search in searches.items():
        if not (await search.starts(lower) and await search.starts(upper)):
            continue
        back = await _fails(search, [*await _climb(search, order[: at + 1]), lower])
        down = await _fails(search, [upper, lower])
        came_up += [("/".join(kind), back)] if back else []
        started += [("/".join(kind), down)] if down else []
    return Upgrade(lower, upper, tuple(came_up), tuple(started))


def _dying(advisor: Advisor, fleet: Fleet, order: Sequence[str]) -> Iterator[Dying]:
    """Rule 4: where a machine type ends, or is said to end, first."""
    for machine in dict.fromkeys(machine for machine, _ in fleet.kinds):
        known = False
        for build in order:
            facts = advisor.verdicts.builds[build].facts
            row = next((m for m in facts.machines if machine in (m.name, m.alias)), None)
            if (row is None and known) or (row is not None and row.deprecated):
                yield Dying(machine, build, dead=row is None)
                break
            known = known or row is not None


async def _each_cohort(
    advisor: Advisor, searches: Searches, fleet: Fleet, order: Sequence[str], longest: int
) -> AsyncIterator[Cohort | None]:
    """Every cohort of the fleet in order; None for one that cannot be started."""
    for at, started_on in enumerate(fleet.builds):
        above = [build for build in fleet.builds[at + 1 :] if build in order and build != fleet.goal]
        for search in searches.values():
            if started_on != fleet.goal:
                yield await _cohort(advisor, search, started_on, fleet, above, longest)


async def _cohort(
    advisor: Advisor, search: RouteSearch, started_on: str, fleet: Fleet, order: Sequence[str], longest: int
) -> Cohort | None:
    """The upgrade order first; any other way to the goal if that leads nowhere."""
    if not await search.starts(started_on):
        return None
    search.blockers.clear()
    advice = await advise_path(search, None, started_on, fleet.goal, via=await _climb(search, order))
    if not advice.found:
        advice = await advise_path(search, None, started_on, fleet.goal, longest=longest)
    if not advice.found:
        return Cohort(started_on, STRANDED, advice, await _elsewhere(search, started_on, fleet))
    if advice.overrides:
        return Cohort(started_on, NEEDS_OVERRIDES, await proved(advice, search, advisor.prove))
    return Cohort(started_on, FREE, advice)


async def _elsewhere(search: RouteSearch, started_on: str, fleet: Fleet) -> tuple[str, ...]:
    """Other builds of the fleet, the goal aside, that take a guest as it is."""
    others = await _climb(search, [b for b in fleet.builds if b not in (started_on, fleet.goal)])
    return tuple([build for build in others if await _fails(search, [started_on, build]) is None])

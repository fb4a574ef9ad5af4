"""`migmatrix advise fleet`: in which order to upgrade, whether one can go back, who is stranded and how to save them.

1. The ladder starts at the oldest build and climbs to the goal. A build is a rung when every guest that climbed so
   far is taken there without a mark, and every guest that is started there is taken at the goal without one: a
   release that marks its guests is no place to stay. What is left out is told with what blocks. Each climb is run
   as a chain. Kinds of guests that nothing takes from the oldest build to the goal hold nobody else up: they are
   told as stranded and do not count here, unless there is no other kind.
2. Rollback at a rung: the guest that came up goes back one rung (its whole chain is run), and a guest that was
   started on the new rung goes down.
3. A cohort is all guests of one kind that were started on one build of the fleet, also on one that is no rung. It is
   `free` when it climbs without marks, `marked` when it needs some, `stranded` when nothing that was tried takes it;
   then the other builds that take it as it is are its refuge.
4. A machine type dies at a leg when the next rung does not know it; it is dying when the rung calls it deprecated.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.advise.path import UNTIL, PathAdvice, advise_path, proved
from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.records import Step, plain

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from migmatrix.harness.advise.advisor import Desk
    from migmatrix.harness.advise.fleet_file import Fleet
    from migmatrix.harness.advise.search import Guide

    Guides = dict[tuple[str, str], Guide]

__all__ = ["Cohort", "Dying", "FleetAdvice", "LeftOut", "Rung", "advise_fleet"]

FREE, MARKED, STRANDED = "free", "marked", "stranded"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A build that is no rung: the first guest that cannot come or cannot go on, where to, and what happens."""

    build: str
    guest: str
    route: str
    why: str


@dataclass(frozen=True, slots=True)
class Rung:
    """One upgrade, from a build to the next. Guests that cannot go back, by kind, with what happens.

    `came_up` are guests that climbed from the oldest build, `started` those that were started on the upper one.
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
    """A machine type that a rung does not know (`dead`) or calls deprecated."""

    machine: str
    build: str
    dead: bool


@dataclass(frozen=True, slots=True)
class Cohort:
    """Guests of one kind that were started on one build, and their way to the goal."""

    born_on: str
    state: str
    path: PathAdvice
    refuge: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FleetAdvice:
    """The whole answer; `unsupported` counts cohorts that cannot even be started."""

    order: tuple[str, ...]
    left_out: tuple[LeftOut, ...]
    rungs: tuple[Rung, ...]
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
        return {"safe": self.safe, **plain(asdict(self))}

    def render(self) -> Iterator[str]:
        """For people."""
        yield f"upgrade order: {' > '.join(self.order)}"
        for left in self.left_out:
            yield f"  leave out {left.build}: {left.guest}: {left.route}: {left.why}"
        for rung in self.rungs:
            yield f"{rung.lower} > {rung.upper}: rollback {'possible' if rung.rollback else 'NOT for all guests'}"
            yield from (f"  came up, cannot go back: {kind}: {why}" for kind, why in rung.came_up)
            yield from (f"  started there, cannot go down: {kind}: {why}" for kind, why in rung.started)
        for dying in self.dying:
            word = "is unknown to" if dying.dead else "is deprecated in"
            yield f"machine type {dying.machine} {word} {dying.build}"
        yield from _cohorts(self.cohorts)
        if self.unsupported:
            yield f"{self.unsupported} cohorts cannot be started at all (the build lacks the machine or a device)"


def _cohorts(cohorts: Sequence[Cohort]) -> Iterator[str]:
    free = sum(c.state == FREE for c in cohorts)
    yield f"cohorts: {free} of {len(cohorts)} reach the goal without marks"
    for cohort in cohorts:
        if cohort.state != FREE:
            yield f"{cohort.state}: started on {cohort.born_on}"
            yield from (f"  {line}" for line in cohort.path.render())
        if cohort.state == STRANDED:
            elsewhere = f", or goes to {', '.join(cohort.refuge)}" if cohort.refuge else ""
            yield f"  rescue: it stays on {cohort.born_on}{elsewhere} {UNTIL}"


async def advise_fleet(desk: Desk, fleet: Fleet, longest: int = 3) -> FleetAdvice:
    """Work out the ladder, the ways back and the cohorts; what the run does not know is run."""
    guides = {kind: desk.guide(*kind) for kind in fleet.kinds}
    climbing = await _climbing(guides, fleet, longest) or guides
    order, left_out = await _ladder(climbing, fleet)
    rungs = [await _rung(climbing, order, at) for at in range(1, len(order))]
    cohorts = [c async for c in _each_cohort(desk, guides, fleet, order, longest)]
    possible = [c for c in cohorts if c is not None]
    return FleetAdvice(
        order=tuple(order),
        left_out=tuple(left_out),
        rungs=tuple(rungs),
        dying=tuple(_dying(desk, fleet, order)),
        cohorts=tuple(possible),
        unsupported=len(cohorts) - len(possible),
        ran=sum(guide.ran for guide in guides.values()),
    )


async def _climbing(guides: Guides, fleet: Fleet, longest: int) -> Guides:
    """The kinds of guests that something takes from the oldest build that starts them to the goal."""
    found: Guides = {}
    for kind, guide in guides.items():
        oldest = next(iter(await _climb(guide, fleet.builds)), fleet.goal)
        if (
            oldest == fleet.goal
            or (await advise_path(guide, None, oldest, fleet.goal, longest=longest)).found
        ):
            found[kind] = guide
    return found


async def _ladder(guides: Guides, fleet: Fleet) -> tuple[list[str], list[LeftOut]]:
    """Rule 1; builds newer than the goal are no rungs."""
    order, left_out = [fleet.builds[0]], []
    for build in fleet.builds[1 : fleet.builds.index(fleet.goal) + 1]:
        blocked = await _refused(guides, [*order, build], fleet.goal)
        if blocked is None:
            order.append(build)
        else:
            left_out.append(LeftOut(build, *blocked))
    return order, left_out


async def _refused(guides: Guides, builds: Sequence[str], goal: str) -> tuple[str, str, str] | None:
    """The first guest that cannot climb to the last of `builds`, or go on from there: kind, route, reason."""
    rung = builds[-1]
    for kind, guide in guides.items():
        climb = await _climb(guide, builds)
        onward = await _climb(guide, [rung, goal]) if rung != goal else []
        for route in (climb, onward):
            why = await _fails(guide, route) if len(route) > 1 and rung in route else None
            if why is not None:
                return "/".join(kind), ">".join(route), why
    return None


async def _climb(guide: Guide, builds: Sequence[str]) -> list[str]:
    """The part of a climb on builds that can start such a guest."""
    return [build for build in builds if await guide.starts(build)]


async def _fails(guide: Guide, builds: Sequence[str]) -> str | None:
    """Why a chain without marks fails or is blocked; None when it passes or cannot be started."""
    result, _ = await guide.verdict([Step(build) for build in builds])
    if result.verdict in (Verdict.PASS, Verdict.UNSUPPORTED):
        return None
    return result.signature or result.reason or result.verdict.value


async def _rung(guides: Guides, order: Sequence[str], at: int) -> Rung:
    """Rule 2."""
    lower, upper = order[at - 1], order[at]
    came_up, started = [], []
    for kind, guide in guides.items():
        if not (await guide.starts(lower) and await guide.starts(upper)):
            continue
        back = await _fails(guide, [*await _climb(guide, order[: at + 1]), lower])
        down = await _fails(guide, [upper, lower])
        came_up += [("/".join(kind), back)] if back else []
        started += [("/".join(kind), down)] if down else []
    return Rung(lower, upper, tuple(came_up), tuple(started))


def _dying(desk: Desk, fleet: Fleet, order: Sequence[str]) -> Iterator[Dying]:
    """Rule 4: where a machine type ends, or is said to end, first."""
    for machine in dict.fromkeys(machine for machine, _ in fleet.kinds):
        known = False
        for build in order:
            facts = desk.known.builds[build].facts
            row = next((m for m in facts.machines if machine in (m.name, m.alias)), None)
            if (row is None and known) or (row is not None and row.deprecated):
                yield Dying(machine, build, dead=row is None)
                break
            known = known or row is not None


async def _each_cohort(
    desk: Desk, guides: Guides, fleet: Fleet, order: Sequence[str], longest: int
) -> AsyncIterator[Cohort | None]:
    """Every cohort of the fleet in order; None for one that cannot be started."""
    for at, born_on in enumerate(fleet.builds):
        above = [build for build in fleet.builds[at + 1 :] if build in order and build != fleet.goal]
        for guide in guides.values():
            if born_on != fleet.goal:
                yield await _cohort(desk, guide, born_on, fleet, above, longest)


async def _cohort(
    desk: Desk, guide: Guide, born_on: str, fleet: Fleet, rungs: Sequence[str], longest: int
) -> Cohort | None:
    """The ladder first, as the fleet climbs it; any other way to the goal if that leads nowhere."""
    if not await guide.starts(born_on):
        return None
    guide.blockers.clear()
    advice = await advise_path(guide, None, born_on, fleet.goal, via=await _climb(guide, rungs))
    if not advice.found:
        advice = await advise_path(guide, None, born_on, fleet.goal, longest=longest)
    if not advice.found:
        return Cohort(born_on, STRANDED, advice, await _refuge(guide, born_on, fleet))
    if advice.marks:
        return Cohort(born_on, MARKED, await proved(advice, guide, desk.prove))
    return Cohort(born_on, FREE, advice)


async def _refuge(guide: Guide, born_on: str, fleet: Fleet) -> tuple[str, ...]:
    """Other builds of the fleet, the goal aside, that take a guest as it is."""
    others = await _climb(guide, [b for b in fleet.builds if b not in (born_on, fleet.goal)])
    return tuple([build for build in others if await _fails(guide, [born_on, build]) is None])

"""`migmatrix advise path`: the shortest way for one guest, with its marks, proved by running exactly that chain now.

A mark belongs to the guest, not to the leg: every step after the one that needed it keeps it until the guest is
powered off. That a step really needs it is shown by running the same route without it at that step.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.records import Step, plain, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from migmatrix.harness.advise.search import Blocker, Guide, Route
    from migmatrix.harness.trials.records import Setting
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["UNTIL", "Mark", "PathAdvice", "advise_path", "proved"]

UNTIL = "until the guest is powered off and started anew; a reset inside the guest is not enough"


@dataclass(frozen=True, slots=True)
class Mark:
    """A setting that one step of a route needs; `without` is what came of the route without it there."""

    build: str
    settings: tuple[Setting, ...]
    without: str
    signature: str

    @property
    def needed(self) -> bool:
        """Whether leaving it out was seen to fail."""
        return self.without != Verdict.PASS.value


@dataclass(frozen=True, slots=True)
class PathAdvice:
    """The answer for one guest. `route` is empty when there is no path; `proof` is what the proving run gave."""

    machine: str
    profile: str
    born_on: str
    goal: str
    route: tuple[Step, ...]
    marks: tuple[Mark, ...]
    proof: str
    stored: bool
    proved_now: bool
    blockers: tuple[Blocker, ...]
    ran: int

    @property
    def found(self) -> bool:
        """Whether there is a path and its proof passed."""
        return bool(self.route) and self.proof == Verdict.PASS.value

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"found": self.found, "until": UNTIL if self.marks else "", **plain(asdict(self))}

    def render(self) -> Iterator[str]:
        """For people."""
        yield f"{self.machine}/{self.profile}: a guest started on {self.born_on}, to {self.goal}"
        if not self.route:
            yield "  no path; what blocks:"
            yield from (f"    {line}" for line in _blocked(self.blockers))
            return
        yield f"  {' > '.join(step.build for step in self.route)}"
        for step in self.route[1:]:
            if step.settings:
                yield f"  start {step.build} with {texts(step.settings)}"
        yield f"  proof: {self._proof()}"
        for mark in self.marks:
            yield f"  without the mark at {mark.build}: {mark.without} {mark.signature}".rstrip()
        if self.marks:
            yield f"  the marks stay {UNTIL}"

    def _proof(self) -> str:
        """Where the verdict of the whole chain comes from."""
        if self.proved_now:
            return f"this chain was run now: {self.proof}{' (the run had it too)' if self.stored else ''}"
        return f"{self.proof}, {'in the run' if self.stored else 'run while looking'}"


def _blocked(blockers: Sequence[Blocker]) -> Iterator[str]:
    """One line per reason, with the shortest route that shows it."""
    reasons: dict[str, list[Blocker]] = {}
    for blocker in blockers:
        what = (blocker.signature or blocker.message).removeprefix(f"{blocker.verdict} ")
        reasons.setdefault(f"{blocker.verdict} {what}", []).append(blocker)
    for reason, some in reasons.items():
        shortest = min((b.route for b in some), key=lambda route: route.count(">"))
        more = f" ({len(some) - 1} more routes alike)" if len(some) > 1 else ""
        yield f"{shortest}: {reason}{more}"


async def advise_path(
    guide: Guide,
    prove: TrialRunner | None,
    born_on: str,
    goal: str,
    *,
    via: Sequence[str] = (),
    longest: int = 3,
) -> PathAdvice:
    """Look for the path, or take the way `via` gives; `prove` is a runner that has nothing stored.

    Without one the verdict is that of the run, or of the same chain run while looking.
    """
    start = Step(born_on)
    if via:
        route = await guide.through(start, (*via, goal))
    else:
        route = await guide.shortest(start, goal, longest)
    advice = PathAdvice(
        machine=guide.cell.machine,
        profile=guide.cell.profile,
        born_on=born_on,
        goal=goal,
        route=route.steps if route else (),
        marks=tuple([m async for m in _marks(guide, route)]) if route else (),
        proof=Verdict.PASS.value if route else "",
        stored=route is not None and route.stored,
        proved_now=False,
        blockers=() if route else tuple(guide.blockers),
        ran=guide.ran,
    )
    return await proved(advice, guide, prove) if prove is not None else advice


async def proved(advice: PathAdvice, guide: Guide, prove: TrialRunner) -> PathAdvice:
    """The advice with its route run anew as exactly that chain."""
    if not advice.route:
        return advice
    attempt = await prove.one("proof", guide.trial(advice.route))
    return replace(advice, proof=attempt.result.verdict.value, proved_now=True)


async def _marks(guide: Guide, route: Route) -> AsyncIterator[Mark]:
    """Each marked step, with what comes of the route up to there without its mark."""
    for at, step in enumerate(route.steps):
        if at and step.settings:
            result, _ = await guide.verdict((*route.steps[:at], Step(step.build)))
            yield Mark(step.build, step.settings, result.verdict.value, result.signature or "")

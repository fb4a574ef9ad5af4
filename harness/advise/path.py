# SPDX-License-Identifier: Apache-2.0
"""`migmatrix advise path`: the shortest way for one guest, with its overrides, proved by running exactly that chain now.

An override belongs to the guest, not to the leg: every step after the one that needed it keeps it until the guest is
powered off. To show that a step needs it, the same route is run without it at that step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.advise.published import published
from migmatrix.harness.model import Verdict
from migmatrix.harness.trials.records import Step, texts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from migmatrix.harness.advise.search import Blocker, Route, RouteSearch
    from migmatrix.harness.trials.records import Setting
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["UNTIL", "Override", "PathAdvice", "advise_path", "proved"]

UNTIL = "until the guest is powered off and started anew; a reset inside the guest is not enough"


@dataclass(frozen=True, slots=True)
class Override:
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
    started_on: str
    goal: str
    route: tuple[Step, ...]
    overrides: tuple[Override, ...]
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
        return {"found": self.found, "until": UNTIL if self.overrides else "", **published(self)}

    def render(self) -> Iterator[str]:
        """For people."""
        yield f"{self.machine}/{self.profile}: a guest started on {self.started_on}, to {self.goal}"
        if not self.route:
            yield "  no path; what blocks:"
            yield from (f"    {line}" for line in _blocked(self.blockers))
            return
        yield f"  {' > '.join(step.build for step in self.route)}"
        for step in self.route[1:]:
            if step.settings:
                yield f"  start {step.build} with {texts(step.settings)}"
        yield f"  proof: {self._proof()}"
        for override in self.overrides:
            yield f"  without the override on {override.build}: {override.without} {override.signature}".rstrip()
        if self.overrides:
            yield f"  the overrides stay {UNTIL}"

    def _proof(self) -> str:
        """Where the verdict of the whole chain comes from."""
        if self.proved_now:
            return f"this chain was run now: {self.proof}{' (the run had it too)' if self.stored else ''}"
        return f"{self.proof}, {'in the run' if self.stored else 'run while looking'}"


def _blocked(blockers: Sequence[Blocker]) -> Iterator[str]:
    """One line per reason, with the shortest route that shows it."""
    reasons: dict[tuple[str, str], list[Blocker]] = {}
    for blocker in blockers:
        reasons.setdefault((blocker.verdict, blocker.signature or blocker.message), []).append(blocker)
    for (verdict, what), some in reasons.items():
        shortest = min(some, key=lambda blocker: blocker.migrations)
        more = f" ({len(some) - 1} more routes alike)" if len(some) > 1 else ""
        # A crash's or a hang's signature begins with a word that the verdict says already.
        yield f"{shortest.route}: {verdict} {what.removeprefix(f'{verdict} ')}{more}"


async def advise_path(
    search: RouteSearch,
    prove: TrialRunner | None,
    started_on: str,
    goal: str,
    *,
    via: Sequence[str] = (),
    longest: int = 3,
) -> PathAdvice:
    """Look for the path, or take the way `via` gives; `prove` is a runner that has nothing stored.

    Without one the verdict is that of the run, or of the same chain run while looking.
    """
    start = Step(started_on)
    if via:
        route = await search.through(start, (*via, goal))
    else:
        route = await search.shortest(start, goal, longest)
    advice = PathAdvice(
        machine=search.cell.machine,
        profile=search.cell.profile,
        started_on=started_on,
        goal=goal,
        route=route.steps if route else (),
        overrides=tuple([m async for m in _overrides(search, route)]) if route else (),
        proof=Verdict.PASS.value if route else "",
        stored=route is not None and route.stored,
        proved_now=False,
        blockers=() if route else tuple(search.blockers),
        ran=search.ran,
    )
    return await proved(advice, search, prove) if prove is not None else advice


async def proved(advice: PathAdvice, search: RouteSearch, prove: TrialRunner) -> PathAdvice:
    """The advice with its route run anew as exactly that chain."""
    if not advice.route:
        return advice
    attempt = await prove.one("proof", search.trial(advice.route))
    return replace(advice, proof=attempt.result.verdict.value, proved_now=True)


async def _overrides(search: RouteSearch, route: Route) -> AsyncIterator[Override]:
    """Each step with an override, with what comes of the route up to there without its override."""
    for at, step in enumerate(route.steps):
        if at and step.settings:
            result, _ = await search.verdict((*route.steps[:at], Step(step.build)))
            yield Override(step.build, step.settings, result.verdict.value, result.signature or "")

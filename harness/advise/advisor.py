# SPDX-License-Identifier: Apache-2.0
"""From a stored run to what `advise` needs: the run's verdicts, two trial runners, a route search per kind of guest.

The runner that looks may use the leg store, so that asking twice costs little. The runner that proves starts with an
empty store and runs all of a route.
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.advise.search import RouteSearch
from migmatrix.harness.advise.verdicts import Verdicts
from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.explain.explain_run import load_all
from migmatrix.harness.model import Cell
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.trials.records import trial_of
from migmatrix.harness.trials.runner import open_trials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from migmatrix.harness.store import RunStore
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Advisor", "open_advisor"]


@dataclass(frozen=True)
class Advisor:
    """A run's verdicts and definition, and the two runners: `look` with the leg store, `prove` without."""

    verdicts: Verdicts
    origin: Origin
    look: TrialRunner
    prove: TrialRunner

    def routes(self, machine: str, profile: str, mode: str = "", guest: str = "") -> RouteSearch:
        """The route search for one kind of guest; UserError for names that the run does not have."""
        cell = Cell(
            machine,
            chosen("profile", profile, self.origin.profiles),
            (),
            chosen("mode", mode or next(iter(self.origin.modes)), self.origin.modes),
            chosen("guest", guest or next(iter(self.origin.guests)), self.origin.guests),
        )
        return RouteSearch(self.verdicts, self.look, cell, trial_of(self.origin, cell))

    def build(self, name: str) -> str:
        """A build id of the run; UserError for another."""
        return chosen("build", name, self.origin.builds)


def chosen(what: str, name: str, known: Iterable[str]) -> str:
    """`name`, if it is known; UserError with a suggestion otherwise."""
    if name not in known:
        raise UserError(f"the run has no {what} {name!r}: {did_you_mean(name, list(known))}")
    return name


@asynccontextmanager
async def open_advisor(
    run: RunStore, file: Path | None, store: Path, jobs: int, log: Callable[[str], None]
) -> AsyncIterator[Advisor]:
    """Everything that advice from a run needs, closed again afterwards."""
    origin = Origin.of_run(run, file, store / "builds", log)
    verdicts = Verdicts(origin.builds, tuple(run.results()), tuple(load_all(run.directory)))
    async with AsyncExitStack() as stack:
        look = await stack.enter_async_context(open_trials(origin, store, jobs, log))
        prove = await stack.enter_async_context(open_trials(origin, None, jobs, log))
        yield Advisor(verdicts, origin, look, prove)

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix mutate`, from a plan to its score: survey, cost, knock out, hints.

Finished legs stay in the leg store, so the same call continues after an interrupt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.mutate.knock import knock_out
from migmatrix.harness.mutate.records import Scorecard, with_hints
from migmatrix.harness.mutate.survey import survey
from migmatrix.harness.releases import NO_TABLES, table_line
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.select import glob_match
from migmatrix.harness.trials.records import trial_of
from migmatrix.harness.trials.runner import open_trials

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from migmatrix.harness.compat.effective import Row
    from migmatrix.harness.mutate.records import Mutant
    from migmatrix.harness.mutate.survey import Knockout
    from migmatrix.harness.run.pipeline import Prepared
    from migmatrix.harness.trials.records import Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["MutateOptions", "mutate"]

# A first guess before anything is run: two saves and two loads to screen, then four legs per pair of builds.
_SCREEN, _PER_BUILD = 3, 3


@dataclass(frozen=True, slots=True)
class MutateOptions:
    """What the command line says. `entries` are globs of ``device.property``; `limit` 0 means all.

    `tables` is the directory of compat tables for builds before 9.1 (see `compat.tables.read`).
    """

    store: Path
    tables: Path | None = None
    jobs: int = 2
    entries: tuple[str, ...] = ("*",)
    limit: int = 0
    profiles: int = 4
    dry: bool = False


async def mutate(
    prepared: Prepared, options: MutateOptions, log: Callable[[str], None], tell: Callable[[Mutant], None]
) -> Scorecard:
    """Knock out every selected entry; the cost is logged before anything is run."""
    origin = _narrowed(Origin.of_matrix(prepared.matrix, prepared.builds), prepared)
    starts = _starts(prepared, origin)
    entries = _Entries(options.entries)
    async with open_trials(origin, options.store, options.jobs, _nothing) as runner:
        found = await survey(
            runner,
            {m: tuple(s.items()) for m, s in starts.items()},
            options.tables,
            options.profiles,
            entries.wants,
        )
        entries.refuse_lonely()
        for machine in (m for m in starts if not table_line(m)):
            log(f"{machine}: {NO_TABLES}: no entry of it is knocked out")
        chosen = found.knockouts[: options.limit] if options.limit else found.knockouts
        log(_cost(chosen, len(origin.builds)))
        done = [] if options.dry else [await _one(runner, s, starts, tell) for s in chosen]
        return Scorecard(with_hints([*done, *found.settled]), runner.legs, len(found.knockouts) - len(done))


async def _one(
    runner: TrialRunner,
    knockout: Knockout,
    starts: Mapping[str, Mapping[str, Trial]],
    tell: Callable[[Mutant], None],
) -> Mutant:
    mutant = await knock_out(runner, knockout, starts[knockout.machine])
    tell(mutant)
    return mutant


def _nothing(_: str) -> None:
    """Single trials are not told."""


class _Entries:
    """Which entries are meant by globs of ``device.property``, and what was met on the way."""

    def __init__(self, globs: Sequence[str]) -> None:
        self._globs = globs
        self._met: dict[str, None] = {}

    def wants(self, row: Row) -> bool:
        name = f"{row.device}.{row.name}"
        self._met[name] = None
        return any(glob_match(name, glob) for glob in self._globs)

    def refuse_lonely(self) -> None:
        """UserError for a glob that no entry matched."""
        for glob in self._globs:
            if glob != "*" and not any(glob_match(name, glob) for name in self._met):
                hint = did_you_mean(glob.strip("*?"), self._met)
                raise UserError(f"--entry {glob!r} matches no entry: {hint}")


def _narrowed(origin: Origin, prepared: Prepared) -> Origin:
    """The builds of the plan's cells only: what `--select` leaves out is not run."""
    used = {build for cell in prepared.plan.cells for build in cell.path}
    return replace(origin, builds={id_: b for id_, b in origin.builds.items() if id_ in used})


def _starts(prepared: Prepared, origin: Origin) -> dict[str, dict[str, Trial]]:
    """Machine -> profile -> trial, of the cells of the plan; UserError when there is none."""
    starts: dict[str, dict[str, Trial]] = {}
    for cell in prepared.plan.cells:
        profiles = starts.setdefault(cell.machine, {})
        if cell.profile not in profiles:
            profiles[cell.profile] = trial_of(origin, cell)
    if not starts:
        raise UserError("the plan has no cells: there is nothing to knock out")
    return starts


def _cost(knockouts: Sequence[Knockout], builds: int) -> str:
    """What is about to be done: at least one profile of each entry, at most all chosen ones."""
    each = _SCREEN + _PER_BUILD * (builds - 1)
    most = sum(len(s.profiles) for s in knockouts) * each
    return f"{len(knockouts)} entries to knock out: {_SCREEN * len(knockouts)} to {most} legs"

"""The nearest neighbours of a failing cell: what passes tells as much as what fails.

Other machines, the way back, adjacent builds on either side, each build with itself, and a chain without one of its
builds. Verdicts come from the stored run where it has the cell; otherwise the trial is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import Neighbour
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import version_key
from migmatrix.harness.trials.records import Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.model import Cell, CellResult
    from migmatrix.harness.trials.records import Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["SAVER", "Stored", "contrast"]

SAVER = "save of another build"


@dataclass(frozen=True, slots=True)
class Stored:
    """The results of a run, to look neighbours up."""

    results: Mapping[Cell, CellResult]
    builds: Mapping[str, PreparedBuild]

    @property
    def machines(self) -> tuple[str, ...]:
        """All machines of the run, each once, in its order."""
        return tuple(dict.fromkeys(cell.machine for cell in self.results))

    @property
    def build_ids(self) -> tuple[str, ...]:
        """All builds of the run, each once, in its order."""
        return tuple(dict.fromkeys(build for cell in self.results for build in cell.path))

    def machines_for(self, path: Sequence[str]) -> tuple[str, ...]:
        """Machines of the run that all builds of a path know."""
        return tuple(m for m in self.machines if all(self.builds[b].facts.knows_machine(m) for b in path))

    def alike(self, result: CellResult) -> str:
        """On how many of the run's machines the same profile and path fail alike; empty when it knows of no other."""
        cells = {m: self.results.get(replace(result.cell, machine=m)) for m in self.machines}
        known = {m: r for m, r in cells.items() if r is not None and r.verdict is not Verdict.UNSUPPORTED}
        other = [
            f"{m} ({' '.join(filter(None, (r.verdict.value, r.signature)))})"
            for m, r in known.items()
            if (r.verdict, r.signature) != (result.verdict, result.signature)
        ]
        if len(known) < 2:  # noqa: PLR2004
            return ""
        how_many = f"{len(known) - len(other)} of {len(known)}" if other else f"all {len(known)}"
        return f"the same on {how_many} machines of the run{', not on ' if other else ''}{', '.join(other)}"

    def all_machines_for(self, path: Sequence[str], like: str) -> tuple[str, ...]:
        """Every versioned machine of `like`'s family that all builds of a path know, by the first build's list."""
        family = like.rpartition("-")[0]
        names = (m.name for m in self.builds[path[0]].facts.machines)
        mine = [n for n in names if n.rpartition("-")[0] == family and version_key(n.rpartition("-")[2])]
        return tuple(m for m in mine if all(self.builds[b].facts.knows_machine(m) for b in path))

    def adjacent(self, build: str) -> Iterator[str]:
        """The builds of the run next to `build` in the order of versions."""
        ids = sorted(self.build_ids, key=self._order)
        at = ids.index(build)
        yield from (ids[i] for i in (at - 1, at + 1) if 0 <= i < len(ids))

    def _order(self, build: str) -> tuple[tuple[int, ...], str]:
        return version_key(self.builds[build].facts.version), build


async def contrast(
    runner: TrialRunner, stored: Stored, cell: Cell, trial: Trial, *, saving: bool = False
) -> tuple[Neighbour, ...]:
    """Neighbours of `cell`; `trial` is what reproduces its failure and is run where the run has no result.

    A failure at `saving` is the source's alone: then every build's save is a neighbour.
    """
    builds = tuple(step.build for step in trial.path)
    base = replace(cell, path=builds)
    wanted = dict.fromkeys(_neighbours(stored, base))
    if saving:
        wanted.update(dict.fromkeys(_savers(stored, base)))
    missing = [(how, near) for how, near in wanted if near not in stored.results]
    runnable = [(how, near) for how, near in missing if _known(stored, near)]
    trials = [replace(trial, machine=near.machine, path=_steps(trial, near)) for _, near in runnable]
    attempts = await runner.run("neighbour", trials)
    ran = {near: a.result for (_, near), a in zip(runnable, attempts, strict=True)}
    found = [
        _neighbour(how, near, stored.results.get(near) or ran.get(near), near in ran) for how, near in wanted
    ]
    return tuple(n for n in found if n is not None)


def _neighbour(how: str, cell: Cell, result: CellResult | None, ran: bool) -> Neighbour | None:
    if result is None:
        return None
    return Neighbour(how, cell.id, result.verdict.value, result.signature, stored=not ran)


def _known(stored: Stored, cell: Cell) -> bool:
    return all(stored.builds[build].facts.knows_machine(cell.machine) for build in cell.path)


def _steps(trial: Trial, cell: Cell) -> tuple[Step, ...]:
    settings = {step.build: step.settings for step in trial.path}
    return tuple(Step(build, settings.get(build, ())) for build in cell.path)


def _neighbours(stored: Stored, cell: Cell) -> Iterator[tuple[str, Cell]]:
    source, destination = cell.path[-2], cell.path[-1]
    for machine in _near_machines(stored, cell):
        yield "other machine", replace(cell, machine=machine)
    if source != destination:
        yield "reverse direction", replace(cell, path=(destination, source))
        yield "source to itself", replace(cell, path=(source, source))
        yield "destination to itself", replace(cell, path=(destination, destination))
    for build in stored.adjacent(cell.path[0]):
        if build != destination:
            yield "adjacent source build", replace(cell, path=(build, *cell.path[1:]))
    for build in stored.adjacent(destination):
        if build != source:
            yield "adjacent destination build", replace(cell, path=(*cell.path[:-1], build))
    if len(cell.path) > 2:  # noqa: PLR2004 - a chain
        for at in range(len(cell.path)):
            yield f"without {cell.path[at]}", replace(cell, path=(*cell.path[:at], *cell.path[at + 1 :]))


def _savers(stored: Stored, cell: Cell) -> Iterator[tuple[str, Cell]]:
    for build in stored.build_ids:
        yield SAVER, replace(cell, path=(build, build))


def _near_machines(stored: Stored, cell: Cell) -> Iterator[str]:
    """The nearest other machine, and the nearest with another verdict if the run has one."""
    others = [m for m in stored.machines_for(cell.path) if m != cell.machine]
    others.sort(key=lambda m: _distance(m, cell.machine))
    here = stored.results.get(cell)
    yield from others[:1]
    for machine in others[1:]:
        there = stored.results.get(replace(cell, machine=machine))
        if here is not None and there is not None and there.verdict is not here.verdict:
            yield machine
            return


def _distance(machine: str, other: str) -> tuple[bool, int]:
    """The same family first, then the nearest version."""
    (family, _, version), (wanted, _, near) = machine.rpartition("-"), other.rpartition("-")
    return family != wanted, abs(_ordinal(version) - _ordinal(near))


def _ordinal(version: str) -> int:
    major, minor = (*version_key(version), 0, 0)[:2]
    return major * 100 + minor

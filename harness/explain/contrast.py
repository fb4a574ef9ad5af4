# SPDX-License-Identifier: Apache-2.0
"""The nearest neighbours of a failing cell: a neighbour that passes tells as much as one that fails.

They are other machines, the way back, adjacent builds on either side, each build with itself, and a chain without one
of its builds. The stored run gives the verdict if it has the cell; otherwise the trial is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import Near, Neighbour
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import machine_parts, version_key
from migmatrix.harness.trials.records import Side, Step

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.model import Cell, CellResult
    from migmatrix.harness.trials.records import Trial
    from migmatrix.harness.trials.runner import TrialRunner

__all__ = ["Stored", "contrast"]


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
        family, _ = machine_parts(like)
        names = (m.name for m in self.builds[path[0]].facts.machines)
        mine = [n for n in names if machine_parts(n)[0] == family and machine_parts(n)[1]]
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
    missing = [near.cell for near in wanted if near.cell not in stored.results]
    runnable = [cell for cell in missing if _known(stored, cell)]
    trials = [replace(trial, machine=cell.machine, path=_steps(trial, cell)) for cell in runnable]
    attempts = await runner.run("neighbour", trials)
    ran = {cell: a.result for cell, a in zip(runnable, attempts, strict=True)}
    found = [near.as_seen(stored.results.get(near.cell), ran.get(near.cell)) for near in wanted]
    return tuple(n for n in found if n is not None)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A neighbour before its verdict is known; `without` is the build that a chain lacks."""

    kind: Near
    side: Side | None
    cell: Cell
    without: str = ""

    @property
    def how(self) -> str:
        """For people."""
        match self.kind:
            case Near.OTHER_MACHINE:
                return "other machine"
            case Near.REVERSE:
                return "reverse direction"
            case Near.TO_ITSELF:
                return f"{self.side} to itself"
            case Near.ADJACENT:
                return f"adjacent {self.side} build"
            case Near.WITHOUT_BUILD:
                return f"without {self.without}"
            case Near.SAVE:
                return "save of another build"

    def as_seen(self, stored: CellResult | None, ran: CellResult | None) -> Neighbour | None:
        """With its verdict; None when neither the run nor a trial has one."""
        result = stored or ran
        if result is None:
            return None
        cell = self.cell
        return Neighbour(
            self.kind, self.side, cell.path, self.how, cell.id, result.verdict.value, result.signature,
            stored=stored is not None,
        )  # fmt: skip


def _known(stored: Stored, cell: Cell) -> bool:
    return all(stored.builds[build].facts.knows_machine(cell.machine) for build in cell.path)


def _steps(trial: Trial, cell: Cell) -> tuple[Step, ...]:
    known = {step.build: step for step in trial.path}
    return tuple(known.get(build, Step(build)) for build in cell.path)


def _neighbours(stored: Stored, cell: Cell) -> Iterator[_Wanted]:
    for machine in _near_machines(stored, cell):
        yield _Wanted(Near.OTHER_MACHINE, None, replace(cell, machine=machine))
    yield from _of_pair(cell, cell.path[-2], cell.path[-1])
    yield from _adjacent(stored, cell)
    if len(cell.path) > 2:  # noqa: PLR2004 - a chain
        for at, build in enumerate(cell.path):
            shorter = replace(cell, path=(*cell.path[:at], *cell.path[at + 1 :]))
            yield _Wanted(Near.WITHOUT_BUILD, None, shorter, build)


def _of_pair(cell: Cell, source: str, destination: str) -> Iterator[_Wanted]:
    """What the two builds of the failing migration do otherwise; nothing for a build and itself."""
    if source != destination:
        yield _Wanted(Near.REVERSE, None, replace(cell, path=(destination, source)))
        for side, build in ((Side.SOURCE, source), (Side.DESTINATION, destination)):
            yield _Wanted(Near.TO_ITSELF, side, replace(cell, path=(build, build)))


def _adjacent(stored: Stored, cell: Cell) -> Iterator[_Wanted]:
    """The next builds of the run on either side, the build of the other side left out."""
    first, last = cell.path[0], cell.path[-1]
    for build in stored.adjacent(first):
        if build != last:
            yield _Wanted(Near.ADJACENT, Side.SOURCE, replace(cell, path=(build, *cell.path[1:])))
    for build in stored.adjacent(last):
        if build != cell.path[-2]:
            yield _Wanted(Near.ADJACENT, Side.DESTINATION, replace(cell, path=(*cell.path[:-1], build)))


def _savers(stored: Stored, cell: Cell) -> Iterator[_Wanted]:
    for build in stored.build_ids:
        yield _Wanted(Near.SAVE, None, replace(cell, path=(build, build)))


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
    (family, version), (wanted, near) = machine_parts(machine), machine_parts(other)
    return family != wanted, abs(_ordinal(version) - _ordinal(near))


def _ordinal(version: str) -> int:
    major, minor = (*version_key(version), 0, 0)[:2]
    return major * 100 + minor

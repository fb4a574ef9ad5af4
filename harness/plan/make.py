# SPDX-License-Identifier: Apache-2.0
"""Makes the plan: pure, deterministic, seeded; starts nothing.

1. Cells stand in the order machine, profile, mode, guest, path; machines and profiles as in the matrix.
2. The steps are fixed: what the builds know, then profile globs, then sampling, then selection, then the shard.
   So a sample or a shard is the same whatever else is selected, and shards of a run never overlap.
3. A drawn sample takes the cells of lowest hash of (seed, id): a new machine changes only few of them.
4. Whatever is left out is counted in `dropped` with a reason.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from migmatrix.harness.config.schema import split_path
from migmatrix.harness.errors import UserError, did_you_mean
from migmatrix.harness.model import Cell, Guest, Mode
from migmatrix.harness.plan.axes import applies, candidate_paths, check_known, machines_of, paths_for, suits
from migmatrix.harness.plan.cannot import cannot_guest, cannot_start
from migmatrix.harness.plan.keys import BuildDigests
from migmatrix.harness.plan.legs import Legs
from migmatrix.harness.plan.records import Dropped, Plan
from migmatrix.harness.select import CELL_KEYS, Selection, glob_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.config.matrix import Matrix
    from migmatrix.harness.model import Profile
    from migmatrix.harness.plan.axes import CandidatePath, PathSet
    from migmatrix.harness.plan.records import Leg

__all__ = ["PROBE_GUEST", "PROBE_MODE", "make_plan", "parse_paths", "parse_shard"]

PROBE_MODE = Mode("snapshot")
PROBE_GUEST = Guest("paused", "paused")


def make_plan(
    matrix: Matrix,
    builds: Mapping[str, PreparedBuild],
    *,
    select: Sequence[str] = (),
    shard: tuple[int, int] | None = None,
    seed: int | None = None,
    paths: Sequence[str] = (),
    lacking: Mapping[str, str] = MappingProxyType({}),
) -> Plan:
    """Plan the cells of a matrix and the distinct legs that they need.

    `builds` holds every build of the matrix, prepared. `select` are `--select` terms on cells, `shard` is (i, n)
    with i from 1, `seed` replaces the one of the matrix, `paths` ("A>B>C") replace the paths of the matrix. `lacking` has
    the reason for each mode that the host cannot do.
    UserError for a mistake in any of these or in the matrix; a ConfigError where a position is known.
    """
    check_known(matrix, builds)
    selection = Selection.parse(select, CELL_KEYS)
    if selection.on_results:
        raise UserError(f"{str(selection.on_results[0])!r} needs results: a plan has none")
    seed = _seed(matrix, seed)
    axes = _Axes(matrix, builds, parse_paths(paths, matrix), lacking)
    chosen = axes.drawn(matrix.chains.sample if matrix.chains else None, seed)
    cells = _narrow(axes, chosen, selection, shard)
    return _Legs(matrix, builds).plan(cells, axes.dropped(selection), seed)


def parse_shard(text: str) -> tuple[int, int]:
    """``I/N`` as numbers with 1 <= I <= N; UserError otherwise."""
    first, slash, second = text.partition("/")
    if not (slash and first.isascii() and first.isdigit() and second.isascii() and second.isdigit()):
        raise UserError(f"{text!r} is not a shard: write I/N, such as 1/4")
    return _checked_shard(int(first), int(second))


def _checked_shard(index: int, count: int) -> tuple[int, int]:
    if not 1 <= index <= count:
        raise UserError(f"shard {index}/{count} does not exist: I goes from 1 to N")
    return index, count


def parse_paths(texts: Sequence[str], matrix: Matrix) -> tuple[tuple[str, ...], ...]:
    """``A>B>C`` as build ids; UserError for fewer than two builds and for unknown ones."""
    return tuple(_parse_path(text, matrix) for text in texts)


def _parse_path(text: str, matrix: Matrix) -> tuple[str, ...]:
    try:
        path = split_path(text)
    except ValueError as error:
        raise UserError(str(error)) from error
    for build in path:
        if build not in matrix.builds:
            hint = did_you_mean(build, list(matrix.builds))
            raise UserError(f"unknown build {build!r} in path {text!r}: {hint}")
    return path


def _seed(matrix: Matrix, seed: int | None) -> int:
    if seed is not None:
        return seed
    return matrix.chains.seed if matrix.chains else 0


class _Axes:
    """Walks the cells of a matrix, and counts those that cannot be walked."""

    def __init__(
        self,
        matrix: Matrix,
        builds: Mapping[str, PreparedBuild],
        by_hand: tuple[tuple[str, ...], ...],
        lacking: Mapping[str, str],
    ) -> None:
        self._matrix, self._builds, self._lacking = matrix, builds, lacking
        self._machines = machines_of(matrix, builds)
        candidates = candidate_paths(matrix, by_hand)
        self._paths = {
            (machine, mode.name): paths_for(candidates, machine, mode, builds)
            for machine in self._machines
            for mode in matrix.modes
        }
        self.left_out: Counter[tuple[str, str]] = Counter()

    def _groups(self) -> Iterator[tuple[str, Profile, Mode, Guest, PathSet]]:
        for machine in self._machines:
            for profile in self._matrix.profiles:
                for mode in self._matrix.modes:
                    for guest in self._matrix.guests:
                        paths = self._for_guests_of(profile, self._paths[machine, mode.name])
                        if why := self._lacking.get(mode.name, ""):
                            paths = paths.refused(f"mode {mode.name}", why)
                        elif why := cannot_guest(mode, guest):
                            paths = paths.refused(f"mode {mode.name}, guest {guest.name}", why)
                        else:
                            paths = self._startable(paths, machine, profile, guest)
                        yield machine, profile, mode, guest, paths

    def _startable(self, paths: PathSet, machine: str, profile: Profile, guest: Guest) -> PathSet:
        """Without the paths on which the guest cannot be."""
        arguments = (*self._matrix.default_args, *profile.args)
        whys = {id_: cannot_start(guest, machine, arguments, b) for id_, b in self._builds.items()}
        reasons = {id_: why for id_, why in whys.items() if why}
        return paths.without(f"guest {guest.name}, profile {profile.name} on {machine}", reasons)

    def _for_guests_of(self, profile: Profile, paths: PathSet) -> PathSet:
        """The paths whose builds run guests of an architecture that the profile is meant for."""
        why = f"meant for {', '.join(profile.architectures)}"
        reasons = {id_: why for id_, b in self._builds.items() if not suits(profile, b.facts.target)}
        return paths.without(f"profile {profile.name}", reasons)

    def cells(self) -> Iterator[tuple[Cell, bool]]:
        """Every cell that can be walked, in order, and whether it is subject to drawing."""
        for machine, profile, mode, guest, paths in self._groups():
            if _meant_for(profile, machine):
                sampled = _distinct(paths.kept, machine, profile)
                for path, drawn in sampled.items():
                    yield Cell(machine, profile.name, path, mode.name, guest.name), drawn

    def drawn(self, sample: int | None, seed: int) -> frozenset[Cell] | None:
        """The cells that are kept of those subject to drawing; None when nothing is drawn."""
        if sample is None:
            return None
        candidates = (cell for cell, drawn in self.cells() if drawn)
        return frozenset(heapq.nsmallest(sample, candidates, key=lambda cell: _rank(cell, seed)))

    def dropped(self, selection: Selection) -> tuple[Dropped, ...]:
        """What was left out of what is selected, in the order in which it was met."""
        counts: Counter[tuple[str, str]] = Counter()
        for machine, profile, mode, guest, paths in self._groups():
            cell = Cell(machine, profile.name, (), mode.name, guest.name)
            if _meant_for(profile, machine):
                refused = [(why, path) for path, why in paths.dropped]
            else:
                why = f"profile {profile.name} on {machine}", f"meant for {', '.join(profile.machines)}"
                refused = [(why, path) for path in _distinct(paths.kept, machine, profile)]
            counts.update(
                why
                for why, path in refused
                if not selection.terms or selection.selects(replace(cell, path=path))
            )
        counts.update(self.left_out)
        return tuple(Dropped(what, reason, cells) for (what, reason), cells in counts.items() if cells)


def _meant_for(profile: Profile, machine: str) -> bool:
    return any(glob_match(machine, glob) for glob in profile.machines)


def _distinct(kept: Sequence[CandidatePath], machine: str, profile: Profile) -> dict[tuple[str, ...], bool]:
    """The paths that are meant for a machine and profile; drawn only if no rule asks for them outright."""
    found: dict[tuple[str, ...], bool] = {}
    for candidate in kept:
        if applies(candidate.rule, machine, profile):
            path = candidate.rule.path
            found[path] = candidate.sampled and found.get(path, True)
    return found


def _rank(cell: Cell, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {cell.id}".encode()).digest()


def _narrow(
    axes: _Axes, chosen: frozenset[Cell] | None, selection: Selection, shard: tuple[int, int] | None
) -> tuple[Cell, ...]:
    """The cells that are drawn, selected and in the shard; the others are counted in the axes."""
    sampled = [cell for cell, drawn in axes.cells() if not drawn or chosen is None or cell in chosen]
    selected = [cell for cell in sampled if selection.selects(cell)]
    if sampled and not selected:
        selection.refuse_lonely(sampled)
        raise UserError("no cell matches all of --select")
    cells = selected if shard is None else _cut(selected, *_checked_shard(*shard))
    if chosen is not None:
        total = sum(1 for _ in axes.cells())
        axes.left_out["chains", "not drawn into the sample"] = total - len(sampled)
    axes.left_out["--select", "not selected"] = len(sampled) - len(selected)
    axes.left_out["--shard", "in another shard"] = len(selected) - len(cells)
    return tuple(cells)


def _cut(cells: Sequence[Cell], index: int, count: int) -> list[Cell]:
    return [cell for cell in cells if int(cell.digest, 16) % count == index - 1]


class _Legs:
    """Collects the distinct legs of cells."""

    def __init__(self, matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> None:
        self._arguments = {p.name: (*matrix.default_args, *p.args) for p in matrix.profiles}
        self._modes = {mode.name: mode for mode in matrix.modes}
        self._guests = {guest.name: guest for guest in matrix.guests}
        self._digests = BuildDigests(builds)
        self._legs: dict[str, Leg] = {}
        self._probes: dict[tuple[str, str, str], str] = {}

    def plan(self, cells: tuple[Cell, ...], dropped: tuple[Dropped, ...], seed: int) -> Plan:
        groups: dict[tuple[str, str, str, str], Legs] = {}
        cell_legs = {}
        for cell in cells:
            name = cell.machine, cell.profile, cell.mode, cell.guest
            group = groups.get(name) or groups.setdefault(name, self._group(*name))
            self._probe(cell)
            cell_legs[cell] = group.path(cell.path)
        return Plan(
            cells,
            MappingProxyType(self._legs),
            MappingProxyType(cell_legs),
            MappingProxyType(self._probes),
            dropped,
            seed,
        )

    def _group(self, machine: str, profile: str, mode: str, guest: str) -> Legs:
        return self._new(machine, profile, self._modes[mode], self._guests[guest])

    def _new(self, machine: str, profile: str, mode: Mode, guest: Guest) -> Legs:
        arguments = self._arguments[profile]
        return Legs(machine, profile, arguments, mode, guest, self._digests.of(arguments), self._legs)

    def _probe(self, cell: Cell) -> None:
        missing = [b for b in cell.path if (cell.machine, cell.profile, b) not in self._probes]
        if missing:
            group = self._new(cell.machine, cell.profile, PROBE_MODE, PROBE_GUEST)
            for build in missing:
                self._probes[cell.machine, cell.profile, build] = group.path((build,))[0]

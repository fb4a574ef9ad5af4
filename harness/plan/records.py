# SPDX-License-Identifier: Apache-2.0
"""The plan as plain records: cells, the distinct legs that they need, and what was left out.

1. `legs` is ordered so that a leg stands after the one whose stream it loads.
2. A leg is named by its key; cells with a common prefix of their paths share legs.
3. Every cell also rests on one probe per build of its path: the paused snapshot leg without a stream in.
4. `to_json` and `from_json` are inverses; equal plans give equal JSON.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.model import Cell, Guest, Mode

__all__ = ["Dropped", "Leg", "Plan"]


@dataclass(frozen=True, slots=True)
class Leg:
    """One distinct leg: `build` is started with `arguments`, loads what `incoming` left, is checked.

    `incoming` is the key of the leg before it or None. In a live leg the stream comes from a running `source`
    build (its id); `source` is None in snapshots. `index` is the place of `build` in the path, from 0.
    `profile` is the name under which the arguments were first met.
    """

    key: str
    build: str
    machine: str
    profile: str
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    incoming: str | None = None
    source: str | None = None
    index: int = 0


@dataclass(frozen=True, slots=True)
class Dropped:
    """Cells that the matrix asks for and the plan leaves out: which, why, how many."""

    what: str
    reason: str
    cells: int


@dataclass(frozen=True)
class Plan:
    """What will be run; use the accessors, which take and give leg keys."""

    cells: tuple[Cell, ...]
    legs: Mapping[str, Leg]
    cell_legs: Mapping[Cell, tuple[str, ...]]
    probes: Mapping[tuple[str, str, str], str]  # (machine, profile, build) -> key
    dropped: tuple[Dropped, ...] = ()
    seed: int = 0

    def leg(self, key: str) -> Leg:
        """The leg of a key; KeyError when it is not planned."""
        return self.legs[key]

    def legs_of(self, cell: Cell) -> tuple[str, ...]:
        """The keys of a cell's legs in order: n for a snapshot path of n builds, n - 1 for a live one."""
        return self.cell_legs[cell]

    def probes_of(self, cell: Cell) -> dict[str, str]:
        """Build id to the key of its probe, for the distinct builds of the path in order."""
        return {build: self.probes[cell.machine, cell.profile, build] for build in cell.path}

    def consumers(self, key: str) -> tuple[str, ...]:
        """The planned legs that load what this one leaves."""
        return self._consumers.get(key, ())

    def needs_out(self, key: str) -> bool:
        """Whether the leg has to save its state: some planned leg loads it."""
        return key in self._consumers

    @property
    def dropped_cells(self) -> int:
        """How many cells were left out."""
        return sum(dropped.cells for dropped in self.dropped)

    @property
    def saves(self) -> int:
        """How many legs save their state."""
        return len(self._consumers)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 over the cells and the keys of what they rest on: equal plans do equal work."""
        hasher = hashlib.sha256()
        for cell in self.cells:
            keys = (*self.legs_of(cell), *self.probes_of(cell).values())
            hasher.update("\0".join((cell.id, *keys, "")).encode())
        return hasher.hexdigest()

    @cached_property
    def _consumers(self) -> Mapping[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for leg in self.legs.values():
            if leg.incoming is not None:
                found.setdefault(leg.incoming, []).append(leg.key)
        return MappingProxyType({key: tuple(keys) for key, keys in found.items()})

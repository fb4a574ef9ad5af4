# SPDX-License-Identifier: Apache-2.0
"""What a search is told to do, as plain records."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migmatrix.harness.explore.records import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.model import Guest, Mode

__all__ = ["Budget", "Plan", "Stretch"]


@dataclass(frozen=True, slots=True)
class Budget:
    """When a search ends by itself: after so many legs, stored ones too, or seconds; None is no bound.

    What is under way then is done first: of a bound of legs one candidate, of one of time a batch or a window of them.
    """

    legs: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is searched: builds, machine types, what every command line has, and how guests move.

    `origin` is what a stored run keeps of itself (`Origin.of_meta`), so that a finding can be run again.
    """

    builds: dict[str, PreparedBuild]
    machines: tuple[str, ...]
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    depth: Phase = Phase.WALK
    every_machine: bool = False
    shard: tuple[int, int] = (1, 1)
    origin: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of a search. `family` numbers the families of machine types that have a place for a candidate.

    Candidates that are `together` many things leave out what would spoil them. `many` of them share a guest at most. `later`
    are plain ones on the machine types that are not the first of a family.
    """

    phase: Phase
    candidates: Callable[[], Iterator[Candidate]] = lambda: iter(())
    family: int = 0
    together: bool = False
    many: int = 1
    later: bool = False

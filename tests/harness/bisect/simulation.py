# SPDX-License-Identifier: Apache-2.0
"""Searches without builds: points that pass and fail by a seeded rule, decided by the real procedure."""

from __future__ import annotations

import random
from dataclasses import dataclass

from migmatrix.harness.bisect import Finding, Rules, Run, Shown, decide

FOLLOWED, OTHER = "the failure", "another failure"


@dataclass(frozen=True)
class World:
    """`size` points, of which those from `culprit` on fail at rate `failing`, the others at rate `false`.

    `untestable` points have no build, `masked` ones another failure; a world that is repaired fails before the culprit.
    """

    size: int
    culprit: int
    untestable: frozenset[int] = frozenset()
    masked: frozenset[int] = frozenset()
    failing: float = 1.0
    false: float = 0.0
    broke: bool = True

    def run(self, point: int, chance: random.Random) -> Run:
        if point in self.untestable:
            return Run(point, Shown.UNTESTABLE, reason="no build")
        if point in self.masked:
            return Run(point, Shown.FAIL, OTHER)
        rate = self.failing if (point >= self.culprit) == self.broke else self.false
        return Run(point, Shown.FAIL, FOLLOWED) if chance.random() < rate else Run(point, Shown.PASS)

    @property
    def answer(self) -> tuple[int, ...]:
        """The points that no search can tell apart from the culprit."""
        silent = self.untestable | self.masked
        first = last = self.culprit
        while first - 1 in silent:
            first -= 1
        while last in silent:
            last += 1
        return tuple(range(first, last + 1))


def search(world: World, seed: object, rules: Rules | None = None) -> tuple[Finding, list[Run]]:
    """Search a world to the end."""
    chance = random.Random(str(seed))
    runs: list[Run] = []
    while not isinstance(step := decide(world.size, runs, rules or Rules()), Finding):
        made = world.run(step.point, chance)
        runs.append(Run(made.point, made.shown, made.signature, made.reason, step.why))
    return step, runs


def drawn(
    scenario: str,
    seed: int,
    size: int = 64,
    *,
    holes: float = 0.0,
    masked: int = 0,
    failing: float = 1.0,
    false: float = 0.0,
) -> World:
    """A world with a drawn culprit, untestable points at rate `holes` and a stretch of `masked` points."""
    chance = random.Random(f"{scenario} {seed}")
    culprit = chance.randrange(1, size)
    inner = range(1, size - 1)
    untestable = frozenset(point for point in inner if chance.random() < holes)
    start = chance.choice(inner[: len(inner) - masked])
    return World(size, culprit, untestable, frozenset(range(start, start + masked)), failing, false)

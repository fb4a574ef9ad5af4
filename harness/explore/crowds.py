# SPDX-License-Identifier: Apache-2.0
"""Many devices at once: every two of them, and each on every topology, in few command lines. Pure.

A pair that breaks only together breaks in a crowd, and reduction finds the pair; so a tenth of the runs does that pairs alone
would take. Devices that fail or do not start by themselves stay out: they would hide what the others do.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from migmatrix.harness.explore.records import Kind, Part

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random

__all__ = ["crowds"]

_SIZE = 6


def crowds(devices: Sequence[str], topologies: Sequence[str], random: Random) -> Iterator[tuple[Part, ...]]:
    """Parts of each crowd: a topology, where there are any, and some devices."""
    size = min(_SIZE, len(devices))
    left = {frozenset(pair) for pair in combinations(devices, 2)}
    unseen = {(device, topology) for device in devices for topology in topologies}
    while size > 1 and (left or unseen):
        chosen = _crowd(devices, size, left, unseen, random)
        topology = _topology(chosen, topologies, unseen, random)
        left -= {frozenset(pair) for pair in combinations(chosen, 2)}
        unseen -= {(device, topology) for device in chosen}
        head = (Part(Kind.TOPOLOGY, topology),) if topology else ()
        yield (*head, *(Part(Kind.DEVICE, name) for name in chosen))


def _crowd(
    devices: Sequence[str], size: int, left: set[frozenset[str]], unseen: set[tuple[str, str]], random: Random
) -> list[str]:
    """One device after another, each that which meets most others for the first time."""
    first = min(map(sorted, left), default=None) or [min(unseen)[0]]
    chosen = [first[0]]
    while len(chosen) < size:
        rest = [name for name in devices if name not in chosen]
        random.shuffle(rest)
        chosen.append(max(rest, key=lambda name: _worth(name, chosen, left, unseen)))
    return chosen


def _worth(
    name: str, chosen: list[str], left: set[frozenset[str]], unseen: set[tuple[str, str]]
) -> tuple[int, int]:
    return (
        sum(frozenset((name, other)) in left for other in chosen),
        sum(device == name for device, _ in unseen),
    )


def _topology(
    chosen: Sequence[str], topologies: Sequence[str], unseen: set[tuple[str, str]], random: Random
) -> str:
    rest = list(topologies)
    random.shuffle(rest)
    return max(rest, key=lambda name: sum((device, name) in unseen for device in chosen), default="")

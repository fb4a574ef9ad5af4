# SPDX-License-Identifier: Apache-2.0
"""How few runs could do: the number that a search is measured against. Pure arithmetic.

A run is a channel that tells which side a point is on. `n` candidates need log2(n) bits; a run that always tells the
truth carries one bit, a flaky one the capacity of its channel (Shannon 1948; feedback does not change it, Shannon 1956).
"""

from __future__ import annotations

from math import ceil, log2

__all__ = ["bits", "capacity", "minimum_runs"]

_STEPS = 200


def bits(p: float) -> float:
    """Entropy of a coin, in bits."""
    return 0.0 if p <= 0 or p >= 1 else -p * log2(p) - (1 - p) * log2(1 - p)


def capacity(bad: float, good: float) -> float:
    """Bits that one run carries at most, when the bad side fails at rate `bad` and the good side at rate `good`."""

    def carried(share: float) -> float:
        fails = share * bad + (1 - share) * good
        return bits(fails) - share * bits(bad) - (1 - share) * bits(good)

    return max(carried(step / _STEPS) for step in range(_STEPS + 1))


def minimum_runs(candidates: int, bad: float = 1.0, good: float = 0.0) -> int:
    """The fewest runs that can be expected to find one of `candidates`; 0 for one, ValueError for equal rates."""
    if candidates <= 1:
        return 0
    carried = capacity(bad, good)
    if carried <= 0:
        raise ValueError("equal rates tell nothing")
    return ceil(log2(candidates) / carried - 1e-9)

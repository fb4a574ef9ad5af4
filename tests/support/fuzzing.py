# SPDX-License-Identifier: Apache-2.0
"""Seeded hostile inputs for readers: valid messages, damaged, in bounded memory.

`MIGMATRIX_FUZZ` says how many inputs each reader gets, few by default (1,000,000 are a good night's work).
"""

from __future__ import annotations

import os
import random
import tracemalloc
from collections import Counter
from resource import RUSAGE_SELF, getrusage
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BOUND", "COUNT", "EDGES", "each", "spoil"]

COUNT = int(os.environ.get("MIGMATRIX_FUZZ", "100"))
BOUND = 16 << 20  # bytes that may be held at any time, whatever comes: an input has 1 MiB at most
TRACED = 10_000
GROWTH = 64 << 20
EDGES = (0, 1, 2, 127, 128, 255, 256, 4095, 4096, 4097, 1 << 16, 1 << 20, 1 << 31, 1 << 32, 1 << 63)


def spoil(raw: bytes, rng: random.Random) -> bytes:
    """One to three of: a bit or a number changed, a part left out, doubled or made up, the end cut off."""
    data = bytearray(raw)
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(6):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 | 2:
                size = rng.choice((1, 2, 4, 8))
                number = (rng.choice(EDGES) - rng.randrange(2)) % (1 << 8 * size)
                data[at : at + size] = number.to_bytes(size)
            case 3:
                del data[at : at + rng.randrange(1, 32)]
            case 4:
                data[at:at] = rng.choice((data[at : at + 32], rng.randbytes(8)))
            case _:
                del data[max(at, len(data) // 2) :]
    return bytes(data)


def each(what: str, run: Callable[[random.Random], object], *clean: type[Exception]) -> Counter[str]:
    """Run it with seeds 0 to COUNT, and count how each ended: taken, or refused by an error of `clean`.

    Any other error names its seed. The first ones may hold `BOUND` bytes at once, each; as that is slow to look at, all
    the others together only make the process no larger than `GROWTH`.
    """
    ends: Counter[str] = Counter()
    tracemalloc.start()
    try:
        for seed in range(min(COUNT, TRACED)):
            ends[_one(what, seed, run, clean)] += 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    before = getrusage(RUSAGE_SELF).ru_maxrss << 10
    for seed in range(TRACED, COUNT):
        ends[_one(what, seed, run, clean)] += 1
    growth = (getrusage(RUSAGE_SELF).ru_maxrss << 10) - before
    print(
        f"{what}: {COUNT:,} inputs, {dict(ends)}, at most {peak >> 10:,} KiB, then {growth >> 10:,} KiB more"
    )
    assert peak < BOUND, f"{what}: {peak} bytes"
    assert growth < GROWTH, f"{what}: {growth} bytes"
    return ends


def _one(
    what: str, seed: int, run: Callable[[random.Random], object], clean: tuple[type[Exception], ...]
) -> str:
    try:
        run(random.Random(f"{what} {seed}"))
    except clean as error:
        return type(error).__name__
    except Exception as error:
        raise AssertionError(f"seed {what} {seed}") from error
    return "taken"

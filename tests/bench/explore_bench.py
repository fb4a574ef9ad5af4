# SPDX-License-Identifier: Apache-2.0
"""Bench of `migmatrix explore`: legs until each planted fault is found, beside the same candidates in random order.

All faults of `planted` are in one build, searched against the release before. What counts for a fault are the legs that
the search had needed when the finding came that the fault shows as, those of repeating and reducing included. Random order
has the same candidates of the first three phases, shuffled, and no feedback.
"""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from planted import FAULTS, matrix_of, plant, supervised

from migmatrix.harness.explore.explore import ExploreOptions, explore
from migmatrix.harness.explore.findings import Problem
from migmatrix.harness.explore.order import Order
from migmatrix.harness.explore.plan import Budget
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.run.opening import silent
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planted import Fault

    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.explore.search import Search
    from migmatrix.harness.run.pipeline import Prepared

__all__ = ["bench_explore", "searched"]


@dataclass
class Found:
    """Legs of a search when each finding came, by key; `legs` and `seconds` of all of it."""

    at: dict[str, int] = field(default_factory=dict)
    legs: int = 0
    seconds: float = 0.0

    def tell(self, search: Search) -> None:
        """Take what a search has found."""
        self.legs = search.spent
        for finding in search.collector.findings.values():
            if finding.kind is Problem.BREAK:
                self.at.setdefault(finding.key, self.legs)

    def of(self, fault: Fault) -> int | None:
        """Legs until a fault was found."""
        key = fault.is_seen(self.at)
        return None if key is None else self.at[key]


class Shuffled(Order):
    """The candidates of all phases in random order, as one phase."""

    def of(self, phase: Phase) -> Iterator[Candidate]:
        """All of them in the first phase, nothing in the others."""
        of = super().of
        every = dict.fromkeys(
            [*of(Phase.PLAIN), *of(Phase.SINGLE), *super().together(), *super().arrays(), *super().couples()]
        )
        shuffled = [*every]
        random.Random(self.seed).shuffle(shuffled)
        yield from shuffled if phase is Phase.PLAIN else ()

    def likely(self) -> Iterator[Candidate]:
        """Nothing is told apart: it is all in the first phase."""
        yield from ()

    unlikely = couples = together = arrays = likely

    def walk(self, corpus: Sequence[Candidate], number: int) -> None:
        """No feedback."""


def searched(
    prepared: Prepared,
    root: Path,
    faults: Sequence[Fault],
    budget: int,
    seed: int,
    order: type[Order] = Order,
) -> Found:
    """Search until all faults are found or the budget is spent; `root` keeps the leg store from one call to the next."""
    found, began = Found(), time.monotonic()
    options = ExploreOptions(
        store=root / "store", out=root / "out", budget=Budget(legs=budget), seed=seed, order=order
    )

    def tell(search: Search) -> None:
        found.tell(search)
        if all(fault.is_seen(found.at) for fault in faults):
            raise _AllFound

    with suppress(_AllFound):
        asyncio.run(explore(prepared, options, silent, tell))
    found.seconds = time.monotonic() - began
    return found


class _AllFound(Exception):
    """Nothing is left to search for."""


def prepare_planted(root: Path, faults: Sequence[Fault]) -> Prepared:
    """A build with `faults` in a matrix of its own, ready to be searched."""
    bundle = plant(faults, root / "planted", root / "store" / "builds")
    (root / "matrix.yaml").write_text(json.dumps(matrix_of(bundle)))
    planned = prepare_plan(RunOptions(file=root / "matrix.yaml", store=root / "store"), silent)
    return supervised(planned, bundle)


def bench_explore(budget: int, seed: int, where: Path | None = None) -> None:
    """Print a line for each fault, then medians."""
    with tempfile.TemporaryDirectory(prefix="mb-", dir="/var/tmp") as name:
        root = where or Path(name)
        root.mkdir(parents=True, exist_ok=True)
        prepared = prepare_planted(root, FAULTS)
        guided = searched(prepared, root, FAULTS, budget, seed)
        chance = searched(prepared, root, FAULTS, budget, seed, Shuffled)
    print(f"explore: {len(FAULTS)} planted faults in one build, seed {seed}, {budget:,} legs at most")
    print(f"  {'fault':16} {'explore':>8} {'random':>8}  like")
    for fault in FAULTS:
        print(f"  {fault.name:16} {_shown(guided.of(fault)):>8} {_shown(chance.of(fault)):>8}  {fault.kind}")
    for name, found in (("explore", guided), ("random", chance)):
        legs = [found.of(fault) for fault in FAULTS]
        there = [one for one in legs if one is not None]
        middle = median(one if one is not None else float("inf") for one in legs)
        rate = found.legs / found.seconds
        print(
            f"  {name:8} found {len(there)} of {len(FAULTS)}, median {middle:,.0f} legs, last {max(there, default=0):,};"
            f" {rate:.0f} legs/s", flush=True,
        )  # fmt: skip


def _shown(legs: int | None) -> str:
    return "-" if legs is None else f"{legs:,}"

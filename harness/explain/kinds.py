# SPDX-License-Identifier: Apache-2.0
"""Which failing cells of a run are one problem seen again, and which want an explanation of their own. Pure.

A signature is what was said, not why. So its cells are told apart further, from the stored results alone:

1. Failures while saving are the source's: one kind per signature and verdict.
2. Two builds are one class if they do not fail with each other and have the same verdicts with every other build, in
   both directions, wherever the signature is seen; a pair that was not run counts for nothing. The classes of the two
   builds of a pair are its kind.
3. A chain is not a problem of its own if one of its steps alone fails with the same signature. Any other chain is of a
   kind of its own, by the classes of its first and last build: state travels there through builds that accept it.
4. What the two sides are told otherwise (`apart`) makes a kind of its own: one signature, such as a hang, may have many
   such reasons. Otherwise machine, profile, mode and guest make none.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.model import Stage, Verdict
from migmatrix.harness.trials.records import setup_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from migmatrix.harness.model import Cell, CellResult
    from migmatrix.harness.trials.records import Setup

__all__ = ["Problem", "problems"]

EXPLAINED = (Verdict.FAIL, Verdict.BLOCKED)

_SAVE, _PAIR = "save", "pair"
_CHAIN = "chain whose steps do not fail so alone"

_Kind = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Failing results that are one problem; `kind` is for people, the first result stands for all.

    `repeats` more cells of the run are chains in which a step of theirs fails just so (rule 3).
    """

    kind: str
    results: tuple[CellResult, ...]
    repeats: int = 0

    @property
    def representative(self) -> CellResult:
        """The one with the shortest path, the first of those in the run."""
        return min(self.results, key=lambda r: len(r.cell.path))


def problems(
    results: Iterable[CellResult],
    every: Iterable[CellResult] | None = None,
    apart: Callable[[CellResult], str] = lambda _: "",
) -> list[Problem]:
    """The problems among `results`, in the order in which they were met; `every` is the whole run if that is more."""
    given = list(results)
    chosen = [r for r in given if r.verdict in EXPLAINED and r.signature]
    run = {r.cell: r for r in (given if every is None else every)}
    by_signature: dict[str, list[CellResult]] = defaultdict(list)
    for result in chosen:
        by_signature[result.signature or ""].append(result)
    return [problem for alike in by_signature.values() for problem in _of_signature(alike, run, apart)]


def _of_signature(
    alike: Sequence[CellResult], run: Mapping[Cell, CellResult], apart: Callable[[CellResult], str]
) -> list[Problem]:
    classes = _classes(alike, run)
    kinds: dict[_Kind, list[CellResult]] = defaultdict(list)
    again: list[CellResult] = []
    repeats: Counter[_Kind] = Counter()
    for result in alike:
        kind = _kind(result, classes, apart)
        step = _step_of(result, run) if kind[0] == _CHAIN else None
        if step is None:
            kinds[kind].append(result)
        else:
            again.append(result)
            repeats[_kind(step, classes, apart)] += 1
    found = [Problem(_words(kind[0], of, kind[-1]), tuple(of), repeats[kind]) for kind, of in kinds.items()]
    return found or [Problem(_words(_CHAIN, again), tuple(again))]


def _words(what: str, members: Sequence[CellResult], told: str = "") -> str:
    """``pair: a, b > c``: the builds at both ends, and what the sides are told otherwise."""
    more = f", told {told}" if told else ""
    if what == _SAVE:
        return f"{what}: {members[0].verdict.value}{more}"
    first = dict.fromkeys(_travelled(r)[0] for r in members)
    last = dict.fromkeys(_travelled(r)[-1] for r in members)
    return f"{what}: {', '.join(sorted(first))} > {', '.join(sorted(last))}{more}"


def _kind(result: CellResult, classes: Mapping[str, str], apart: Callable[[CellResult], str]) -> _Kind:
    path = _travelled(result)
    if result.stage is Stage.SAVE:
        return _SAVE, result.verdict.value, apart(result)
    what = _PAIR if len(path) == 2 else _CHAIN  # noqa: PLR2004
    return what, classes[path[0]], classes[path[-1]], apart(result)


def _travelled(result: CellResult) -> tuple[str, ...]:
    """The builds up to the one that failed."""
    return result.cell.path[: (result.hop or 1) + 1]


def _step_of(result: CellResult, run: Mapping[Cell, CellResult]) -> CellResult | None:
    """The pair of the path that fails so alone."""
    path = _travelled(result)
    for pair in pairwise(path):
        alone = run.get(replace(result.cell, path=pair))
        if alone is not None and alone.signature == result.signature and alone.verdict is result.verdict:
            return alone
    return None


def _classes(alike: Sequence[CellResult], run: Mapping[Cell, CellResult]) -> dict[str, str]:
    """Each build with the first build that fares as it does (rule 2), over the setups of the signature."""
    setups = dict.fromkeys(setup_of(r.cell) for r in alike)
    pairs = {
        (setup_of(c), (c.path[0], c.path[1])): result
        for c, result in run.items()
        if len(c.path) == 2 and setup_of(c) in setups  # noqa: PLR2004
    }
    builds = dict.fromkeys(b for _, path in pairs for b in path) | dict.fromkeys(
        b for r in alike for b in r.cell.path
    )
    found: dict[str, str] = {}
    for build in builds:
        firsts = dict.fromkeys(found.values())
        found[build] = next((f for f in firsts if _fare_alike(f, build, pairs, builds, setups)), build)
    return found


def _fare_alike(
    one: str,
    other: str,
    pairs: Mapping[tuple[Setup, tuple[str, str]], CellResult],
    builds: Iterable[str],
    setups: Iterable[Setup],
) -> bool:
    """Whether two builds do not fail with each other and fare the same with every third one."""
    thirds = [b for b in builds if b not in (one, other)]

    def differ(setup: Setup, path: tuple[str, str], same: tuple[str, str]) -> bool:
        mine, its = pairs.get((setup, path)), pairs.get((setup, same))
        if mine is None or its is None:
            return False
        return (mine.verdict, mine.signature) != (its.verdict, its.signature)

    def fail(setup: Setup, path: tuple[str, str]) -> bool:
        between = pairs.get((setup, path))
        return between is not None and between.verdict in EXPLAINED and between.stage is not Stage.SAVE

    if any(fail(setup, path) for setup in setups for path in ((one, other), (other, one))):
        return False
    return not any(
        differ(setup, (one, third), (other, third)) or differ(setup, (third, one), (third, other))
        for setup in setups
        for third in thirds
    )

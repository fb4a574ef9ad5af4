"""Which failing cells of a run are one problem seen again, and which want an explanation of their own. Pure.

A signature is what was said, not why. So its cells are told apart further, from the stored results alone:

1. Failures while saving are the source's: one kind per signature and verdict.
2. Builds that fare alike with every other build, in both directions, wherever the signature is seen, and that do not
   fail with each other, are one class; what was not run tells nothing. Pairs are told apart by the classes of their two builds.
3. A chain is seen again what one of its steps does alone with the same signature. A chain without such a step is of a
   kind of its own, by the classes of its first and last build: there state travels through builds that accept it.
4. Machine, profile, mode and guest make no kind of their own.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from migmatrix.harness.model import Stage, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from migmatrix.harness.model import Cell, CellResult

__all__ = ["Problem", "problems"]

EXPLAINED = (Verdict.FAIL, Verdict.BLOCKED)

_SAVE, _PAIR = "save", "pair"
_CHAIN = "chain whose steps do not fail so alone"

_Place = tuple[str, str, str, str]  # machine, profile, mode, guest
_Kind = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """Failing results that are one problem; `kind` is for people, the first result stands for all."""

    kind: str
    results: tuple[CellResult, ...]

    @property
    def representative(self) -> CellResult:
        """The one with the shortest path, the first of those in the run."""
        return min(self.results, key=lambda r: len(r.cell.path))


def problems(results: Iterable[CellResult], every: Iterable[CellResult] | None = None) -> list[Problem]:
    """The problems among `results`, in the order in which they were met; `every` is the whole run if that is more."""
    given = list(results)
    chosen = [r for r in given if r.verdict in EXPLAINED and r.signature]
    run = {r.cell: r for r in (given if every is None else every)}
    by_signature: dict[str, list[CellResult]] = defaultdict(list)
    for result in chosen:
        by_signature[result.signature or ""].append(result)
    return [problem for alike in by_signature.values() for problem in _of_signature(alike, run)]


def _of_signature(alike: Sequence[CellResult], run: Mapping[Cell, CellResult]) -> list[Problem]:
    classes = _classes(alike, run)
    kinds: dict[_Kind, list[CellResult]] = defaultdict(list)
    again: list[CellResult] = []
    for result in alike:
        kind = _kind(result, classes)
        if kind[0] == _CHAIN and _seen_in_a_step(result, run):
            again.append(result)
        else:
            kinds[kind].append(result)
    found = [Problem(_words(kind[0], members), tuple(members)) for kind, members in kinds.items()]
    return found or [Problem(_words(_CHAIN, again), tuple(again))]


def _words(what: str, members: Sequence[CellResult]) -> str:
    """``pair: a, b > c``: the builds at both ends."""
    if what == _SAVE:
        return f"{what}: {members[0].verdict.value}"
    first = dict.fromkeys(_travelled(r)[0] for r in members)
    last = dict.fromkeys(_travelled(r)[-1] for r in members)
    return f"{what}: {', '.join(sorted(first))} > {', '.join(sorted(last))}"


def _kind(result: CellResult, classes: Mapping[str, str]) -> _Kind:
    path = _travelled(result)
    if result.stage is Stage.SAVE:
        return _SAVE, result.verdict.value
    what = _PAIR if len(path) == 2 else _CHAIN  # noqa: PLR2004
    return what, classes[path[0]], classes[path[-1]]


def _travelled(result: CellResult) -> tuple[str, ...]:
    """The builds up to the one that failed."""
    return result.cell.path[: (result.hop or 1) + 1]


def _seen_in_a_step(result: CellResult, run: Mapping[Cell, CellResult]) -> bool:
    path = _travelled(result)
    for pair in pairwise(path):
        alone = run.get(replace(result.cell, path=pair))
        if alone is not None and alone.signature == result.signature and alone.verdict is result.verdict:
            return True
    return False


def _classes(alike: Sequence[CellResult], run: Mapping[Cell, CellResult]) -> dict[str, str]:
    """Each build with the first build that fares as it does (rule 2), over the places of the signature."""
    places = dict.fromkeys(_place(r.cell) for r in alike)
    pairs = {
        (_place(c), (c.path[0], c.path[1])): result
        for c, result in run.items()
        if len(c.path) == 2 and _place(c) in places  # noqa: PLR2004
    }
    builds = dict.fromkeys(b for _, path in pairs for b in path) | dict.fromkeys(
        b for r in alike for b in r.cell.path
    )
    found: dict[str, str] = {}
    for build in builds:
        firsts = dict.fromkeys(found.values())
        found[build] = next((f for f in firsts if _fare_alike(f, build, pairs, builds, places)), build)
    return found


def _place(cell: Cell) -> _Place:
    return cell.machine, cell.profile, cell.mode, cell.guest


def _fare_alike(
    one: str,
    other: str,
    pairs: Mapping[tuple[_Place, tuple[str, str]], CellResult],
    builds: Iterable[str],
    places: Iterable[_Place],
) -> bool:
    """Whether two builds do not fail with each other and fare the same with every third one."""
    thirds = [b for b in builds if b not in (one, other)]

    def differ(place: _Place, path: tuple[str, str], same: tuple[str, str]) -> bool:
        mine, its = pairs.get((place, path)), pairs.get((place, same))
        if mine is None or its is None:
            return False
        return (mine.verdict, mine.signature) != (its.verdict, its.signature)

    def fail(place: _Place, path: tuple[str, str]) -> bool:
        between = pairs.get((place, path))
        return between is not None and between.verdict in EXPLAINED and between.stage is not Stage.SAVE

    if any(fail(place, path) for place in places for path in ((one, other), (other, one))):
        return False
    return not any(
        differ(place, (one, third), (other, third)) or differ(place, (third, one), (third, other))
        for place in places
        for third in thirds
    )

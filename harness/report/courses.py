# SPDX-License-Identifier: Apache-2.0
"""Statuses and events that not all builds have in the same mode: found in the courses of cells that passed.

A build is asked only about modes, guests and sides in which it took part, whoever was on the other side.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.report.problems import natural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.harness.model import CellResult

__all__ = ["Unlike", "describe_unlike", "unlike"]

_Place = tuple[str, str, str]  # mode, guest, side


@dataclass(frozen=True, slots=True)
class Unlike:
    """`word` is said on the side `role` by the builds `having` and not by `lacking`, in these modes with these guests."""

    word: str
    role: str
    having: tuple[str, ...]
    lacking: tuple[str, ...]
    modes: tuple[str, ...]
    guests: tuple[str, ...]


def unlike(results: Iterable[CellResult]) -> list[Unlike]:
    """What the builds of some results say differently; the same of several modes is one finding, in the order met."""
    said: dict[_Place, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for result in results:
        for course in result.courses:
            said[result.cell.mode, result.cell.guest, course.role][course.build].update(_counted(course.said))
    places: dict[tuple[str, str, tuple[str, ...], tuple[str, ...]], list[_Place]] = defaultdict(list)
    for place, builds in said.items():
        for word in sorted(set().union(*builds.values())):
            having = tuple(sorted((b for b, words in builds.items() if word in words), key=natural))
            lacking = tuple(sorted(set(builds) - set(having), key=natural))
            if lacking:
                places[word, place[2], having, lacking].append(place)
    return [_found(*what, where) for what, where in places.items()]


def _counted(said: Iterable[str]) -> Iterator[str]:
    """The words, of which a status that comes again later is another; how often an event comes may be chance."""
    seen: set[str] = set()
    for word in said:
        yield f"{word} again" if word in seen and word.islower() else word
        seen.add(word)


def _found(
    word: str, role: str, having: tuple[str, ...], lacking: tuple[str, ...], places: list[_Place]
) -> Unlike:
    modes = tuple(dict.fromkeys(mode for mode, _, _ in places))
    guests = tuple(dict.fromkeys(guest for _, guest, _ in places))
    return Unlike(word, role, having, lacking, modes, guests)


def describe_unlike(one: Unlike) -> str:
    """The finding as a sentence."""
    return (
        f"{one.word!r} on the {one.role}'s side: said by {', '.join(one.having)}, not by {', '.join(one.lacking)}"
        f" (mode {', '.join(one.modes)}; guest {', '.join(one.guests)})"
    )

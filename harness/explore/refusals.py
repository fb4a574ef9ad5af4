# SPDX-License-Identifier: Apache-2.0
"""What builds refused to start, so that no budget is spent on it twice. Pure.

1. A refusal of one part is one of every candidate that has this part, whatever options are added to it: a device that a
   build does not start plain it does not start with an option. An option that makes it start is found by its plain
   device, which the table gives what it needs.
2. A refusal of the machine alone is one of everything.
3. A refusal of several parts, or of several options, is one of exactly these and of more of them.
4. What a build says of an option it says on every family of machine types. Of a device alone that is not known: a family
   may have no bus for it.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.explore.records import Candidate

__all__ = ["Refusals"]

_Piece = tuple[str, str, str, str]  # kind, name, option or "", value
_Where = tuple[str, str]  # machine, build


@dataclass
class Refusals:
    """Refusals by machine and build, each with the emulator's words."""

    _said: dict[_Where, dict[frozenset[_Piece], str]] = field(default_factory=lambda: defaultdict(dict))

    def learn(self, candidate: Candidate, machine: str, build: str, said: str) -> None:
        """A build did not start a candidate."""
        self._said[machine, build][_pieces(candidate)] = said

    def left(
        self, candidate: Candidate, machine: str, builds: Iterable[str], *, elsewhere: bool = False
    ) -> list[str]:
        """Those of `builds` that have refused nothing which the candidate holds; `elsewhere`, by rule 4, on any machine."""
        pieces = _pieces(candidate)
        return [
            build
            for build in builds
            if not self._holds(pieces, (machine, build))
            and not (elsewhere and self._holds_an_option(pieces, build))
        ]

    def words(self) -> dict[str, dict[str, int]]:
        """For people: what was refused, with how often in which words."""
        found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        for refused in self._said.values():
            for pieces, said in refused.items():
                found[_text(pieces)][said] += 1
        return {what: dict(said) for what, said in sorted(found.items())}

    def _holds_an_option(self, pieces: frozenset[_Piece], build: str) -> bool:
        """Rule 4; one piece alone is a device."""
        said = (refused for (_, by), its in self._said.items() if by == build for refused in its)
        return any(len(refused) > 1 and refused <= pieces for refused in said)

    def _holds(self, pieces: frozenset[_Piece], where: _Where) -> bool:
        return any(refused <= pieces for refused in self._said.get(where, ()))


def _pieces(candidate: Candidate) -> frozenset[_Piece]:
    found: set[_Piece] = set()
    for part in candidate.parts:
        found.add((part.kind, part.name, "", ""))
        found |= {(part.kind, part.name, option, value) for option, value in part.options}
        if part.place:
            found.add((part.kind, part.name, "place", part.place))
        if part.count > 1:
            found.add((part.kind, part.name, "count", str(part.count)))
    return frozenset(found)


def _text(pieces: frozenset[_Piece]) -> str:
    named = sorted(p for p in pieces if p[2]) or sorted(pieces)
    words = (f"{name}.{option}={value}" if option else name for _, name, option, value in named)
    return " + ".join(words) or "the machine alone"

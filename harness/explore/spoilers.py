# SPDX-License-Identifier: Apache-2.0
"""What would spoil a candidate of many parts, as was learned of the parts alone. Pure.

1. A device or topology that fails alone on a machine type hides there what the others of a crowd do; one that does not
   start refuses for all. It is left out where it spoils all machine types, and others are preferred to those it spoils.
2. So does an option's value that no build starts with.
3. A crowd that is refused all the same is tried in halves.
4. What failed alone is tried alone on the other families of machine types too.
5. What a device fails with plain, on a machine type and between two builds, is no news of its options.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explore.records import Kind, Phase

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.explore.records import Candidate, Part

__all__ = ["Failure", "Spoilers", "halves"]

_PAIR = 2

Failure = tuple[str, str]  # the builds, as ``A>B``, and the family of the signature


@dataclass
class Spoilers:
    """Devices and topologies by machine type, and values of options; `machines` are all that are tried."""

    machines: tuple[str, ...]
    names: set[tuple[str, str]] = field(default_factory=set)
    values: set[tuple[str, str, str]] = field(default_factory=set)
    failed: set[tuple[Part, ...]] = field(default_factory=set)
    shown: dict[tuple[str, str], set[Failure]] = field(default_factory=dict)

    def learn(self, candidate: Candidate, machine: str, *, starts: bool, sound: bool) -> None:
        """Whether any build starts a candidate; it is `sound` when all builds that know it do, and nothing fails."""
        if len(candidate.parts) != 1:
            return
        (part,) = candidate.parts
        if candidate.phase is Phase.PLAIN and not sound:
            self.names.add((part.name, machine))
        if len(part.options) == 1 and not starts:
            self.values.add((part.name, *part.options[0]))

    def news(self, candidate: Candidate, machine: str, failures: set[Failure]) -> set[Failure]:
        """Rule 5: those failures of a candidate that no device of it shows plain."""
        if candidate.phase is Phase.PLAIN:
            return failures
        return failures.difference(*(self.shown.get((part.name, machine), ()) for part in candidate.parts))

    def show(self, candidate: Candidate, machine: str, failures: set[Failure]) -> None:
        """Keep what a plain candidate fails with."""
        if candidate.phase is Phase.PLAIN:
            self.shown.update({(part.name, machine): failures for part in candidate.parts})

    def without(self, candidate: Candidate) -> Candidate | None:
        """What is left of a candidate; None when there are no two things left that could meet."""
        if len(candidate.parts) == 1:
            part = self._allowed(candidate.parts[0])
            return replace(candidate, parts=(part,)) if part.options else None
        parts = tuple(part for part in candidate.parts if self.sound((part,), self.machines))
        return replace(candidate, parts=parts) if len(parts) >= _PAIR else None

    def sound(self, parts: Sequence[Part], machines: Iterable[str]) -> list[str]:
        """The machine types that none of these parts spoils."""
        return [m for m in machines if not any((part.name, m) in self.names for part in parts)]

    def _allowed(self, part: Part) -> Part:
        options = tuple(pair for pair in part.options if (part.name, *pair) not in self.values)
        return replace(part, options=options)


def halves(candidate: Candidate) -> list[Candidate]:
    """A crowd as two smaller ones, on the same topology; nothing of two devices."""
    head = tuple(part for part in candidate.parts if part.kind is Kind.TOPOLOGY)
    rest = candidate.parts[len(head) :]
    if candidate.phase is not Phase.PAIR or len(rest) <= _PAIR:
        return []
    middle = len(rest) // 2
    return [replace(candidate, parts=(*head, *half)) for half in (rest[:middle], rest[middle:])]

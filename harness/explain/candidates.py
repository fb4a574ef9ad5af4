"""Properties that may heal a failure, most plausible first.

A candidate is a setting for one side. Three things make one: a value that differs between the two sides, a
property that only one side has (a compatibility switch added later, say), and a number that the failure shows.

1. Only the devices involved count: those that the reproducer's arguments made, and those of the cause's name.
2. Of two sides with different values, each may take the other's.
3. A switch that only one side has is turned over.
4. A property whose value is the number that its side has at the failing place takes the other side's number; where
   no place is known, any number of the message takes each other. Numbers below 2 are in everything and say nothing.
5. Names are compared word by word with the words of the cause and of the place in the stream; each hit counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.explain.records import Setting, Side
from harness.explain.where import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from harness.explain.machine import MachineView, Object, Value
    from harness.explain.records import Difference
    from harness.model import Cause

__all__ = ["Candidate", "candidates"]

_WORD = re.compile(r"[a-z]+|\d+")
_SWITCHES = {"on": "off", "off": "on", "true": "false", "false": "true"}
# Words that say nothing about which device or field is meant.
_COMMON = frozenset(
    {"x", "device", "pci", "virtio", "for", "of", "the", "is", "not", "failed", "load", "state"}
)
_TELLING = 2  # rule 4
# How much each basis counts beside a common word.
_WEIGHTS = {"difference": 4, "number": 3, "switch": 1}
# Settings that change what the guest is, or the emulator's own ways: never a migration's remedy.
_LEFT_OUT = frozenset(
    {"drive", "chardev", "netdev", "mac", "bus", "multifunction", "failover_pair_id", "acpi-index"}
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One setting for one side, with the reason it is tried and how plausible it is; `now` is what it is so far."""

    side: Side
    setting: Setting
    now: str
    basis: str
    why: str
    score: int


@dataclass(frozen=True, slots=True)
class _Clue:
    """What the failure shows: words of the cause and of the places that it points to, numbers to exchange.

    `numbers` are pairs of a number that the source shows and one that the destination shows.
    """

    words: frozenset[str]
    numbers: frozenset[tuple[int, int]]

    @classmethod
    def of(cls, cause: Cause, where: Sequence[Difference]) -> _Clue:
        blamed = [d for d in where if d.blamed]
        texts = [cause.device.rpartition("/")[2], cause.field, cause.message, *(d.name for d in blamed)]
        pairs = [(d.source, d.destination) for d in blamed] or [(cause.message, cause.message)]
        exchanged = {
            (sent, own)
            for source, destination in pairs
            for sent in numbers(source)
            for own in numbers(destination)
            if sent != own and min(sent, own) >= _TELLING
        }
        return cls(_words(*texts), frozenset(exchanged))

    def others(self, side: Side, value: int) -> Iterator[int]:
        """Numbers that the other side shows where `side` shows `value`."""
        for sent, own in sorted(self.numbers):
            here, there = (own, sent) if side is Side.DESTINATION else (sent, own)
            if here == value:
                yield there


def candidates(
    source: MachineView, destination: MachineView, cause: Cause, where: Sequence[Difference]
) -> tuple[Candidate, ...]:
    """All candidates for the two sides of a failing migration, most plausible first, each setting once."""
    clue = _Clue.of(cause, where)
    found: dict[tuple[Side, Setting], Candidate] = {}
    for candidate in (
        *_on(Side.DESTINATION, destination, source, clue),
        *_on(Side.SOURCE, source, destination, clue),
    ):
        key = candidate.side, candidate.setting
        if key not in found or candidate.score > found[key].score:
            found[key] = candidate
    ranked = sorted(found.values(), key=lambda c: (-c.score, c.side is Side.SOURCE, c.setting))
    return tuple(ranked)


def _on(side: Side, here: MachineView, there: MachineView, clue: _Clue) -> Iterator[Candidate]:
    for object_ in here.objects:
        if not _involved(object_, clue):
            continue
        other = there.find(object_.type, object_.ordinal)
        for name, value in object_.values.items():
            if name in _LEFT_OUT:
                continue
            for wanted, basis, why in _wanted(side, name, value, other, clue):
                setting = Setting(object_.type, name, wanted)
                score = _WEIGHTS[basis] + len(_words(name, object_.type) & clue.words)
                yield Candidate(side, setting, _text(value), basis, why, score)


def _involved(object_: Object, clue: _Clue) -> bool:
    return object_.from_command_line or bool(_words(object_.type) & clue.words)


def _wanted(
    side: Side, name: str, value: Value, other: Object | None, clue: _Clue
) -> Iterator[tuple[str, str, str]]:
    """Values to try for a property that is `value` here: text, basis, reason."""
    mine = _text(value)
    if other is not None and name in other.values and _text(other.values[name]) != mine:
        theirs = _text(other.values[name])
        yield theirs, "difference", f"the other side has {theirs!r}, this side {mine!r}"
    elif other is not None and name not in other.settable and mine in _SWITCHES:
        yield _SWITCHES[mine], "switch", f"the other side does not have {name!r}, this side has it {mine!r}"
    if not isinstance(value, bool) and isinstance(value, int):
        for number in clue.others(side, value):
            yield str(number), "number", f"the failure shows {value} and {number}"


def _text(value: Value) -> str:
    """As a command line wants it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)


def _words(*texts: str) -> frozenset[str]:
    words = (word for text in texts for word in _WORD.findall(text.casefold()))
    return frozenset(word for word in words if len(word) > 1) - _COMMON


def compatible(chosen: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates without later ones for a property that an earlier one sets already."""
    taken: dict[tuple[Side, str, str], Candidate] = {}
    for candidate in chosen:
        taken.setdefault((candidate.side, candidate.setting.type, candidate.setting.name), candidate)
    return tuple(taken.values())

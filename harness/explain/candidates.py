# SPDX-License-Identifier: Apache-2.0
"""Properties that may heal a failure, most plausible first.

A candidate is a setting for one side. Four things make one: a value that differs between the two sides, a property
that only one side has (a compatibility switch added later, say), a number that the failure shows, and a line of a
compat table for the device or a base type of it.

1. Only the devices involved count: those that the reproducer's arguments made, and those that the cause names.
2. If the two sides have different values, each may take the other's.
3. A switch that only one side has is turned over.
4. If a property has the number that its side has at the blamed value, it takes the other side's number. Without a
   blamed value, any two numbers of the message are exchanged. Numbers below 2 are everywhere and say nothing.
5. A table line for the machine that this build does not apply is set. One that it applies is taken back to the type's
   own default, if the failure's words point to it; that is tried last, and never together with others.
6. Names are compared word by word with the words of the cause and of the blamed values; each hit counts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.compat.lookup import table_entries
from migmatrix.harness.compat.values import opposite, same, text_of
from migmatrix.harness.explain.where import numbers
from migmatrix.harness.releases import hw_compat_name
from migmatrix.harness.trials.records import Setting, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explain.records import Difference
    from migmatrix.harness.model import Cause
    from migmatrix.harness.trials.qom import MachineView, Object, Value

__all__ = ["Candidate", "candidates"]

_WORD = re.compile(r"[a-z]+|\d+")
# Words that say nothing about which device or field is meant.
_COMMON = frozenset(
    {"x", "device", "pci", "virtio", "for", "of", "the", "is", "not", "failed", "load", "state"}
)
_TELLING = 2  # rule 4
# How much each basis counts beside a common word.
_WEIGHTS = {"difference": 4, "number": 3, "table": 3, "switch": 1, "default": 0}
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
    """What the failure shows: words of the cause and of the blamed values, numbers to exchange.

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
    source: MachineView,
    destination: MachineView,
    cause: Cause,
    where: Sequence[Difference],
    machine: str = "",
) -> tuple[Candidate, ...]:
    """All candidates for the two sides of a failing migration, most plausible first, each setting once.

    `machine` is the machine type, for the compat tables; without it they are not asked.
    """
    clue = _Clue.of(cause, where)
    found: dict[tuple[Side, Setting], Candidate] = {}
    for candidate in (
        *_on(Side.DESTINATION, destination, source, clue),
        *_on(Side.SOURCE, source, destination, clue),
        *_listed(Side.DESTINATION, destination, clue, machine),
        *_listed(Side.SOURCE, source, clue, machine),
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
                yield Candidate(side, setting, text_of(value), basis, why, score)


def _listed(side: Side, here: MachineView, clue: _Clue, machine: str) -> Iterator[Candidate]:
    """Lines of tables for the devices involved, the build's own first (rule 5)."""
    for object_ in here.objects:
        if not _involved(object_, clue):
            continue
        for origin, device, name, value in _lines(here, machine, here.base_types(object_.type)):
            if name not in object_.settable or name not in object_.values or name in _LEFT_OUT:
                continue
            now = text_of(object_.values[name])
            for wanted, basis, why in _line_wanted(now, value, object_.defaults.get(name), origin, device):
                setting = Setting(object_.type, name, wanted)
                score = _WEIGHTS[basis] + len(_words(name, object_.type) & clue.words)
                if basis != "default" or _words(name) & clue.words:
                    yield Candidate(side, setting, now, basis, why, score)


def _lines(here: MachineView, machine: str, types: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Table lines for some types: where from, type, property, value. Of lines for one property the last applies."""
    own = {name: ("this build's own table", type_, name, value) for type_, name, value in here.compat or ()
           if type_ in types}  # fmt: skip
    listed = {
        entry.property: (hw_compat_name(version), entry.device, entry.property, entry.value)
        for version, entry in table_entries(machine, types)
    }
    yield from dict.fromkeys((*own.values(), *listed.values()))


def _line_wanted(
    now: str, value: str, default: Value | None, origin: str, device: str
) -> Iterator[tuple[str, str, str]]:
    """What to try of one line: its value where it is not in effect, else the type's own default."""
    if not same(now, value):
        yield value, "table", f"{origin} sets it to {value!r} for {device}, here it is {now!r}"
    elif default is not None and not same(text_of(default), value):
        yield (
            text_of(default),
            "default",
            f"{origin} sets it to {value!r} for {device}, the default is {text_of(default)!r}",
        )


def _involved(object_: Object, clue: _Clue) -> bool:
    return object_.from_command_line or bool(_words(object_.type) & clue.words)


def _wanted(
    side: Side, name: str, value: Value, other: Object | None, clue: _Clue
) -> Iterator[tuple[str, str, str]]:
    """Values to try for a property that is `value` here: text, basis, reason."""
    mine = text_of(value)
    if other is not None and name in other.values and text_of(other.values[name]) != mine:
        theirs = text_of(other.values[name])
        yield theirs, "difference", f"the other side has {theirs!r}, this side {mine!r}"
    elif other is not None and name not in other.settable and (turned := opposite(mine)):
        yield turned, "switch", f"the other side does not have {name!r}, this side has it {mine!r}"
    if not isinstance(value, bool) and isinstance(value, int):
        for number in clue.others(side, value):
            yield str(number), "number", f"the failure shows {value} and {number}"


def _words(*texts: str) -> frozenset[str]:
    words = (word for text in texts for word in _WORD.findall(text.casefold()))
    return frozenset(word for word in words if len(word) > 1) - _COMMON


def compatible(chosen: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """The candidates without later ones for a property that an earlier one sets already."""
    taken: dict[tuple[Side, str, str], Candidate] = {}
    for candidate in chosen:
        taken.setdefault((candidate.side, candidate.setting.type, candidate.setting.name), candidate)
    return tuple(taken.values())

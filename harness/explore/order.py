# SPDX-License-Identifier: Apache-2.0
"""What is tried when. Pure, and the same for the same seed.

1. Each device plain, and each topology.
2. Each option alone, each place, two and three of a device, each machine option, each property of a built-in device.
   Options in which builds differ come first of all devices, those that only compat tables set (``x-``) last: breaks are
   where something changed between versions.
3. Pairs: of the values of one device's options by a covering array (`allpairspy`), and of two devices. Of the devices
   of the table's `popular`.
4. Walks: variations of candidates that showed something new or failed, for as long as the budget lasts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

from allpairspy import AllPairs

from migmatrix.harness.explore.records import Candidate, Kind, Part, Phase
from migmatrix.harness.explore.values import changed, values_of
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.harness.explore.records import Device, Space
    from migmatrix.harness.explore.table import Table

__all__ = ["Order"]

_OFTEN = (2, 3)  # how many of a device are tried
_AT_MOST = 4  # values of an option in a covering array
_STEPS = 3  # changes of one walk at most
_PAIRED = 2  # devices of a pair, and factors that a covering array needs at least


@dataclass(frozen=True)
class Order:
    """The candidates of a space; `devices` is a glob that narrows it to some of them, `depth` ends it after a phase."""

    space: Space
    table: Table
    devices: str = "*"
    seed: int = 0

    def of(self, phase: Phase) -> Iterator[Candidate]:
        """The candidates of a phase from 1 to 3."""
        found = {Phase.PLAIN: self._plain, Phase.SINGLE: self._alone, Phase.PAIR: self._pairs}[phase]
        for parts in found():
            yield Candidate(parts, phase)

    def _plain(self) -> Iterator[tuple[Part, ...]]:
        for device in self.chosen():
            yield (Part(Kind.DEVICE, device.name),)
        for name in self.table.topologies if self.devices == "*" else ():
            yield (Part(Kind.TOPOLOGY, name),)

    def _alone(self) -> Iterator[tuple[Part, ...]]:
        found = [one for device in self._with_options() for one in self._singles(*device)]
        for _, part in sorted(found, key=lambda one: one[0]):  # stable: by device within a rank
            yield (part,)

    def _pairs(self) -> Iterator[tuple[Part, ...]]:
        devices = [d for d in self.chosen() if d.name in self.table.popular]
        rows: list[tuple[Part, ...]] = [(row,) for device in devices for row in self._covering(device)]
        named = (Part(Kind.DEVICE, device.name) for device in devices)
        found = [*rows, *combinations(named, _PAIRED)]
        Random(self.seed).shuffle(found)  # noqa: S311 - no secret
        yield from found

    def walk(self, corpus: Sequence[Candidate], number: int) -> Candidate | None:
        """The `number`-th variation of what was worth it; None when there is nothing to vary."""
        random = Random(f"{self.seed} {number}")  # noqa: S311 - no secret
        names = [device.name for device in self.chosen()]
        if not corpus or not names:
            return None
        parts = list(random.choice(corpus).parts)
        for _ in range(random.randint(1, _STEPS)):
            self._step(parts, names, random)
        return Candidate(tuple(parts), Phase.WALK)

    def chosen(self) -> list[Device]:
        """The devices that are tried."""
        return [device for name, device in self.space.devices.items() if glob_match(name, self.devices)]

    def options(self, device: Device) -> Iterator[tuple[str, tuple[str, ...]]]:
        """The options of a device that are tried, each with its values."""
        for name, option in device.options.items():
            values = (
                ()
                if self.table.away_option(device.name, name)
                else values_of(device.name, option, self.table)
            )
            if values:
                yield name, values

    def _with_options(self) -> Iterator[tuple[Kind, Device]]:
        yield from ((Kind.DEVICE, device) for device in self.chosen())
        if self.devices == "*":
            yield from ((Kind.MACHINE, family) for family in self.space.machine.values())
        built_in = {n: d for its in self.space.built_in.values() for n, d in its.items()}
        for name, device in sorted(built_in.items()):
            if glob_match(name, self.devices):
                yield Kind.BUILT_IN, device

    def _singles(self, kind: Kind, device: Device) -> Iterator[tuple[int, Part]]:
        for name, values in self.options(device):
            rank = 2 if name.startswith("x-") else 1
            rank = 0 if changed(device.options[name], device.builds) else rank
            yield from ((rank, Part(kind, device.name, ((name, value),))) for value in values)
        if kind is Kind.DEVICE:
            places = {p.name for base in device.bases[:-1] for p in self.table.places.get(base, ())}
            first = next((ps[0].name for base in device.bases if (ps := self.table.places.get(base))), "")
            yield from ((1, Part(kind, device.name, place=place)) for place in sorted(places - {first}))
            yield from ((1, Part(kind, device.name, count=number)) for number in _OFTEN)

    def _covering(self, device: Device) -> Iterator[Part]:
        """Every pair of values of two options at least once; the empty text leaves an option as it is."""
        names, factors = [], []
        for name, values in self.options(device):
            if not name.startswith("x-"):
                names.append(name)
                factors.append(["", *values[:_AT_MOST]])
        for row in AllPairs(factors) if len(factors) >= _PAIRED else ():
            yield Part(Kind.DEVICE, device.name, tuple((n, v) for n, v in zip(names, row, strict=True) if v))

    def _step(self, parts: list[Part], names: Sequence[str], random: Random) -> None:
        """Change one thing: set or drop an option, move a device, one more of it, another device beside it."""
        at = random.randrange(len(parts))
        part = parts[at]
        device = self.space.devices.get(part.name) if part.kind is Kind.DEVICE else None
        what = random.choice(("set", "set", "set", "drop", "move", "count", "beside"))
        if what == "beside" or device is None:
            parts.append(Part(Kind.DEVICE, random.choice(names)))
        elif what == "set" and (options := list(self.options(device))):
            name, values = random.choice(options)
            kept = tuple(pair for pair in part.options if pair[0] != name)
            parts[at] = replace(part, options=(*kept, (name, random.choice(values))))
        elif what == "drop" and part.options:
            parts[at] = replace(part, options=part.options[:-1])
        elif what == "move":
            places = [p.name for base in device.bases[:-1] for p in self.table.places.get(base, ())]
            parts[at] = replace(part, place=random.choice(places or [""]))
        else:
            parts[at] = replace(part, count=random.choice((1, *_OFTEN)))

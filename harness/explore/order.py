# SPDX-License-Identifier: Apache-2.0
"""What is tried when. Pure, and the same for the same seed.

1. Each device plain, and each topology.
2. Each option alone, each place, two and three of a device, each machine option, each property of a built-in device, by
   `_Rank`: what is likely to break first, so that a search may leave the rest for later.
3. Pairs, of the devices of the table's `popular`: crowds of them on topologies (`crowds`), then the values of one device's
   options and its place by a covering array (`allpairspy`). Two devices alone are for a search that has all the time.
4. Walks: variations of candidates that showed something new or failed, for as long as the budget lasts.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from enum import IntEnum
from itertools import combinations
from random import Random
from typing import TYPE_CHECKING

from allpairspy import AllPairs

from migmatrix.harness.explore.crowds import crowds
from migmatrix.harness.explore.described import is_of
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


_PLACE = "@"  # the place among the factors of a covering array; no option is called so


class _Rank(IntEnum):
    """How likely an option is to break something: breaks are where something changed between versions.

    Options come in by whole bases (every PCI device has `romsize`), and what handles one is the same code for all devices
    of it: the first of each is likely, the others are not.
    """

    CHANGED = 0  # builds differ in its default, or some lack it
    DESCRIBED = 1  # builds differ in the state of the device
    FIRST = 2  # no device before it had this option
    REPEATED = 3
    PRIVATE = 4  # only compat tables set it (``x-``)


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

    def likely(self) -> Iterator[Candidate]:
        """The first of those of phase 2."""
        yield from (Candidate((part,), Phase.SINGLE) for rank, part in self._ranked() if rank <= _Rank.FIRST)

    def unlikely(self) -> Iterator[Candidate]:
        """The others of phase 2."""
        yield from (Candidate((part,), Phase.SINGLE) for rank, part in self._ranked() if rank > _Rank.FIRST)

    def couples(self) -> Iterator[Candidate]:
        """Two devices and nothing else, of phase 3."""
        named = (Part(Kind.DEVICE, name) for name in self._popular())
        yield from (Candidate(two, Phase.PAIR) for two in combinations(named, _PAIRED))

    def together(self) -> Iterator[Candidate]:
        """Those of phase 3 that say most: crowds of devices."""
        random = Random(self.seed)  # noqa: S311 - no secret
        for parts in crowds(self._popular(), self._topologies(), random):
            yield Candidate(parts, Phase.PAIR)

    def arrays(self) -> Iterator[Candidate]:
        """The covering arrays of phase 3, of all devices in turns."""
        rows = self._arrays()
        Random(self.seed).shuffle(rows)  # noqa: S311 - no secret
        yield from (Candidate(row, Phase.PAIR) for row in rows)

    def _plain(self) -> Iterator[tuple[Part, ...]]:
        for device in self.chosen():
            yield (Part(Kind.DEVICE, device.name),)
        for name in self._topologies():
            yield (Part(Kind.TOPOLOGY, name),)

    def _topologies(self) -> list[str]:
        return list(self.table.topologies) if self.devices == "*" else []

    def _popular(self) -> list[str]:
        return [device.name for device in self.chosen() if device.name in self.table.popular]

    def _alone(self) -> Iterator[tuple[Part, ...]]:
        for _, part in self._ranked():
            yield (part,)

    def _ranked(self) -> list[tuple[_Rank, Part]]:
        """Every option, place and number alone, the likeliest to break first; popular devices are asked first."""
        before: Counter[tuple[object, ...]] = Counter()
        found: list[tuple[_Rank, int, Part]] = []
        for kind, device in sorted(
            self._with_options(), key=lambda one: one[1].name not in self.table.popular
        ):
            for number, (rank, part) in enumerate(self._singles(kind, device)):
                trait = (kind is Kind.MACHINE, part.options, part.place, part.count)
                repeated = rank is _Rank.FIRST and before[trait]
                before[trait] += 1
                found.append(
                    (_Rank.REPEATED if repeated else rank, before[trait] if repeated else number, part)
                )
        return [(rank, part) for rank, _, part in sorted(found, key=lambda one: one[:2])]

    def _pairs(self) -> Iterator[tuple[Part, ...]]:
        found = [*self._arrays(), *(candidate.parts for candidate in self.couples())]
        Random(self.seed).shuffle(found)  # noqa: S311 - no secret
        yield from found

    def walk(self, corpus: Sequence[Candidate], number: int) -> Candidate | None:
        """The `number`-th variation of what was worth it; None when there is nothing to vary."""
        random = Random(f"{self.seed} {number}")  # noqa: S311 - no secret
        names = [device.name for device in self.chosen()]
        if not corpus or not names:
            return None
        parts = list(random.choice(corpus).parts) or [Part(Kind.DEVICE, random.choice(names))]
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

    def _singles(self, kind: Kind, device: Device) -> Iterator[tuple[_Rank, Part]]:
        usual = _Rank.DESCRIBED if is_of(device.name, self.space.described) else _Rank.FIRST
        if kind is Kind.DEVICE:
            yield from ((usual, Part(kind, device.name, place=place)) for place in self._places(device))
            yield from ((usual, Part(kind, device.name, count=number)) for number in _OFTEN)
        for name, values in self.options(device):
            rank = _Rank.PRIVATE if name.startswith("x-") else usual
            rank = _Rank.CHANGED if changed(device.options[name], device.builds) else rank
            yield from ((rank, Part(kind, device.name, ((name, value),))) for value in values)

    def _places(self, device: Device) -> list[str]:
        """Where else than at the usual place a device can be."""
        places = {p.name for base in device.bases[:-1] for p in self.table.places.get(base, ())}
        first = next((ps[0].name for base in device.bases if (ps := self.table.places.get(base))), "")
        return sorted(places - {first})

    def _arrays(self) -> list[tuple[Part, ...]]:
        """The covering arrays of all popular devices."""
        return [(row,) for name in self._popular() for row in self._covering(self.space.devices[name])]

    def _covering(self, device: Device) -> Iterator[Part]:
        """Every pair of values of two options, and each with each place, at least once; "" leaves one as it is."""
        factors = {_PLACE: ["", *self._places(device)]}
        for name, values in self.options(device):
            if not name.startswith("x-"):
                factors[name] = ["", *values[:_AT_MOST]]
        for row in AllPairs(list(factors.values())) if len(factors) > _PAIRED else ():
            options = dict(zip(factors, row, strict=True))
            place = options.pop(_PLACE)
            yield Part(Kind.DEVICE, device.name, tuple(pair for pair in options.items() if pair[1]), place)

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

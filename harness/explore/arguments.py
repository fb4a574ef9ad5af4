# SPDX-License-Identifier: Apache-2.0
"""A candidate as a command line, and the builds that know all of it. Pure.

1. Each device gets a number; what it is plugged into and what its options name are made with that number.
2. An option of the candidate wins over what the table would set.
3. A candidate that a machine has no place for has no command line.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from migmatrix.harness.explore.records import Kind
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.harness.explore.records import Candidate, Device, Part, Space
    from migmatrix.harness.explore.table import Place, Table

__all__ = ["Writer"]


@dataclass(frozen=True, slots=True)
class Writer:
    """Writes candidates as arguments, by what builds and the table say."""

    space: Space
    table: Table

    def arguments(self, candidate: Candidate, machine: str) -> tuple[str, ...] | None:
        """What is added to the machine; None when this machine has no place for a part (rule 3)."""
        numbers = count(1)
        words: list[str] = []
        for part in candidate.parts:
            added = self._part(part, machine, numbers)
            if added is None:
                return None
            words += added
        return tuple(words)

    def knowing(self, candidate: Candidate, machine: str, builds: Iterable[str]) -> tuple[str, ...]:
        """Those of `builds` that know every device and option of a candidate."""
        return tuple(b for b in builds if all(self._knows(b, part, machine) for part in candidate.parts))

    def device_of(self, part: Part, machine: str) -> Device | None:
        """What builds say of a part's device, built-in device or machine; None of a topology."""
        if part.kind is Kind.DEVICE:
            return self.space.devices.get(part.name)
        if part.kind is Kind.BUILT_IN:
            return self.space.built_in.get(machine, {}).get(part.name)
        return self.space.machine.get(part.name) if part.kind is Kind.MACHINE else None

    def _knows(self, build: str, part: Part, machine: str) -> bool:
        if part.kind is Kind.TOPOLOGY:
            return True
        device = self.device_of(part, machine)
        return (
            device is not None
            and build in device.builds
            and all(
                name in device.options and build in device.options[name].defaults for name, _ in part.options
            )
        )

    def _part(self, part: Part, machine: str, numbers: Iterator[int]) -> list[str] | None:
        if part.kind is Kind.TOPOLOGY:
            topology = self.table.topologies[part.name]
            return list(topology.args) if _fits(machine, topology.machines) else None
        if part.kind is Kind.MACHINE:
            words = ["-machine", ",".join(f"{name}={value}" for name, value in part.options)]
            return _numbered([*self._backing(part), *words], next(numbers))
        if part.kind is Kind.BUILT_IN:
            if part.name not in self.space.built_in.get(machine, {}):
                return None
            words = [
                word for name, value in part.options for word in ("-global", f"{part.name}.{name}={value}")
            ]
            return _numbered([*self._backing(part), *words], next(numbers))
        words = []
        for _ in range(part.count):
            one = self._device(part, machine, next(numbers))
            if one is None:
                return None
            words += one
        return words

    def _backing(self, part: Part) -> Iterator[str]:
        """The arguments of what the options of a part name."""
        for name, value in part.options:
            backend = self.table.backend(part.name, name)
            if backend is not None and backend.value == value:
                yield from backend.args

    def _device(self, part: Part, machine: str, number: int) -> list[str] | None:
        device = self.space.devices[part.name]
        place = self._place(device, part.place, machine)
        if place is None:
            return None
        words, options = list(place.args), dict(place.options)
        chosen = dict(part.options)
        for name in device.options:
            backend = self.table.backend(part.name, name)
            if backend is None or self.table.away_option(part.name, name):
                continue
            if backend.value == chosen.get(name) or not (backend.optional or name in chosen):
                words += backend.args
                options |= {name: backend.value} if backend.value else {}
                options |= {n: v for n, v in backend.with_options.items() if n in device.options}
        options |= chosen
        words += ["-device", ",".join((part.name, *(f"{name}={value}" for name, value in options.items())))]
        return _numbered(words, number)

    def _place(self, device: Device, wanted: str, machine: str) -> Place | None:
        places = self.table.places_of(device.bases, machine)
        return next((place for place in places if wanted in ("", place.name)), None)


def _numbered(words: Iterable[str], number: int) -> list[str]:
    return [word.replace("{n}", str(number)) for word in words]


def _fits(name: str, globs: Iterable[str]) -> bool:
    return any(glob_match(name, glob) for glob in globs)

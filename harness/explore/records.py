# SPDX-License-Identifier: Apache-2.0
"""What a search is about, as plain records; start from `Candidate`.

A candidate is what is added to a machine: devices with options and a place, properties of built-in devices, machine
options, a topology. It is the same on every machine and every build; `arguments` makes a command line of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Candidate", "Case", "Device", "Kind", "Option", "Part", "Phase", "Space"]


class Kind(StrEnum):
    """What a part is."""

    DEVICE = "device"  # -device NAME,options
    BUILT_IN = "built-in"  # -global NAME.option=value, of a device that the machine has by itself
    MACHINE = "machine"  # -machine option=value; the name is a family of machine types
    TOPOLOGY = "topology"  # arguments that the table names


class Phase(StrEnum):
    """Why a candidate is tried, in the order of the search."""

    PLAIN = "plain"
    SINGLE = "single"
    PAIR = "pair"
    WALK = "walk"


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """One thing of a candidate; `options` are (name, value); `place` is a name of the table, empty for the first."""

    kind: Kind
    name: str
    options: tuple[tuple[str, str], ...] = ()
    place: str = ""
    count: int = 1

    @property
    def text(self) -> str:
        """``virtio-blk-pci,num-queues=4 behind port x 2``."""
        words = ",".join((self.name, *(f"{name}={value}" for name, value in self.options)))
        more = f" at {self.place}" if self.place else ""
        return f"{words}{more}{f' x {self.count}' if self.count > 1 else ''}"


@dataclass(frozen=True, slots=True, order=True)
class Candidate:
    """What is tried; its parts stand in the order of the command line."""

    parts: tuple[Part, ...]
    phase: Phase

    @property
    def text(self) -> str:
        """Its parts, for people."""
        return " + ".join(part.text for part in self.parts) or "the machine alone"


@dataclass(frozen=True, slots=True)
class Case:
    """A candidate on a machine with its whole arguments, and the builds that start it, oldest first."""

    candidate: Candidate
    machine: str
    arguments: tuple[str, ...]
    builds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    """A property that can be set.

    `defaults` has a text, or None where a build does not tell it, for each build that has the property. `type` and
    `description` are those of the newest such build (QMP `device-list-properties`).
    """

    name: str
    type: str
    description: str
    defaults: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Device:
    """A device type with its settable options; `bases` are its base types, nearest first, of the newest build.

    `left_out` are properties that are no options of a search, each with the reason.
    """

    name: str
    bases: tuple[str, ...]
    options: Mapping[str, Option]
    builds: frozenset[str]
    left_out: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Space:
    """All that builds tell.

    `devices` are those that a command line can add. `built_in` has, by machine type, the devices that it has by
    itself. `machine` has the options of machine types by family. `described` are types whose state differs between builds,
    by their own word (`described.differing`).
    """

    devices: Mapping[str, Device]
    built_in: Mapping[str, Mapping[str, Device]] = field(default_factory=dict)
    machine: Mapping[str, Device] = field(default_factory=dict)
    described: frozenset[str] = frozenset()

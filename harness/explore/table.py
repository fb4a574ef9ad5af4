# SPDX-License-Identifier: Apache-2.0
"""``machines/explore.yaml``: what a search cannot ask of an emulator.

Where a device is put, which back ends its options name, which values are worth trying, and what is no matter of
migration and stays away. Read as strictly as a matrix: a mistake has its position.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict, TypeAdapter

from migmatrix.harness.config.nodes import read_document
from migmatrix.harness.config.records import ConfigModel, Count, Flag, Text, validate
from migmatrix.harness.config.shipped import shipped
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["Backend", "Place", "Table", "load_table"]

_Words = tuple[Text, ...]
_Value = Annotated[str, Strict()]  # may be empty: `romfile=`


class Place(ConfigModel):
    """Somewhere a device of a base type can be.

    ``{n}`` in `args` and `options` stands for a number that no other device of the command line has.
    """

    name: Text
    args: _Words = ()
    options: dict[Text, _Value] = Field(default_factory=dict)
    machines: _Words = ("*",)


class Backend(ConfigModel):
    """What an option of a device names: the arguments that make it, and the value that the option gets then.

    `with_options` are set on the device beside it. An `optional` one is a value to try, any other is always there.
    """

    option: Text
    devices: _Words = ("*",)
    args: _Words = ()
    value: _Value
    optional: Flag = False
    with_options: dict[Text, _Value] = Field(default_factory=dict)


class Values(ConfigModel):
    """Values for options of a name, or of a type."""

    option: Text = "*"
    type: Text = "*"
    devices: _Words = ("*",)
    values: tuple[_Value, ...]


class Away(ConfigModel):
    """Devices or options that are not tried, and why."""

    device: Text = "*"
    option: Text | None = None
    why: Text


class Topology(ConfigModel):
    """Arguments that are a candidate of their own."""

    args: _Words
    machines: _Words = ("*",)


class Table(ConfigModel):
    """The whole file. The first entry that fits counts; devices and options are globs."""

    places: dict[Text, tuple[Place, ...]]
    backends: tuple[Backend, ...]
    values: tuple[Values, ...]
    away: tuple[Away, ...]
    topologies: dict[Text, Topology]
    popular: tuple[Text, ...]
    numbers: tuple[Count, ...]

    def places_of(self, bases: Iterable[str], machine: str) -> tuple[Place, ...]:
        """Where a device with these base types can be on a machine; empty when the table does not know."""
        for base in bases:
            if base in self.places:
                return tuple(p for p in self.places[base] if _fits(machine, p.machines))
        return ()

    def backend(self, device: str, option: str) -> Backend | None:
        """What an option of a device names."""
        return next((b for b in self.backends if b.option == option and _fits(device, b.devices)), None)

    def given(self, device: str, option: str, type_: str) -> tuple[str, ...]:
        """The values that the table has for an option of a device; empty when it has none."""
        for row in self.values:
            if glob_match(option, row.option) and glob_match(type_, row.type) and _fits(device, row.devices):
                return row.values
        return ()

    def away_device(self, device: str) -> str:
        """Why a device is not tried; empty when it is."""
        return next((a.why for a in self._devices_away if glob_match(device, a.device)), "")

    def away_option(self, device: str, option: str) -> str:
        """Why an option of a device is not tried; empty when it is."""
        for row in self.away:
            if row.option and glob_match(option, row.option) and glob_match(device, row.device):
                return row.why
        return ""

    @cached_property
    def _devices_away(self) -> tuple[Away, ...]:
        return tuple(row for row in self.away if row.option is None)


_TABLE = TypeAdapter(Table)


def load_table(path: Path | None = None) -> Table:
    """Read the table, by default the one that comes with the program; ConfigError for a mistake."""
    document = read_document(path or shipped("machines", "explore.yaml"))
    return validate(_TABLE, document)


def _fits(name: str, globs: Iterable[str]) -> bool:
    return any(glob_match(name, glob) for glob in globs)

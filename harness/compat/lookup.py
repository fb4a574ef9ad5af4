# SPDX-License-Identifier: Apache-2.0
"""Looks up lines of the program's compat tables, by device type and by value.

A line names a device type or one of its base types, and applies to machine types of its table's version and older ones.
The tables are those of the newest build that told them, with the release in which each line shipped (`tables`); a build
of 9.1 or later tells its own lines itself (`MachineView.compat`).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from migmatrix.harness.compat.tables import read
from migmatrix.harness.compat.values import same
from migmatrix.harness.releases import line, table_line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from migmatrix.harness.compat.tables import Entry, Table

__all__ = ["known_entry", "sets_property", "table_entries"]


@cache
def _tables() -> dict[str, Table]:
    return read()


def table_entries(machine: str, types: Collection[str]) -> Iterator[tuple[str, Entry]]:
    """Lines for some types in the tables that apply to a machine type: (version, line), newest table first.

    A machine type without a version of QEMU has none.
    """
    oldest = table_line(machine)
    for version, table in _tables().items():
        if version and oldest and line(version) >= oldest:
            yield from ((version, entry) for entry in table.entries if entry.device in types)


def known_entry(types: Collection[str], name: str, value: str) -> tuple[str, Entry] | None:
    """The line of any table that sets a property of one of `types` to `value`; the newest table's, None without."""
    for version, table in _tables().items():
        for entry in table.entries:
            if version and entry.device in types and entry.property == name and same(entry.value, value):
                return version, entry
    return None


def sets_property(type_: str, name: str) -> bool:
    """Whether any table sets a property of a device type, or of the virtio device that a proxy of that type has."""
    types = (type_, f"{type_.removesuffix('-pci')}-device")
    return any(
        entry.device in types and entry.property == name
        for table in _tables().values()
        for entry in table.entries
    )

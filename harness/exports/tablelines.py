# SPDX-License-Identifier: Apache-2.0
"""Where the entries of compat tables stand: file and line of each, by table, device and property."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from migmatrix.harness.compat.tables import file_name
from migmatrix.harness.errors import Position
from migmatrix.harness.exports.places import from_here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["TableLines"]

_LISTS = ("entries", "pc_entries")


class TableLines:
    """The tables of a directory; each file is read when it is asked for."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[str, dict[tuple[str, str], Position]] = {}

    def of(self, table: str, device: str, name: str) -> Position:
        """The first entry for a property in a table ("7.2", or "" for all versions'), else the table's top."""
        return self.find(table, device, name) or Position(self._name(table), 1, 1)

    def find(self, table: str, device: str, name: str) -> Position | None:
        """The same, None for a table without such an entry."""
        if table not in self._known:
            self._known[table] = dict(reversed(list(self._entries(table))))  # the first of several
        return self._known[table].get((device, name))

    def tables(self) -> Iterator[str]:
        """The versions that have a table."""
        for path in sorted(self._directory.glob("hw_compat_*.yaml")):
            yield path.stem.removeprefix("hw_compat_").replace("_", ".")

    def _name(self, table: str) -> str:
        path = (self._directory / file_name(table)).absolute()
        return from_here(str(path)) or str(path)

    def _entries(self, table: str) -> Iterator[tuple[tuple[str, str], Position]]:
        """Each entry's key and position; none for a table that has no file."""
        path = self._directory / file_name(table)
        if not path.is_file():
            return
        root: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        lists = {key.value: value for key, value in root.value if key.value in _LISTS}
        for entry in (entry for name in _LISTS if name in lists for entry in lists[name].value):
            said = {key.value: value.value for key, value in entry.value}
            mark = entry.start_mark
            yield (
                (said["device"], said["property"]),
                Position(self._name(table), mark.line + 1, mark.column + 1),
            )

# SPDX-License-Identifier: Apache-2.0
"""Releases as data: which machine types, compat tables, capabilities, parameters and devices one release has.

`load` reads ``machines/*.yaml`` and ``compat/*.yaml`` and keeps what lives in one release; `freeze` writes that as one
marshal file, `thaw` reads it in a millisecond, without YAML and without looking for device modules.

1. A release has what has begun (`since`) and not ended (`until`) by then; nothing here compares releases otherwise.
2. A machine type of version X.Y has all tables from the release before the newest down to ``hw_compat_X_Y``,
   newest first: the oldest is applied last and wins, as in QEMU.
3. An entry of a table counts from the release that first shipped it: the one that followed X.Y, unless it says so.
"""

from __future__ import annotations

import marshal
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import FatalError
from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

__all__ = ["CompatEntry", "MachineType", "Release", "data_root", "freeze", "load", "open_release", "thaw"]

_FORMAT: Final = 2  # raised when the layout of a frozen release changes
_MARSHAL: Final = 2  # the last version without references: equal facts give equal bytes on every Python


class CompatEntry(NamedTuple):
    """One line of a compat table; `boards` is empty when it is for all."""

    device: str
    property: str
    value: str
    boards: tuple[str, ...] = ()


class MachineType(Record):
    """One machine type. `compat` names its tables, newest first; `version` is "" for boards without versions.

    `deprecated` is the reason that QEMU prints, or "".
    """

    name: str
    board: str
    version: str
    description: str
    alias: str = ""
    default: bool = False
    deprecated: str = ""
    compat: tuple[str, ...] = ()
    max_cpus: int = 1
    default_cpu: str = ""
    default_ram_id: str = ""
    numa_mem_supported: bool = False
    hotpluggable_cpus: bool = False
    acpi: bool = False
    prefer_sockets: bool = False  # processors left over by -smp become sockets, not cores


class Release:
    """One release as data, called `name`. Get one from `open_release`, `load` or `thaw`."""

    __slots__ = (
        "_classes",
        "boards",
        "capabilities",
        "compat",
        "devices",
        "machine_types",
        "name",
        "parameters",
    )

    def __init__(self, facts: dict[str, Any]) -> None:
        self.name: str = facts["name"]
        self.machine_types = {values[0]: MachineType(*values) for values in facts["machine_types"]}
        self.compat: dict[str, list[tuple[Any, ...]]] = facts["compat"]
        self.capabilities: list[str] = facts["capabilities"]
        self.parameters: dict[str, Any] = facts["parameters"]
        self.boards: dict[str, Any] = facts["boards"]
        self.devices: dict[str, tuple[str, str]] = facts["devices"]
        self._classes: dict[str, type[Device]] = {}

    def facts(self) -> dict[str, Any]:
        """Plain data from which the same release is made again."""
        types = [tuple(getattr(t, n) for n in t.__match_args__) for t in self.machine_types.values()]
        return {
            "name": self.name, "machine_types": types, "compat": self.compat, "capabilities": self.capabilities,
            "parameters": self.parameters, "boards": self.boards, "devices": self.devices,
        }  # fmt: skip

    def machine_type(self, name: str) -> MachineType | None:
        """The machine type of this name or alias."""
        found = self.machine_types.get(name)
        return found or next((t for t in self.machine_types.values() if t.alias == name), None)

    @property
    def default_machine(self) -> MachineType:
        """The machine type that runs without `-M`."""
        return next(t for t in self.machine_types.values() if t.default)

    def compat_entries(self, machine: MachineType) -> list[CompatEntry]:
        """The compat entries of a machine type, in the order in which they apply."""
        every = [CompatEntry(*e) for table in ("base", *machine.compat) for e in self.compat.get(table, ())]
        return [entry for entry in every if not entry.boards or machine.board in entry.boards]

    def device_class(self, type_name: str) -> type[Device] | None:
        """The class of a type or alias that this release has; imports its module."""
        found = self._classes.get(type_name)
        if found is None and type_name in self.devices:
            module, name = self.devices[type_name]
            found = self._classes[type_name] = getattr(__import__(module, fromlist=[name]), name)
        return found


def data_root() -> str:
    """The directory that holds ``machines`` and ``compat``: `migmatrix`'s own data."""
    from pathlib import Path  # noqa: PLC0415 - not needed to start from a frozen file

    return str(Path(__file__).parents[1] / "data")


def open_release(name: str, frozen: str | None = None) -> Release:
    """Read `name` from the frozen file if given, else from the data files; FatalError if neither has it."""
    release = thaw(frozen) if frozen else load(name)
    if name and release.name != name:
        raise FatalError(f"release file is of release '{release.name}', not '{name}'")
    return release


def load(name: str) -> Release:
    """`name` from the data files; FatalError for a release that they do not have."""
    from migmatrix.emulator.release_data import read_facts  # noqa: PLC0415 - YAML only where it is needed

    return Release(read_facts(name, data_root()))


def freeze(release: Release, path: str | os.PathLike[str]) -> None:
    """Write everything that `thaw` needs; the file appears whole or not at all."""
    partial = f"{os.fspath(path)}.{os.getpid()}"
    with open(partial, "wb") as out:  # noqa: PTH123 - pathlib is not loaded at start
        marshal.dump((_FORMAT, release.facts()), out, _MARSHAL)
    os.replace(partial, path)  # noqa: PTH105


def thaw(path: str | os.PathLike[str]) -> Release:
    """Read a release from `freeze`'s file; FatalError if it is no such file or has another layout."""
    try:
        with open(path, "rb") as source:  # noqa: PTH123
            layout, facts = marshal.load(source)  # noqa: S302 - our own file, named by the user
    except (OSError, ValueError, EOFError, TypeError) as why:
        raise FatalError(f"cannot read release file '{os.fspath(path)}': {why}") from why
    if layout != _FORMAT:
        raise FatalError(
            f"release file '{os.fspath(path)}' has layout {layout}, this emulator reads {_FORMAT}"
        )
    return Release(facts)

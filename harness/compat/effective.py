# SPDX-License-Identifier: Apache-2.0
"""The compat entries that a build applies to a machine type, and what its binary knows of their devices.

QEMU 9.1 and later tell their entries (`extract`); for an older build they come from the tables of ``compat/``, as that
release had them. The binary tells a type's properties and defaults over QMP.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.extract import fetch
from migmatrix.harness.compat.tables import applied, read, split
from migmatrix.harness.compat.values import text_of
from migmatrix.harness.errors import BuildError
from migmatrix.harness.hops.ask import ask
from migmatrix.harness.hops.qmp import Refused
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.releases import tells_compat_props

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.compat.tables import Table
    from migmatrix.harness.engines import Engine
    from migmatrix.harness.hops.qmp import QmpSession
    from migmatrix.harness.model import Stage

__all__ = ["Row", "TypeFacts", "rows_of", "tables_of", "types_of"]


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """An entry as it is effective for one machine type; `table` is the version whose table it stands in."""

    device: str
    name: str
    value: str
    table: str

    @property
    def key(self) -> tuple[str, str]:
        """What is set."""
        return self.device, self.name

    @property
    def text(self) -> str:
        """``device.property=value``."""
        return f"{self.device}.{self.name}={self.value}"


@dataclass(frozen=True, slots=True)
class TypeFacts:
    """A type in a binary: concrete types that derive from it, and their properties with defaults (None: not told).

    `concrete` is empty when the binary has no such type.
    """

    concrete: frozenset[str]
    defaults: Mapping[str, str | None]

    @property
    def is_device(self) -> bool:
        """Whether its properties could be listed."""
        return bool(self.defaults)


def tables_of(build: PreparedBuild, directory: Path | None = None) -> dict[str, Table]:
    """The tables of a build: what it tells itself, or for one before 9.1 those of `directory` (see `read`)."""
    return split(fetch(build)) if tells_compat_props(build.facts.version) else read(directory)


def rows_of(tables: Mapping[str, Table], machine: str, version: str) -> tuple[Row, ...]:
    """What is effective in the end: of several entries for one property the last one applied."""
    rows = {
        (entry.device, entry.property): Row(entry.device, entry.property, entry.value, table)
        for table, entry in applied(tables, machine, version)
    }
    return tuple(rows.values())


async def types_of(
    engine: Engine, build: PreparedBuild, names: Iterable[str], deadlines: Mapping[Stage, float]
) -> dict[str, TypeFacts]:
    """What a binary knows of some types; asked of one emulator with an empty machine.

    The build's own arguments are left out: an empty machine has no bus for their devices. BuildError with the
    emulator's words when it does not start.
    """
    wanted = sorted(set(names))

    async def work(qmp: QmpSession) -> dict[str, TypeFacts]:
        return {name: await _type(qmp, name) for name in wanted}

    try:
        return await ask(engine, replace(build, args=()), "none", ("-nodefaults",), deadlines, work)
    except Problem as problem:
        raise BuildError(
            f"build {build.id!r} cannot be asked: {problem.detail or problem.problem}"
        ) from problem


async def _type(qmp: QmpSession, name: str) -> TypeFacts:
    rows = await qmp.execute("qom-list-types", {"implements": name, "abstract": False})
    concrete = sorted(row["name"] for row in rows if not row.get("abstract"))
    defaults: dict[str, str | None] = {}
    for type_ in [name, *concrete][:_ASKED]:
        try:
            listed = await qmp.execute("device-list-properties", {"typename": type_})
        except Refused:
            continue  # abstract, or no device
        defaults = {row["name"]: _default(row) for row in listed}
        break
    return TypeFacts(frozenset(concrete), defaults)


_ASKED = 8  # of a base type's heirs, so many are asked for its properties


def _default(row: Mapping[str, Any]) -> str | None:
    value = row.get("default-value")
    return None if value is None else text_of(value)

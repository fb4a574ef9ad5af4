# SPDX-License-Identifier: Apache-2.0
"""Looks at a machine whose guest does not run: its objects, their types and their properties (QOM).

`look_at` starts an emulator, walks /machine over QMP and ends it; `types_in` keeps only the types. Both use commands
that every version since 5.2 answers: `qom-list`, `qom-get`, `qom-list-types`, `device-list-properties`,
`qom-list-properties`; and `query-machines` with `compat-props` from 9.1 on. Links and unreadable values are left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.hops.ask import ask
from migmatrix.harness.hops.qmp import Refused
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.releases import tells_compat_props

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.engines import Engine
    from migmatrix.harness.hops.qmp import QmpSession
    from migmatrix.harness.model import Stage

__all__ = ["MachineView", "Object", "look_at", "types_in"]

Value = bool | int | str

_ROOT = "/machine"
_DEPTH = 10
_ROOTS = ("device", "object", "")  # types above which no device's property is declared
_BOTHER = frozenset(
    {"type", "realized", "hotplugged", "hotpluggable", "parent_bus", "id", "addr", "legacy-addr"}
)


@dataclass(frozen=True, slots=True)
class Object:
    """One object: `path` below /machine, `type`, readable scalar properties by name.

    `settable` are the properties that `-global` takes for the type; `defaults` what some of them are without any
    table; `ordinal` counts objects of one type, from 0.
    """

    path: str
    type: str
    values: Mapping[str, Value]
    settable: frozenset[str]
    ordinal: int = 0
    defaults: Mapping[str, Value] = field(default_factory=dict)

    @property
    def from_command_line(self) -> bool:
        """Whether a `-device` made it, or what it is a part of."""
        return self.path.startswith(f"{_ROOT}/peripheral")


@dataclass(frozen=True, slots=True)
class MachineView:
    """All objects of a machine; empty with the reason in `problem` when it does not start.

    `parents` leads from a type to its base type, `inherited` has the properties of base types, and `compat` what
    the build itself says that its tables set for this machine: (type, property, value), None when it does not say.
    """

    objects: tuple[Object, ...] = ()
    problem: str = ""
    parents: Mapping[str, str] = field(default_factory=dict)
    inherited: Mapping[str, frozenset[str]] = field(default_factory=dict)
    compat: tuple[tuple[str, str, str], ...] | None = None

    def find(self, type_: str, ordinal: int) -> Object | None:
        """The object of a type by its number."""
        return next((o for o in self.objects if (o.type, o.ordinal) == (type_, ordinal)), None)

    def base_types(self, type_: str) -> tuple[str, ...]:
        """The type and its base types up to the one below `device`, nearest first."""
        found = [type_]
        while (base := self.parents.get(found[-1], "")) not in (*_ROOTS, *found):
            found.append(base)
        return tuple(found)

    def owner(self, type_: str, name: str) -> str:
        """The base type that a property of `type_` comes from; the type itself when no base has it."""
        having = [
            base for base in self.base_types(type_)[1:] if name in self.inherited.get(base, frozenset())
        ]
        return having[-1] if having else type_


async def look_at(
    engine: Engine,
    build: PreparedBuild,
    machine: str,
    arguments: tuple[str, ...],
    deadlines: Mapping[Stage, float],
) -> MachineView:
    """The view of this build's machine; what an emulator does wrong is told in `problem`."""

    async def view(qmp: QmpSession) -> MachineView:
        return await _Reader(qmp, machine if tells_compat_props(build.facts.version) else "").view()

    try:
        return await ask(engine, build, machine, arguments, deadlines, view)
    except Problem as problem:
        return MachineView(problem=f"{problem.problem} {problem.detail}".strip())


async def types_in(
    engine: Engine,
    build: PreparedBuild,
    machine: str,
    arguments: tuple[str, ...],
    deadlines: Mapping[Stage, float],
) -> frozenset[str]:
    """The types of all objects of this build's machine; empty when it does not start."""

    async def types(qmp: QmpSession) -> frozenset[str]:
        return frozenset([type_ async for _, type_, _ in _objects(qmp) if type_])

    try:
        return await ask(engine, build, machine, arguments, deadlines, types)
    except Problem:
        return frozenset()


async def _objects(
    qmp: QmpSession, path: str = _ROOT, type_: str = "", depth: int = 0
) -> AsyncIterator[tuple[str, str, Sequence[Mapping[str, Any]]]]:
    """The object at `path` and all below it, parents first: path, type, and what `qom-list` answers there.

    Memory regions and interrupts are left out: they are many, and have no settable property.
    """
    if depth > _DEPTH:
        raise InfrastructureError(f"objects are nested deeper than {_DEPTH} at {path!r}")
    rows = await qmp.execute("qom-list", {"path": path})
    yield path, type_, rows
    for row in rows:
        child = _child(row)
        if child and "memory-region" not in child and child != "irq":
            async for found in _objects(qmp, f"{path}/{row['name']}", child, depth + 1):
                yield found


@dataclass
class _Reader:
    """Reads the objects of one emulator; `machine` is asked for its compat entries, if it is named."""

    qmp: QmpSession
    machine: str = ""
    objects: list[Object] = field(default_factory=list)
    settable: dict[str, frozenset[str]] = field(default_factory=dict)
    defaults: dict[str, dict[str, Value]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    async def view(self) -> MachineView:
        async for path, type_, rows in _objects(self.qmp):
            if settable := await self._settable(type_):
                self._add(path, type_, await self._values(path, rows, settable), settable)
        parents = await self._parents()
        view = MachineView(tuple(self.objects), parents=parents, compat=await self._compat())
        bases = {base for type_ in self.seen for base in view.base_types(type_)[1:]}
        return replace(view, inherited={base: await self._inherited(base) for base in sorted(bases)})

    async def _parents(self) -> dict[str, str]:
        rows = await self.qmp.execute("qom-list-types", {"implements": "device", "abstract": True})
        return {row["name"]: row.get("parent", "") for row in rows}

    async def _inherited(self, type_: str) -> frozenset[str]:
        """Properties of a base type, which may be abstract; none for one that the build does not describe."""
        try:
            rows = await self.qmp.execute("qom-list-properties", {"typename": type_})
        except Refused:
            return frozenset()
        return frozenset(row["name"] for row in rows)

    async def _compat(self) -> tuple[tuple[str, str, str], ...] | None:
        if not self.machine:
            return None
        rows = await self.qmp.execute("query-machines", {"compat-props": True})
        found = next((row.get("compat-props", ()) for row in rows if row["name"] == self.machine), ())
        return tuple((row["qom-type"], row["property"], row["value"]) for row in found)

    def _add(self, path: str, type_: str, values: dict[str, Value], settable: frozenset[str]) -> None:
        ordinal = self.seen.get(type_, 0)
        self.seen[type_] = ordinal + 1
        self.objects.append(Object(path, type_, values, settable, ordinal, self.defaults[type_]))

    async def _values(
        self, path: str, rows: Sequence[Mapping[str, Any]], settable: frozenset[str]
    ) -> dict[str, Value]:
        found: dict[str, Value] = {}
        for row in rows:
            name = row["name"]
            if name in settable:
                try:
                    value = await self.qmp.execute("qom-get", {"path": path, "property": name})
                except Refused:
                    continue  # write-only, or not while the machine is like this
                if isinstance(value, bool | int | str):
                    found[name] = value
        return found

    async def _settable(self, type_: str) -> frozenset[str]:
        """What can be set of a device type; empty for what is no device, and for the root, whose type is not told."""
        if not type_:
            return frozenset()
        if type_ not in self.settable:
            try:
                rows = await self.qmp.execute("device-list-properties", {"typename": type_})
            except Refused:
                rows = []
            names = (row["name"] for row in rows if not row["type"].startswith(("link<", "child<")))
            self.settable[type_] = frozenset(names) - _BOTHER
            self.defaults[type_] = {r["name"]: r["default-value"] for r in rows if "default-value" in r}
        return self.settable[type_]


def _child(row: Any) -> str:
    """The type of a child, empty for another property."""
    text = str(row["type"])
    return text[len("child<") : -1] if text.startswith("child<") else ""

"""Looks at a machine that was started and does not run: its objects, their types and their properties (QOM).

`look_at` starts an emulator, walks /machine over QMP and ends it. Only what every version from 5.2 on answers is
used: `qom-list`, `qom-get`, `device-list-properties`. Links, children and values that cannot be read are left out.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.engines.base import Needs, Role
from harness.errors import InfrastructureError
from harness.hops.emulator import Emulator
from harness.hops.qmp import Refused
from harness.hops.task import Problem
from harness.model import Guest, Stage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.builds import PreparedBuild
    from harness.engines import Engine
    from harness.hops.qmp import QmpSession

__all__ = ["MachineView", "Object", "look_at"]

Value = bool | int | str

_ROOT = "/machine"
# Containers of what a command line and a board made; others below /machine hold memory regions and interrupts.
_PLACES = ("peripheral", "peripheral-anon", "unattached")
_DEPTH = 8
_BOTHER = frozenset(
    {"type", "realized", "hotplugged", "hotpluggable", "parent_bus", "id", "addr", "legacy-addr"}
)


@dataclass(frozen=True, slots=True)
class Object:
    """One object: `path` below /machine, `type`, readable scalar properties by name.

    `settable` are the properties that `-global` takes for the type; `ordinal` counts objects of one type, from 0.
    """

    path: str
    type: str
    values: Mapping[str, Value]
    settable: frozenset[str]
    ordinal: int = 0

    @property
    def from_command_line(self) -> bool:
        """Whether a `-device` made it, or what it is a part of."""
        return self.path.startswith(f"{_ROOT}/peripheral")


@dataclass(frozen=True, slots=True)
class MachineView:
    """All objects of a machine; empty with the reason in `problem` when it does not start."""

    objects: tuple[Object, ...] = ()
    problem: str = ""

    def find(self, type_: str, ordinal: int) -> Object | None:
        """The object of a type by its number."""
        return next((o for o in self.objects if (o.type, o.ordinal) == (type_, ordinal)), None)


async def look_at(
    engine: Engine,
    build: PreparedBuild,
    machine: str,
    arguments: tuple[str, ...],
    deadlines: Mapping[Stage, float],
) -> MachineView:
    """The view of this build's machine; what an emulator does wrong is told in `problem`."""
    place = await engine.place(build, Role.SOURCE, Needs())
    began = time.monotonic()
    emulator = Emulator(place, build, Role.SOURCE, Guest("paused"), lambda: time.monotonic() - began)
    try:
        start = emulator.start(machine, arguments, incoming=False)
        await emulator.race(start, deadlines[Stage.START])
        view = await emulator.race(_Walk(emulator.qmp).view(), deadlines[Stage.RUN])
        await emulator.quit(deadlines[Stage.QUIT])
    except Problem as problem:
        return MachineView(problem=f"{problem.problem} {problem.detail}".strip())
    finally:
        await emulator.end()
    return view


@dataclass
class _Walk:
    """Walks the tree of one emulator."""

    qmp: QmpSession
    objects: list[Object] = field(default_factory=list)
    settable: dict[str, frozenset[str]] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)

    async def view(self) -> MachineView:
        for child, type_ in await self._children(_ROOT):
            if child.rpartition("/")[2] in _PLACES:
                for below, kind in await self._children(child):
                    await self._object(below, kind, 0)
            elif type_:
                await self._object(child, type_, 0)
        return MachineView(tuple(self.objects))

    async def _object(self, path: str, type_: str, depth: int) -> None:
        if depth >= _DEPTH:
            raise InfrastructureError(f"objects are nested deeper than {_DEPTH} at {path!r}")
        settable = await self._settable(type_)
        rows = await self.qmp.execute("qom-list", {"path": path})
        if settable:
            self._add(path, type_, await self._values(path, rows, settable), settable)
        for row in rows:
            if (kind := _child(row)) and "memory-region" not in kind and kind != "irq":
                await self._object(f"{path}/{row['name']}", kind, depth + 1)

    def _add(self, path: str, type_: str, values: dict[str, Value], settable: frozenset[str]) -> None:
        ordinal = self.seen.get(type_, 0)
        self.seen[type_] = ordinal + 1
        self.objects.append(Object(path, type_, values, settable, ordinal))

    async def _values(self, path: str, rows: Any, settable: frozenset[str]) -> dict[str, Value]:
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
        """What can be set of a device type; empty for what is no device."""
        if type_ not in self.settable:
            try:
                rows = await self.qmp.execute("device-list-properties", {"typename": type_})
            except Refused:
                rows = []
            names = (row["name"] for row in rows if not row["type"].startswith(("link<", "child<")))
            self.settable[type_] = frozenset(names) - _BOTHER
        return self.settable[type_]

    async def _children(self, path: str) -> list[tuple[str, str]]:
        rows = await self.qmp.execute("qom-list", {"path": path})
        return [(f"{path}/{row['name']}", kind) for row in rows if (kind := _child(row))]


def _child(row: Any) -> str:
    """The type of a child, empty for another property."""
    text = str(row["type"])
    return text[len("child<") : -1] if text.startswith("child<") else ""

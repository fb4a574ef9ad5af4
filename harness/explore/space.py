# SPDX-License-Identifier: Apache-2.0
"""Asks builds which devices there are and what can be set on them (QMP, every version since 5.2 answers).

1. The devices of a command line are those of ``-device help``, without aliases; base types come from `qom-list-types`,
   options from `device-list-properties`, those of machine types from `qom-list-properties`.
2. What a machine has by itself is looked at on the newest build that knows it.
3. An option that is a link or a child is left out unless the table says what it names.
4. A build may end when it is asked for one of its types (7.2 without the module of ``virtio-gpu-gl-device``). Then it has
   no such type.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.values import text_of
from migmatrix.harness.errors import BuildError
from migmatrix.harness.explore.records import Device, Option, Space
from migmatrix.harness.hops.ask import ask
from migmatrix.harness.hops.qmp import Refused
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.releases import machine_parts, version_key
from migmatrix.harness.select import glob_match
from migmatrix.harness.trials.qom import look_at

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.explore.table import Table
    from migmatrix.harness.hops.qmp import QmpSession
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.trials.qom import MachineView

__all__ = ["by_age", "space_of"]

_Rows = dict[str, list[dict[str, Any]]]  # device or machine type -> rows of `device-list-properties`


def by_age(builds: Mapping[str, PreparedBuild]) -> list[PreparedBuild]:
    """The builds, oldest version first; equal versions in the order of the matrix."""
    return sorted(builds.values(), key=lambda build: version_key(build.facts.version))


async def space_of(
    where: Opened,
    builds: Mapping[str, PreparedBuild],
    machines: Sequence[str],
    arguments: tuple[str, ...],
    table: Table,
    devices: str,
    log: Callable[[str], None],
) -> Space:
    """Ask all builds for the device types of the glob `devices`; `arguments` are those of every machine. BuildError when one cannot be asked at all."""
    ages = by_age(builds)
    views = await _views(where, ages, machines, arguments)

    def meant(name: str) -> bool:
        return glob_match(name, devices) and not table.away_device(name)

    adds = {b.id: set(filter(meant, b.facts.devices)) for b in ages}
    have = {
        machine: {found.type for found in view.objects if found.settable and meant(found.type)}
        for machine, view in views.items()
    }
    wanted = sorted(set().union(*adds.values(), *have.values()))
    answers = {build.id: await _told(where, build, machines, wanted, log) for build in ages}

    def device(name: str, among: Iterable[str]) -> Device | None:
        having = {build: answers[build].rows[name] for build in among if name in answers[build].rows}
        if not having:
            return None
        bases = answers[list(having)[-1]].bases(name)
        return Device(
            name, bases, _options(name, having, table), frozenset(having), _left_out(name, having, table)
        )

    added = {name: device(name, [b.id for b in ages if name in adds[b.id]]) for name in wanted}
    own = {name: device(name, answers) for name in sorted(set().union(*have.values()))}
    families = dict.fromkeys(machine_parts(machine)[0] for machine in machines)
    return Space(
        devices={name: found for name, found in added.items() if found is not None},
        built_in={
            machine: {name: found for name in sorted(types) if (found := own[name]) is not None}
            for machine, types in have.items()
        },
        machine={family: _family(family, answers, table) for family in families},
    )


class _Told:
    """What one build said."""

    def __init__(self) -> None:
        self.parents: dict[str, str] = {}
        self.rows: _Rows = {}
        self.machines: _Rows = {}

    def bases(self, name: str) -> tuple[str, ...]:
        """The type itself and its base types, nearest first."""
        found = [name]
        while (base := self.parents.get(found[-1], "")) and base not in found:
            found.append(base)
        return tuple(found)


async def _told(
    where: Opened,
    build: PreparedBuild,
    machines: Sequence[str],
    wanted: Iterable[str],
    log: Callable[[str], None],
) -> _Told:
    """Ask one build of the types that it has of `wanted`, again without the one that ended it (rule 4)."""
    told = _Told()
    asked = await _asked(where, build, lambda qmp: _types(qmp, build, machines, told))
    if asked is not None:
        raise BuildError(f"build {build.id!r} cannot be asked: {asked}")
    left = [name for name in wanted if name in told.parents]
    while left:
        ended = await _asked(where, build, lambda qmp: _describe(qmp, left, told))
        if ended is not None:
            log(f"{build.id} ends when it is asked for {left[0]}: {ended}")
            del left[0]
    return told


async def _asked(
    where: Opened, build: PreparedBuild, work: Callable[[QmpSession], Coroutine[Any, Any, None]]
) -> str | None:
    """Let `work` ask an empty machine; what ended the emulator, if it ended."""
    bare = replace(build, args=())
    try:
        await ask(where.engine, bare, "none", ("-nodefaults",), where.settings.deadlines, work)
    except Problem as problem:
        return problem.detail or problem.problem
    return None


async def _types(qmp: QmpSession, build: PreparedBuild, machines: Iterable[str], told: _Told) -> None:
    rows = await qmp.execute("qom-list-types", {"implements": "device", "abstract": True})
    told.parents = {row["name"]: row.get("parent", "") for row in rows}
    for machine in machines:
        if build.facts.knows_machine(machine):
            told.machines[machine] = await _rows(qmp, "qom-list-properties", f"{machine}-machine")


async def _describe(qmp: QmpSession, left: list[str], told: _Told) -> None:
    """Describe the types of a list, and take each off it."""
    while left:
        told.rows[left[0]] = await _rows(qmp, "device-list-properties", left[0])
        del left[0]


async def _rows(qmp: QmpSession, command: str, name: str) -> list[dict[str, Any]]:
    """What a build says of a type; nothing of one that is abstract or that it does not describe."""
    try:
        rows: list[dict[str, Any]] = await qmp.execute(command, {"typename": name})
    except Refused:
        return []
    return rows


def _family(family: str, answers: Mapping[str, _Told], table: Table) -> Device:
    """The options of the machine types of a family, each of the newest type that a build knows."""
    having: _Rows = {}
    for build, told in answers.items():
        known = [rows for machine, rows in told.machines.items() if machine_parts(machine)[0] == family]
        if known:
            having[build] = known[-1]
    return Device(family, ("machine",), _options(f"{family}-machine", having, table), frozenset(having))


def _options(name: str, having: Mapping[str, Iterable[Mapping[str, Any]]], table: Table) -> dict[str, Option]:
    defaults: dict[str, dict[str, str | None]] = defaultdict(dict)
    newest: dict[str, Mapping[str, Any]] = {}
    for build, rows in having.items():
        for row in rows:
            if _settable(name, row, table):
                value = row.get("default-value")
                defaults[row["name"]][build] = None if value is None else text_of(value)
                newest[row["name"]] = row
    return {
        option: Option(option, row["type"], row.get("description", ""), defaults[option])
        for option, row in sorted(newest.items())
    }


def _left_out(name: str, having: Mapping[str, Iterable[Mapping[str, Any]]], table: Table) -> dict[str, str]:
    """Links of which the table does not say what they name: the wiring of a board, most of them."""
    return {
        row["name"]: "names another object, and the table has none for it"
        for rows in having.values()
        for row in rows
        if row["type"].startswith("link<") and not _settable(name, row, table)
    }


def _settable(device: str, row: Mapping[str, Any], table: Table) -> bool:
    if row["type"].startswith("child<"):
        return False
    return not row["type"].startswith("link<") or table.backend(device, row["name"]) is not None


async def _views(
    where: Opened, ages: Sequence[PreparedBuild], machines: Sequence[str], arguments: tuple[str, ...]
) -> dict[str, MachineView]:
    """Each machine type as the newest build has it that knows it (rule 2)."""
    knowing = {machine: [b for b in ages if b.facts.knows_machine(machine)] for machine in machines}
    deadlines = where.settings.deadlines
    return {
        machine: await look_at(where.engine, known[-1], machine, arguments, deadlines)
        for machine, known in knowing.items()
        if known
    }

# SPDX-License-Identifier: Apache-2.0
"""Do static tools see what a red cell shows? Two ask: the builds' compat tables, and their own `-dump-vmstate`.

`StaticTools.sees` compares the two builds of the migration that failed, on the cell's machine type and for the device
that the failure names. A finding about that device need not be the cause: a checker that complains about everything
sees a lot. Entries that a newer build must have are no finding. Neither tool runs a migration, sees values, or knows the
build's command line.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from migmatrix.harness.builds.shell import said
from migmatrix.harness.compat.diff import Differing, differing, involved
from migmatrix.harness.compat.effective import tables_of
from migmatrix.harness.errors import UnusableBuild
from migmatrix.harness.releases import NO_TABLES, table_line
from migmatrix.vmstate.check.schema import load_schema
from migmatrix.vmstate.check.static_check import Certainty, static_check
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.compat.tables import Table
    from migmatrix.harness.model import CellResult
    from migmatrix.vmstate.check.schema import Schema
    from migmatrix.vmstate.check.static_check import Finding

__all__ = ["StaticTools", "StaticView", "dumped"]

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class StaticView:
    """What each tool says about the failing device, one line per finding; both empty: they do not see it.

    `note` says what could not be asked.
    """

    tables: tuple[str, ...]
    schemas: tuple[str, ...]
    note: str = ""

    @property
    def seen(self) -> bool:
        """Whether any tool has a finding."""
        return bool(self.tables or self.schemas)

    @property
    def text(self) -> str:
        """For one line: which tools, and the first finding of each."""
        tools = [
            f"{name}: {found[0]}"
            for name, found in (("tables", self.tables), ("-dump-vmstate", self.schemas))
            if found
        ]
        if tools:
            return f"static tools see it ({'; '.join(tools)})"
        return f"static tools do not see it{f' ({self.note})' if self.note else ''}"


@dataclass
class StaticTools:
    """Tables and schemas of builds, each read once; `directory` (see `read`) has the tables of builds before 9.1."""

    builds: Mapping[str, PreparedBuild]
    directory: Path | None = None
    _tables: dict[str, dict[str, Table]] = field(default_factory=dict)
    _schemas: dict[tuple[str, str], Schema] = field(default_factory=dict)
    _differing: dict[tuple[str, str, str], tuple[Differing, ...]] = field(default_factory=dict)
    _findings: dict[tuple[str, str, str], tuple[Finding, ...]] = field(default_factory=dict)

    def sees(self, result: CellResult) -> StaticView:
        """What the tools say of a failing result; ValueError for one that failed in no migration."""
        if result.cause is None or result.failing_pair is None:
            raise ValueError(f"{result.cell.id} did not fail in a migration")
        device, pair = result.cause.device, (*result.failing_pair, result.cell.machine)
        differing = _kept(self._differing, pair, partial(self._compare, *pair))
        tables = [d.text for d in involved(differing, device)]
        note = "" if table_line(result.cell.machine) else f"{result.cell.machine}: {NO_TABLES}"
        return StaticView(tuple(tables), tuple(f.message for f in self.findings(result)), note)

    def findings(self, result: CellResult) -> list[Finding]:
        """What the two builds' `-dump-vmstate` say of the device that a failing result names; ValueError as `sees`."""
        if result.cause is None or result.failing_pair is None:
            raise ValueError(f"{result.cell.id} did not fail in a migration")
        pair = (*result.failing_pair, result.cell.machine)
        found = _kept(self._findings, pair, partial(self._check, *pair))
        return [finding for finding in found if _about(finding, result.cause.device)]

    def _compare(self, source: str, destination: str, machine: str) -> tuple[Differing, ...]:
        one, two = self.builds[source], self.builds[destination]
        return differing(one, self._tables_of(one), two, self._tables_of(two), machine)

    def _tables_of(self, build: PreparedBuild) -> dict[str, Table]:
        return _kept(self._tables, build.id, lambda: tables_of(build, self.directory))

    def _check(self, source: str, destination: str, machine: str) -> tuple[Finding, ...]:
        found = static_check(self._schema(source, machine), self._schema(destination, machine))
        return tuple(f for f in found if f.certainty is not Certainty.NOTE)

    def _schema(self, build: str, machine: str) -> Schema:
        return _kept(self._schemas, (build, machine), lambda: dumped(self.builds[build], machine))


def _kept(kept: dict[K, V], key: K, make: Callable[[], V]) -> V:
    if key not in kept:
        kept[key] = make()
    return kept[key]


def dumped(build: PreparedBuild, machine: str) -> Schema:
    """The schema of a build's device classes; UnusableBuild when it does not print one."""
    options = f"-machine {shlex.quote(machine)} -display none -dump-vmstate /dev/stdout"
    text = said(build, f'"$1" {options} 2>/dev/null | cat')
    try:
        return load_schema(text)
    except StreamError as err:
        raise UnusableBuild(build.id, f"its -dump-vmstate cannot be read: {err}") from err


def _about(finding: Finding, device: str) -> bool:
    """Whether a finding is about the device that a failure names, by its last part without number or family."""
    wanted = device.rpartition("/")[2].casefold().replace("_", "-")
    names = (finding.device.casefold(), finding.description.casefold().replace("_", "-"))
    return bool(wanted) and any(wanted == name or name.startswith(f"{wanted}-") for name in names)

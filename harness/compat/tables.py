# SPDX-License-Identifier: Apache-2.0
"""Compat tables as QEMU applies them and as ``compat/*.yaml`` keeps them.

QEMU 9.1 and later list, per machine type, all entries that apply to it, in order. A machine type's list begins with
the list of the next newer one, so the difference of the two is the table of that version.

1. A file holds one table: ``version`` ("" for what all versions have), ``entries``, and ``pc_entries`` applied after
   them. QEMU's list does not say which are ``pc_compat``: they are told by device, from the first that only a PC has.
2. An entry without `boards` is for all boards. `shipped` and `until` are releases: the first that has it, and the first
   that no longer has it; without `shipped` it came in the development cycle after `version`.
3. Reading a build never removes an entry that has `until`, nor changes `shipped`, `until` or `note`.

Nothing here runs an emulator; see `extract`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import yaml

from migmatrix.harness.config.shipped import shipped
from migmatrix.harness.errors import UserError
from migmatrix.harness.releases import hw_compat_name, machine_parts, table_line
from migmatrix.vmstate.device.lifetime import lives, release_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

__all__ = [
    "CompatProps",
    "Entry",
    "Table",
    "applied",
    "differences",
    "file_name",
    "merge",
    "read",
    "read_any",
    "render",
    "split",
    "tables_directory",
]

CompatProps = dict[str, list[tuple[str, str, str]]]  # machine type: (device, property, value), as applied

BASE: Final = ""
_BOARDS: Final = ("pc-i440fx", "pc-q35")
_ONLY_PC: Final = frozenset(("mch", "kvmclock", "sev-guest", "x86_64-cpu"))
_RELEASE: Final = re.compile(r"\d+(?:\.\d+)+", re.ASCII)
_LISTS: Final = ("entries", "pc_entries")


@dataclass(frozen=True)
class Entry:
    """One entry; `boards` is empty when it is for all."""

    device: str
    property: str
    value: str
    boards: tuple[str, ...] = ()
    shipped: str = ""
    until: str = ""
    note: str = ""

    def fact(self) -> tuple[str, str, str]:
        """What is set to what."""
        return self.device, self.property, self.value


@dataclass(frozen=True)
class Table:
    """The table of one version, in order."""

    version: str
    entries: tuple[Entry, ...] = field(default=())

    @property
    def began(self) -> str:
        """When entries without `shipped` came."""
        return f"{self.version}.50" if self.version else ""


def file_name(version: str) -> str:
    """``7.2`` to ``hw_compat_7_2.yaml``, "" to ``base.yaml``."""
    return f"{hw_compat_name(version)}.yaml" if version else "base.yaml"


# --- from a build -----------------------------------------------------------------------------------------------


def split(props: CompatProps) -> dict[str, Table]:
    """Tables by version, "" first and then newest first, of the versioned PC boards in `props`.

    Empty for a build without types of QEMU's own versions: one of another architecture, or of a vendor.
    """
    boards = {board: tables for board in _BOARDS if (tables := _split_board(props, board))}
    versions = sorted({v for tables in boards.values() for v in tables}, key=_age)
    return {
        version: _joined(version, {b: t.get(version, []) for b, t in boards.items()}) for version in versions
    }


def _age(version: str) -> tuple[int, ...]:
    return tuple(-n for n in release_key(version)) if version else (-(10**6),)


def _split_board(props: CompatProps, board: str) -> dict[str, list[tuple[str, str, str]]]:
    parts = {machine_parts(machine): facts for machine, facts in props.items()}
    machines = {v: facts for (of, v), facts in parts.items() if of == board and _RELEASE.fullmatch(v)}
    newest_first = sorted(machines, key=release_key, reverse=True)
    if not newest_first:
        return {}
    tables = {BASE: machines[newest_first[0]]}
    for newer, older in pairwise(newest_first):
        known = machines[newer]
        if machines[older][: len(known)] != known:
            raise ValueError(f"the entries of {board}-{older} do not begin with those of {board}-{newer}")
        tables.setdefault(_table_of(older), []).extend(machines[older][len(known) :])
    return tables


def _table_of(version: str) -> str:
    """4.0.1 and 4.0 are served by one table."""
    return ".".join(version.split(".")[:2])


def _joined(version: str, boards: Mapping[str, list[tuple[str, str, str]]]) -> Table:
    """One table of several boards' lists; the longest gives the order."""
    longest = max(boards.values(), key=len)
    every = [*longest, *(fact for facts in boards.values() for fact in facts if fact not in longest)]
    return Table(version, tuple(Entry(*fact, boards=_boards(fact, boards, version)) for fact in every))


def _boards(
    fact: tuple[str, str, str], boards: Mapping[str, list[tuple[str, str, str]]], version: str
) -> tuple[str, ...]:
    having = tuple(board for board, facts in boards.items() if fact in facts)
    return () if version and len(having) == len(boards) else having


# --- files ------------------------------------------------------------------------------------------------------


def tables_directory(given: Path | None = None) -> Path:
    """Where tables are: `given`, by default those that come with the program; UserError when it is no directory."""
    named = shipped("compat") if given is None else given
    if not named.is_dir():
        raise UserError(f"no directory of compat tables {str(named)!r}")
    return named


def read(directory: Path | None = None) -> dict[str, Table]:
    """The tables of a directory, "" first and then newest first; without one, of those that come with the program.

    UserError for a directory that does not exist or has no tables: nothing may be concluded from no tables at all.
    """
    named = tables_directory(directory)
    tables = read_any(named)
    if not tables:
        raise UserError(f"no compat tables (*.yaml) in {str(named)!r}")
    return tables


def read_any(directory: Path) -> dict[str, Table]:
    """The tables that a directory has so far, perhaps none; in the order of `read`."""
    documents = [
        yaml.safe_load(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.yaml"))
    ]
    tables = {d["version"]: _table(d) for d in documents}
    return {version: tables[version] for version in sorted(tables, key=_age)}


def _table(document: dict[str, Any]) -> Table:
    rows = [row for name in _LISTS for row in document.get(name) or ()]
    return Table(
        document["version"], tuple(Entry(**{**row, "boards": tuple(row.get("boards", ()))}) for row in rows)
    )


def merge(kept: Table | None, seen: Table) -> Table:
    """`seen` with what only `kept` knows: life-times, notes, and entries that are no more."""
    known = {entry.fact(): entry for entry in kept.entries} if kept else {}
    entries = [_annotated(entry, known.get(entry.fact())) for entry in seen.entries]
    facts = {entry.fact() for entry in seen.entries}
    return Table(seen.version, (*entries, *(e for e in known.values() if e.until and e.fact() not in facts)))


def _annotated(entry: Entry, known: Entry | None) -> Entry:
    return (
        entry if known is None else replace(entry, shipped=known.shipped, until=known.until, note=known.note)
    )


def render(table: Table, source: str) -> str:
    """The table as a file; all values are quoted, for `off` and `0x10` are text."""
    pc = next((n for n, entry in enumerate(table.entries) if _only_pc(entry)), len(table.entries))
    title = hw_compat_name(table.version) if table.version else "what machine types of all versions have"
    lines = [
        f"# {title}: {source}",
        "# Written by `migmatrix compat extract`, which keeps shipped, until and note. Words: harness/compat/tables.py.",
        f"version: {json.dumps(table.version)}",
        *_listed("entries", table.entries[:pc]),
        *_listed("pc_entries", table.entries[pc:]),
    ]
    return "\n".join(lines) + "\n"


def _only_pc(entry: Entry) -> bool:
    smi = entry.device == "ICH9-LPC" and entry.property != "smm-compat"
    return smi or entry.device in _ONLY_PC or entry.device.endswith("-x86_64-cpu")


def _listed(name: str, entries: Sequence[Entry]) -> list[str]:
    if not entries:
        return [f"{name}: []"] if name == "entries" else []
    return [f"{name}:", *(f"  - {{{', '.join(_words(entry))}}}" for entry in entries)]


def _words(entry: Entry) -> Iterable[str]:
    for name in ("device", "property", "value", "boards", "shipped", "until", "note"):
        value = getattr(entry, name)
        if value or name == "value":
            yield f"{name}: {json.dumps(value)}"


# --- comparing --------------------------------------------------------------------------------------------------


def differences(tables: Mapping[str, Table], props: CompatProps, version: str) -> list[str]:
    """One line per versioned PC machine type of `props` for which `tables` at `version` say something else."""
    lines = []
    for machine, facts in sorted(props.items()):
        if machine_parts(machine)[0] in _BOARDS and table_line(machine):
            ours = [entry.fact() for _, entry in applied(tables, machine, version)]
            lines += [] if ours == facts else [f"{machine}: {_difference(ours, facts)}"]
    return lines


def applied(tables: Mapping[str, Table], machine: str, version: str) -> list[tuple[str, Entry]]:
    """The entries that a release applies to a machine type, in order, each with its table's version.

    None for a type of no version of QEMU's: `table_line` says which those are.
    """
    board, oldest = machine_parts(machine)[0], table_line(machine)
    return [
        (table.version, entry)
        for table in tables.values()
        if oldest and (not table.version or release_key(table.version) >= oldest)
        for entry in table.entries
        if lives(entry.shipped or table.began, entry.until, version)
        and (not entry.boards or board in entry.boards)
    ]


def _difference(ours: list[tuple[str, str, str]], theirs: list[tuple[str, str, str]]) -> str:
    missing = [".".join(f[:2]) for f in theirs if f not in ours]
    extra = [".".join(f[:2]) for f in ours if f not in theirs]
    parts = [
        f"missing {', '.join(missing)}" if missing else "",
        f"not in QEMU {', '.join(extra)}" if extra else "",
    ]
    return "; ".join(part for part in parts if part) or "the order differs"

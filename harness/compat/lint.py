# SPDX-License-Identifier: Apache-2.0
"""`migmatrix compat lint`: mistakes in compat tables that can be seen without a migration.

| rule | says |
|---|---|
| `late` | the table got the entry after a release had shipped without it; guests started in between are stranded |
| `wrong-table` | a release newer than the table does not know the property, so it belongs in a later table |
| `duplicate` | the same property twice in one table |
| `repeated` | a later table has the same entry with the same value: the older one changes nothing |
| `override` | a later table has another value, which the older one overrides; sometimes intended |
| `unknown-property` | the binary has the device, and the device has no such property |
| `unknown-device` | the binary has no such device; of another architecture, not built in, or misspelt |

"An entry first shipped in the development cycle X.Y.50 belongs in X_Y": `late` asks the tables' own life-times,
`wrong-table` asks older binaries. Rules that only note something do not count as findings.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.values import same
from migmatrix.harness.releases import hw_compat_name, line, version_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.compat.effective import TypeFacts
    from migmatrix.harness.compat.tables import Entry, Table

__all__ = ["NOTES", "Finding", "lint_binary", "lint_history", "lint_tables"]

NOTES = frozenset({"unknown-device", "override"})
_RELEASE = 2  # where a version has the number of its point release
_HIDDEN = "legacy-"  # 10.0.13 does not list legacy-cache, which it has; 11.1.3 lists such names
_DEVELOPMENT = 50  # X.Y.50 to X.Y.9x is the development of the release after X.Y


@dataclass(frozen=True, slots=True)
class Finding:
    """One mistake, or one note."""

    rule: str
    table: str
    entry: str
    message: str

    @property
    def counts(self) -> bool:
        """Whether it is a mistake and not a note."""
        return self.rule not in NOTES

    @property
    def text(self) -> str:
        """A line for people."""
        table = hw_compat_name(self.table) if self.table else "base"
        return f"{self.rule}: {table}: {self.entry}: {self.message}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "counts": self.counts}


def lint_tables(tables: Mapping[str, Table]) -> Iterator[Finding]:
    """What the tables alone show: `late`, `duplicate`, `repeated`, `override`."""
    for table in tables.values():
        yield from _late(table)
        yield from _duplicates(table)
    yield from _overrides(tables)


def _late(table: Table) -> Iterator[Finding]:
    for entry in table.entries:
        if table.version and entry.shipped and _left_out(table.version, entry.shipped):
            yield _finding("late", table, entry, f"first shipped in {entry.shipped}, {_cycle(entry.shipped)}")


def _cycle(shipped: str) -> str:
    """Where what is first shipped in a version belongs."""
    key = version_key(shipped)
    if key[_RELEASE] >= _DEVELOPMENT:
        return f"the cycle of {hw_compat_name(shipped)}"
    return f"a point release of {'.'.join(map(str, line(shipped)))}"


def _left_out(table: str, shipped: str) -> bool:
    """Whether a release after the table's version went out before `shipped`.

    The cycle after X.Y ends with the next release, whose candidates are numbered X.Y.90 and up.
    """
    key = version_key(shipped)
    if line(shipped) == line(table):
        return False  # still in the cycle that the table is for
    return len(key) > _RELEASE and key[_RELEASE] > 0


def _duplicates(table: Table) -> Iterator[Finding]:
    counts = Counter((e.device, e.property, e.boards) for e in table.entries if not e.until)
    seen: set[tuple[str, str]] = set()
    for entry in table.entries:
        key = entry.device, entry.property
        if counts[(*key, entry.boards)] > 1 and key not in seen and not entry.until:
            seen.add(key)
            yield _finding("duplicate", table, entry, f"{counts[(*key, entry.boards)]} times in this table")


def _overrides(tables: Mapping[str, Table]) -> Iterator[Finding]:
    """Tables are newest first, and an older one is applied later."""
    newer: dict[tuple[str, str], tuple[str, Entry]] = {}
    for table in tables.values():
        for entry in table.entries:
            key = entry.device, entry.property
            if not table.version or entry.until:
                continue
            known = newer.get(key)
            if known is not None and known[0] != table.version:
                yield _override(table, entry, *known)
            newer[key] = table.version, entry


def _override(table: Table, entry: Entry, newer: str, other: Entry) -> Finding:
    where = hw_compat_name(newer)
    if same(other.value, entry.value):
        return _finding("repeated", table, entry, f"{where} says the same")
    return _finding("override", table, entry, f"{where} has {other.value!r}")


def lint_binary(tables: Mapping[str, Table], types: Mapping[str, TypeFacts], build: str) -> Iterator[Finding]:
    """Devices and properties that a binary does not have."""
    for table in tables.values():
        for entry in table.entries:
            facts = types[entry.device]
            if not facts.concrete:
                yield _finding("unknown-device", table, entry, f"{build} has no such device")
            elif _lacks(facts, entry.property):
                yield _finding(
                    "unknown-property", table, entry, f"its device in {build} has no such property"
                )


def lint_history(
    tables: Mapping[str, Table], older: Sequence[tuple[str, str, Mapping[str, TypeFacts]]]
) -> Iterator[Finding]:
    """Entries whose property a release newer than their table does not know; `older` are (id, version, types)."""
    for table in tables.values():
        for entry in table.entries:
            without = [
                (version, build)
                for build, version, types in older
                if _is_after(version, table.version) and _lacks(types[entry.device], entry.property)
            ]
            if without:
                version, build = max(without, key=lambda found: version_key(found[0]))
                table_of = hw_compat_name(version)
                message = f"{build} ({version}) does not know the property: it belongs in {table_of} or later"
                yield _finding("wrong-table", table, entry, message)


def _is_after(version: str, table: str) -> bool:
    """Whether a build is of a release after the one that the table is named after."""
    return bool(table) and line(version) > line(table)


def _lacks(facts: TypeFacts, name: str) -> bool:
    """Whether a binary has the device without the property; `device-list-properties` long left some names out."""
    return facts.is_device and name not in facts.defaults and not name.startswith(_HIDDEN)


def _finding(rule: str, table: Table, entry: Entry, message: str) -> Finding:
    return Finding(rule, table.version, f"{entry.device}.{entry.property}={entry.value}", message)

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix compat diff`: what two builds set differently for the same machine type, and what that means.

1. An entry that only the newer build has is `expected` when it stands in the table of the older one's release or a
   later table: it undoes what changed after the older build.
2. Any other difference is `late`: an older table was changed after a release, so guests that were started between the
   two behave otherwise than the table now says. That is how guests get stranded.
3. Another value is always `late`: one of the two is wrong for guests of the other.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from migmatrix.harness.compat.effective import Row, rows_of
from migmatrix.harness.compat.values import same
from migmatrix.harness.releases import hw_compat_name, line, version_key

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.compat.tables import Table

__all__ = ["Differing", "differing", "involved"]

_PCI = re.compile(r"[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")


@dataclass(frozen=True, slots=True)
class Differing:
    """One property that two builds set differently; None for a side that does not set it."""

    device: str
    name: str
    table: str
    a: str | None
    b: str | None
    expected: bool

    @property
    def text(self) -> str:
        """A line for people."""
        table = hw_compat_name(self.table) if self.table else "all versions"
        sides = ", ".join("not set" if v is None else repr(v) for v in (self.a, self.b))
        return f"{'expected' if self.expected else 'LATE':8} {self.device}.{self.name}: {sides} ({table})"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def differing(
    a: PreparedBuild,
    tables_a: Mapping[str, Table],
    b: PreparedBuild,
    tables_b: Mapping[str, Table],
    machine: str,
) -> tuple[Differing, ...]:
    """Every property that the two set differently for a machine type; those that are not expected first."""
    one = {row.key: row for row in rows_of(tables_a, machine, a.facts.version)}
    two = {row.key: row for row in rows_of(tables_b, machine, b.facts.version)}
    older = min(a.facts.version, b.facts.version, key=version_key)
    found = (_difference(one.get(key), two.get(key), a, b, older) for key in {**one, **two})
    return tuple(sorted((d for d in found if d is not None), key=lambda d: d.expected))


def _difference(
    one: Row | None, two: Row | None, a: PreparedBuild, b: PreparedBuild, older: str
) -> Differing | None:
    row = one or two
    if row is None or (one and two and same(one.value, two.value)):
        return None
    newer_only = (one if version_key(a.facts.version) > version_key(b.facts.version) else two) is row
    expected = bool(newer_only and (one is None or two is None) and _after(row.table, older))
    return Differing(row.device, row.name, row.table, _value(one), _value(two), expected)


def _value(row: Row | None) -> str | None:
    return None if row is None else row.value


def _after(table: str, older: str) -> bool:
    """Whether a table is that of the older build's release, or of a later one; rule 1."""
    return not table or line(table) >= line(older)


def involved(found: tuple[Differing, ...], device: str) -> Iterator[Differing]:
    """Those that should not be and are about a device, by its name in a failure.

    A failure without a device is about none; the base type of all PCI devices counts for one with a PCI address.
    """
    bus, _, name = device.casefold().rpartition("/")
    bases = ("pci-device",) if _PCI.search(bus) else ()
    for difference in found:
        type_ = difference.device.casefold()
        if difference.expected:
            continue
        if type_ in bases or (name and (type_ == name or type_.startswith(f"{name}-"))):
            yield difference

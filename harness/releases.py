# SPDX-License-Identifier: Apache-2.0
"""Versions of emulators and of machine types: their order, their lines, and what is named after them.

1. A version is the numbers at its beginning. A vendor's text behind them (`7.2.22 (Debian 1:7.2+dfsg)`, `9.0+pve1`)
   changes neither its order nor its line.
2. Letters in front make it a vendor's own version: `rhel9.6.0` is no QEMU 9.6. It is ordered by its numbers, which
   says something among versions of that vendor only, and is of no line.
3. A text without numbers (`none`, `microvm`) has the empty key, which comes before all others, and is of no line.
4. A machine type is a family and perhaps a version, ``pc-q35-7.2``. A version begins with numbers and dots, a
   vendor's with letters before them (`rhel9.6.0`). Behind a family that QEMU itself has versions of any other text
   is a vendor's too (`pc-i440fx-jammy-v2`). All else is a family without versions: `microvm`, `none`, `virt`.
5. A line is X.Y: all releases X.Y.Z have the same machine types and compat tables. QEMU names a table after its line.

Pure; knows builds and matrices by no more than their version texts.
"""

from __future__ import annotations

import re

__all__ = [
    "NO_TABLES",
    "hw_compat_name",
    "line",
    "machine_parts",
    "table_line",
    "tells_compat_props",
    "type_key",
    "version_key",
]

_NUMBERS = re.compile(r"[A-Za-z]*(\d+(?:\.\d+)*)", re.ASCII)
_VERSION = re.compile(r"[a-z]*\d+\.\d", re.ASCII)
_FAMILIES = (
    "pc-i440fx",
    "pc-q35",
    "s390-ccw-virtio",
    "pseries",
    "virt",
)  # QEMU, hw/*: DEFINE_*_MACHINE with versions
_RUNS = re.compile(r"\d+|[^\d.]+", re.ASCII)
NO_TABLES = "no tables are known for such a type"
_LINE = 2  # numbers of a version that name its line
_TELLS = (9, 1)  # the first line whose query-machines has compat-props (QEMU, qapi/machine.json)


def version_key(version: str) -> tuple[int, ...]:
    """The numbers that order versions: (10, 0, 13) for ``10.0.13``; () without any (rules 1-3)."""
    found = _NUMBERS.match(version)
    return tuple(map(int, found[1].split("."))) if found else ()


def line(version: str) -> tuple[int, ...]:
    """The line X.Y of a version: (10, 0) for ``10.0.13``; () when it is of none (rules 2, 3, 5)."""
    key = version_key(version)[:_LINE]
    return key if len(key) == _LINE and version[:1].isdigit() else ()


def machine_parts(machine: str) -> tuple[str, str]:
    """A machine type's family and version: ``("pc-q35", "rhel9.6.0")``; the version is empty without one (rule 4)."""
    for family in _FAMILIES:
        if machine.startswith(f"{family}-"):
            return family, machine[len(family) + 1 :]
    words = machine.split("-")
    first = next((n for n, word in enumerate(words) if n and _VERSION.match(word)), len(words))
    return "-".join(words[:first]), "-".join(words[first:])


def type_key(version: str) -> tuple[tuple[bool, int, str], ...]:
    """What orders the versions of one family: vendors' own by name and number, then QEMU's by number.

    The text that a vendor puts behind a version of QEMU orders among equal ones: 9.0, 9.0+pve1, 9.1.
    """
    runs = [(run.isdigit(), int(run) if run.isdigit() else 0, run) for run in _RUNS.findall(version)]
    return tuple((number, value, "" if number else text) for number, value, text in runs)


def table_line(machine: str) -> tuple[int, ...]:
    """The line whose compat tables a machine type has: (7, 2) for ``pc-q35-7.2``; () when no tables are known."""
    return line(machine_parts(machine)[1])


def hw_compat_name(version: str) -> str:
    """What QEMU calls the compat table of a version's line: ``hw_compat_7_2`` for ``7.2`` and ``7.2.22``.

    ValueError for a version of no line.
    """
    numbers = line(version)
    if not numbers:
        raise ValueError(f"version {version!r} is of no line, so no table is named after it")
    return "hw_compat_" + "_".join(map(str, numbers))


def tells_compat_props(version: str) -> bool:
    """Whether a build of this version tells its compat properties in the answer to query-machines."""
    return line(version) >= _TELLS

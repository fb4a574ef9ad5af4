# SPDX-License-Identifier: Apache-2.0
"""From changed records to changed registers, less those that may change (`allowed.yaml`).

A record is bytes under a kind and a name; a register is a part of it: so many bytes, or a run of changed ones.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

import yaml

from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.harness.pulse.heard import Change

__all__ = ["Allowed", "Register", "allowed", "registers"]

# Bytes of a register, by kind of record; of others a register is a run of bytes that changed.
_WIDTHS: Final = {"cpuid": 4, "msr": 8, "e820": 20, "ioapic": 4, "apic": 4, "hpet": 4}
# Kinds whose record is one value: a hash, or what a table is.
_WHOLE: Final = ("fw_cfg", "acpi", "smbios", "e820")
_CPUID: Final = ("eax", "ebx", "ecx", "edx")
_OFFSETS: Final = re.compile(r"0x([0-9a-f]+)(?:-0x([0-9a-f]+))?")


@dataclass(frozen=True, slots=True)
class Register:
    """One register that changed: `device` is the record it is in; values in hex as they lie in memory, "" for none."""

    device: str
    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Allowed:
    """Bytes `first` to `last` of the records of a kind and name (globs) may change, because of `reason`."""

    kind: str
    name: str
    first: int
    last: int
    reason: str


@cache
def allowed() -> tuple[Allowed, ...]:
    """The table `allowed.yaml`."""
    text = files(__package__).joinpath("allowed.yaml").read_text("utf-8")
    return tuple(_entry(entry) for entry in yaml.safe_load(text))


def _entry(entry: dict[str, Any]) -> Allowed:
    found = _OFFSETS.fullmatch(entry.get("bytes", "0x0-0xfffff"))
    if found is None:
        raise ValueError(f"allowed.yaml: {entry['bytes']!r} is no range of offsets")
    first = int(found[1], 16)
    return Allowed(entry["kind"], entry["name"], first, int(found[2] or found[1], 16), entry["reason"])


def registers(changes: Iterable[Change]) -> list[Register]:
    """The registers that changed and may not, sorted by name, so that it does not matter where a round began.

    Files of fw_cfg are the last: their change often follows from another, and not the other way round.
    """
    ordered = sorted(changes, key=lambda change: (change.kind == "fw_cfg", change.kind, change.name))
    return [register for change in ordered for register in _of(change)]


def _of(change: Change) -> Iterator[Register]:
    device = f"{change.kind} {change.name}"
    if not change.old or not change.new or change.kind in _WHOLE:
        if not _all_may(change):
            yield Register(device, "", change.old.hex(), change.new.hex())
        return
    pairs = list(enumerate(zip_longest(change.old, change.new, fillvalue=0)))
    different = [at for at, (old, new) in pairs if old != new and not _may(change, at)]
    for first, last in _runs(different, _WIDTHS.get(change.kind, 0)):
        span = slice(first, last + 1)
        yield Register(device, _name(change.kind, first), change.old[span].hex(), change.new[span].hex())


def _may(change: Change, at: int) -> bool:
    return any(
        entry.first <= at <= entry.last
        and glob_match(change.kind, entry.kind)
        and glob_match(change.name, entry.name)
        for entry in allowed()
    )


def _all_may(change: Change) -> bool:
    return all(_may(change, at) for at in range(max(len(change.old), len(change.new))))


def _runs(offsets: list[int], width: int) -> Iterator[tuple[int, int]]:
    """First and last byte of each register that has one of the offsets."""
    if width:
        yield from ((at, at + width - 1) for at in dict.fromkeys(at - at % width for at in offsets))
        return
    first = last = -2
    for at in offsets:
        if at != last + 1:
            if last >= 0:
                yield first, last
            first = at
        last = at
    if last >= 0:
        yield first, last


def _name(kind: str, at: int) -> str:
    return _CPUID[at // 4 % 4] if kind == "cpuid" else "" if kind == "msr" else f"0x{at:x}"

# SPDX-License-Identifier: Apache-2.0
"""What only one side's description of a section has: fields, subsections, versions. Pure.

1. The descriptions are those at the end of each side's stream, so they are of this machine and command line: a field that
   a condition left out is not in them. What `-dump-vmstate` says of all devices is `harness.compat.static`'s.
2. A field under another name at the same place, of the same type, is no difference: a loader reads by place.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmsdDesc

__all__ = ["layout_differences"]

_MOST = 24
_Place = tuple[int, str]  # offset in bytes, and what is there


def layout_differences(source: DeviceDesc | None, destination: DeviceDesc | None) -> tuple[str, ...]:
    """One line for each difference that a loader sees, in the order of the wire; empty when there is none."""
    if source is None or destination is None:
        return ()
    one, two = _places(source.vmsd), _places(destination.vmsd)
    paths = sorted({**one, **two}, key=lambda path: (one.get(path) or two[path])[0])
    lines = [line for path in paths for line in _line(path, one, two)]
    more = (f"and {len(lines) - _MOST} more",) if len(lines) > _MOST else ()
    return (*lines[:_MOST], *more)


def _line(path: str, one: Mapping[str, _Place], two: Mapping[str, _Place]) -> Iterator[str]:
    here, there = one.get(path), two.get(path)
    if here is None or there is None:
        place, other = (here, two) if here is not None else (there, one)
        if place is not None and place not in _renamed(one, two):
            yield f"only the {'destination' if other is one else 'source'} has {path}: {place[1]} at {place[0]:#x}"
    elif here[1] != there[1]:
        yield f"{path}: {here[1]} at the source, {there[1]} at the destination"


def _renamed(one: Mapping[str, _Place], two: Mapping[str, _Place]) -> set[_Place]:
    """Places of which each side has its own name (rule 2)."""
    left = {place for path, place in one.items() if path not in two}
    return left & {place for path, place in two.items() if path not in one}


def _places(vmsd: VmsdDesc) -> dict[str, _Place]:
    """Versions of descriptions, fields that hold no others, and subsections, by path; an array's parts are numbered."""
    found: dict[str, _Place] = {}
    seen: Counter[str] = Counter()
    for path, place in _parts(vmsd, "", 0):
        seen[path] += 1
        found[path if seen[path] == 1 else f"{path}({seen[path]})"] = place
    return found


def _parts(vmsd: VmsdDesc, path: str, at: int) -> Iterator[tuple[str, _Place]]:
    yield f"version of {path or vmsd.name}", (at, f"{vmsd.version}")
    for field in vmsd.fields:
        yield from _field(field, f"{path}.{field.name}" if path else field.name, at)
        at += field.total
    for sub in vmsd.subsections:
        yield f"subsection {path}/{sub.name}", (at, f"{sub.size} bytes")
        yield from _parts(sub, f"{path}/{sub.name}", at)
        at += sub.size


def _field(field: FieldDesc, path: str, at: int) -> Iterator[tuple[str, _Place]]:
    name = path if field.index is None else f"{path}[{field.index}]"
    if field.struct is not None and field.struct.fields:
        yield from _parts(field.struct, name, at)
        return
    count = "" if field.count is None else f"{field.count} x "
    yield name, (at, f"{count}{field.type}, {field.total} byte{'s' * (field.total != 1)}")

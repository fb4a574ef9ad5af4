# SPDX-License-Identifier: Apache-2.0
"""What only one side's description of a section has: fields, subsections, versions. Pure.

The descriptions are those at the end of each side's stream, so they are of this machine and command line: a field that a
condition left out is not in them. What `-dump-vmstate` says of all devices is `harness.compat.static`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmsdDesc

__all__ = ["layout_differences"]

_MOST = 16


def layout_differences(source: DeviceDesc | None, destination: DeviceDesc | None) -> tuple[str, ...]:
    """One line for each difference, in the order of the source's description; empty when there is none to see."""
    if source is None or destination is None:
        return ()
    one, two = dict(_parts(source.vmsd, "")), dict(_parts(destination.vmsd, ""))
    lines = [line for path in {**one, **two} for line in _line(path, one.get(path), two.get(path))]
    more = (f"and {len(lines) - _MOST} more",) if len(lines) > _MOST else ()
    return (*lines[:_MOST], *more)


def _line(path: str, one: str | None, two: str | None) -> Iterator[str]:
    if one == two:
        return
    if one is None or two is None:
        yield f"only the {'source' if two is None else 'destination'} has {path}: {one or two}"
    else:
        yield f"{path}: {one} at the source, {two} at the destination"


def _parts(vmsd: VmsdDesc, path: str) -> Iterator[tuple[str, str]]:
    """Each description, field and subsection by its path, and what it is."""
    yield f"description of {path}" if path else "the description", f"{vmsd.name} version {vmsd.version}"
    for field in vmsd.fields:
        yield from _field(field, f"{path}.{field.name}" if path else field.name)
    for sub in vmsd.subsections:
        yield from _parts(sub, f"{path}/{sub.name}")


def _field(field: FieldDesc, path: str) -> Iterator[tuple[str, str]]:
    name = path if field.index is None else f"{path}[{field.index}]"
    count = "" if field.count is None else f"{field.count} x "
    yield name, f"{count}{field.type}, {field.total} byte{'s' * (field.total != 1)}"
    if field.struct is not None:
        yield from _parts(field.struct, name)

# SPDX-License-Identifier: Apache-2.0
"""Payload lengths from the descriptions of *other* streams, for streams that carry none (postcopy, recovery).

Rules:
1. The walk over a section follows the fields that another stream of the same build and machine described for
   it.
2. The bytes tell which subsections are present, as they tell QEMU's loader: a type byte, then a name that
   starts with the parent's. The walk knows only subsections of the descriptions.
3. Conditional fields and counts of arrays are those of the other stream. So the delimiter tries every
   description of a section in turn and takes the first whose walk ends exactly at this section's footer; when
   none does, that is an error. It searches for nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterable, Iterator
from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.constants import SectionType

if TYPE_CHECKING:
    from migmatrix.vmstate.view.vmdesc import DeviceDesc, VmDesc, VmsdDesc
    from migmatrix.vmstate.wire.events import SectionStart
    from migmatrix.vmstate.wire.reader import Walk

__all__ = ["LearnedDelimiter"]

_Walk = Generator[tuple[int, int], bytes, int]


class LearnedDelimiter:
    """Delimiter made of one or more descriptions of other streams; readers may share it."""

    def __init__(self, descriptions: Iterable[VmDesc]) -> None:
        self._devices: dict[tuple[str, int], list[DeviceDesc]] = {}
        self._subsections: dict[str, VmsdDesc] = {}
        for description in descriptions:
            for device in description.devices:
                known = self._devices.setdefault((device.name, device.instance_id), [])
                if device not in known:
                    known.append(device)
                for found in _subsections(device.vmsd):
                    self._subsections.setdefault(found.name, found)

    def __call__(self, start: SectionStart) -> Walk | None:
        """Start a walk; None for a section that no description has."""
        devices = self._devices.get((start.idstr, start.instance_id))
        return None if devices is None else self._first(devices, start)

    def _first(self, devices: list[DeviceDesc], start: SectionStart) -> _Walk:
        """Walk as the first description that leads to the footer; the error of the last that does not."""
        footer = struct.pack(">BI", SectionType.FOOTER, start.section_id)
        path, last = start.idstr, StreamError(0, start.idstr, "a description", "found none")
        for device in devices:
            try:
                end = yield from self._vmsd(device.vmsd, 0, path)
                found = yield end, len(footer)
            except StreamError as error:
                last = error
                continue
            if found == footer:
                return end
            last = StreamError(end, path, "the footer of a section seen before", f"found {found!r}")
        raise last

    def _vmsd(self, vmsd: VmsdDesc, at: int, path: str) -> _Walk:
        for field in vmsd.fields:
            inner = field.struct
            if inner is None or not inner.fields or field.type not in {"struct", "vstruct"}:
                at += field.total
                continue
            for _ in range(1 if field.count is None else field.count):
                at = yield from self._vmsd(inner, at, f"{path}.{field.name}")
        while (name := (yield from _name(vmsd.name, at))) is not None:
            found = self._subsections.get(name)
            if found is None:
                raise StreamError(at, path, "a subsection seen before", f"found {name!r}")
            at = yield from self._vmsd(found, at + 6 + len(name), f"{path}/{name}")
        return at


def _name(parent: str, at: int) -> Generator[tuple[int, int], bytes, str | None]:
    """Name of the subsection of `parent` at `at`, None when there is none."""
    head = yield at, 2
    if head[0] != SectionType.SUBSECTION or head[1] <= len(parent):
        return None
    prefix = yield at + 2, len(parent) + 1
    if prefix != f"{parent}/".encode("latin-1"):
        return None
    name = yield at + 2, head[1] + 4
    return name[:-4].decode("latin-1")


def _subsections(vmsd: VmsdDesc) -> Iterator[VmsdDesc]:
    for sub in vmsd.subsections:
        yield sub
        yield from _subsections(sub)
    for field in vmsd.fields:
        if field.struct is not None:
            yield from _subsections(field.struct)

# SPDX-License-Identifier: Apache-2.0
"""The VM description of one file, wherever it is: at the end, before other bytes, or cut off.

Rules:
1. A description costs what it describes and nothing else: what is wrong with it is kept in `flaw`, and the reader goes
   on without it.
2. One that does not end the file is looked for when a section needs it, from that section on: memory comes before.
3. Of one that is cut off the devices whose description is whole are used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.vmdesc import (
    delimit,
    find_vmdesc,
    page_size_of,
    parse_cut_vmdesc,
    parse_vmdesc,
    search_vmdesc,
)

if TYPE_CHECKING:
    from collections.abc import Generator

    from migmatrix.vmstate.view.vmdesc import DeviceDesc, VmDesc
    from migmatrix.vmstate.wire.events import SectionStart
    from migmatrix.vmstate.wire.reader import Walk

__all__ = ["Described"]


class Described:
    """Called with a section, it starts a walk over its payload, as a `Delimiter`; for one reader.

    `vmdesc` is the parsed `text`, shared with `like` when both texts are the same, or one `standing_in` for it;
    `page_size` in bytes is None when the description does not tell it.
    """

    def __init__(
        self, view: memoryview, like: Described | None = None, standing_in: VmDesc | None = None
    ) -> None:
        self._view = view
        self.text = b""
        self.vmdesc = standing_in
        self.flaw: StreamError | None = None
        self.page_size = standing_in.page_size if standing_in else None
        self._seen: dict[tuple[str, int], int] = {}
        self._searched = False
        if (found := find_vmdesc(view)) is not None:
            self._take(*found, like)

    def __call__(self, start: SectionStart) -> Walk | None:
        """A walk over the payload of a section; None for one without a description."""
        self._search(start.offset)
        device = self._next(start.idstr, start.instance_id)
        return None if device is None else self._walk(device)

    def names(self, offset: int) -> frozenset[tuple[str, int]]:
        """(idstr, instance id) of the sections described, for a reader at `offset`."""
        self._search(offset)
        return frozenset((d.name, d.instance_id) for d in self.vmdesc.devices) if self.vmdesc else frozenset()

    def _next(self, idstr: str, instance: int) -> DeviceDesc | None:
        """The description of the next section of that key."""
        key = (idstr, instance)
        nth = self._seen.get(key, 0)
        self._seen[key] = nth + 1
        return self.vmdesc.find(*key, nth) if self.vmdesc is not None else None

    def _walk(self, device: DeviceDesc) -> Generator[tuple[int, int], bytes, int]:
        if not any(field.all_null for field in device.vmsd.fields):
            return (yield from delimit(device))
        from migmatrix.vmstate.view.pointers import correct  # noqa: PLC0415 - few devices have one

        right = yield from correct(device)
        if right is not device and self.vmdesc is not None:
            self.vmdesc = self.vmdesc.with_device(device, right)
        return (yield from delimit(right))

    def _search(self, offset: int) -> None:
        if self._searched or self.text:
            return
        self._searched = True
        if (found := search_vmdesc(self._view, max(offset, 0))) is not None:
            self._take(*found, None)

    def _take(self, offset: int, length: int, like: Described | None) -> None:
        self.text = bytes(self._view[offset + 5 : offset + 5 + length])
        self.page_size = page_size_of(self.text) or self.page_size
        try:
            if like is not None and like.vmdesc is not None and like.text == self.text:
                self.vmdesc = like.vmdesc
            elif len(self.text) < length:
                self.vmdesc = self.vmdesc or parse_cut_vmdesc(self.text, offset + 5)
            else:
                self.vmdesc = parse_vmdesc(self.text, offset + 5)
        except StreamError as error:
            self.flaw = error

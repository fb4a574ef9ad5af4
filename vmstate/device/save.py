# SPDX-License-Identifier: Apache-2.0
"""Saving by a description: the bytes, and their part of the VM description.

1. Order, as in QEMU: `pre_save`, fields, subsections, `post_save` (also after a failure before it).
2. The saver builds the VM description while it writes the bytes, so both always agree.
3. The form of the VM description follows the release (`Style`) where a reader can use QEMU's own form. Where
   none can, the saver uses the nearest readable one: it describes each of several elements of unlike sizes
   (QEMU describes all by the first), gives NULL pointers a type of their own (up to 9.2 they have the
   field's), and describes a queue by its last element (QEMU repeats the keys).
"""

from __future__ import annotations

import struct
from enum import IntEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.device.access import MISSING, lookup
from migmatrix.vmstate.device.common import Position, can_compress, exists, flat
from migmatrix.vmstate.device.description import Field, HookError, Slot, VMState
from migmatrix.vmstate.device.errors import Frame, Kind, VMStateError
from migmatrix.vmstate.device.runs import Run, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Saver", "Style"]

_NULL: Final = b"0"
_VALID: Final = b"1"

Desc = dict[str, Any]


class Style(IntEnum):
    """Form of the VM description, as seen in streams of 5.2, 7.2, 10.0 and 11.1.

    `INDEXED`: each element with an entry of its own has an ``index``, a NULL has the type ``nullptr``.
    `LAST_BARE` (10.0): the same, but the last element has no ``index`` (drives of isapc's fdc, ports of q35's
    ahci). `MARKER` (11.1): none has an ``index``, and the type is ``ptr-marker``.
    """

    INDEXED = 0
    LAST_BARE = 1
    MARKER = 2


class Saver(Position):
    """One save. `data` grows; `base` is the stream offset of its first byte; `path` names it in errors."""

    def __init__(self, path: str = "", base: int = 0, style: Style = Style.INDEXED) -> None:
        super().__init__(path)
        self.data = bytearray()
        self.desc: Desc | None = {}  # the entry to fill; None to describe nothing
        self._base = base
        self._style = style

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._base + len(self.data)

    def put(self, data: bytes) -> None:
        """Append raw bytes."""
        self.data += data

    def number(self, value: int, size: int) -> None:
        """Append an unsigned big-endian number of `size` bytes."""
        try:
            self.data += value.to_bytes(size, "big")
        except OverflowError as too_big:
            raise self.error(Kind.VALUE, f"a number of {size} bytes", f"value is {value}") from too_big

    def save(self, vmsd: VMState, state: Any, version: int | None = None) -> None:
        """Save `state` by `vmsd`, as `version` when it is a versioned struct."""
        if vmsd.pre_save is not None:
            self.hook(Kind.PRE_SAVE, vmsd, vmsd.pre_save, (state,))
        try:
            self._body(vmsd, state, vmsd.version_id if version is None else version)
        except VMStateError:
            self._post_save(vmsd, state, failed=True)
            raise
        self._post_save(vmsd, state, failed=False)

    def _post_save(self, vmsd: VMState, state: Any, *, failed: bool) -> None:
        if vmsd.post_save is None:
            return
        try:
            self.hook(Kind.POST_SAVE, vmsd, vmsd.post_save, (state,))
        except VMStateError:
            if not failed:  # the first failure is the one to report
                raise

    def _body(self, vmsd: VMState, state: Any, version: int) -> None:
        desc = self.desc
        fields: list[Desc] = []
        if desc is not None:
            desc.update(vmsd_name=vmsd.name, version=version, fields=fields)
        for step in steps(vmsd):
            if isinstance(step, Run) and self._save_run(step, state, version, fields):
                continue
            pairs = zip(step.fields, step.unique, strict=True) if isinstance(step, Run) else (step,)
            for field, name in pairs:
                self.desc = desc
                self._save_field(vmsd, field, state, version, fields, name)
            self.desc = desc
        self._subsections(vmsd, state)

    def _save_run(self, run: Run, state: Any, version: int, fields: list[Desc]) -> bool:
        """Save numbers in one go; False when they must go field by field."""
        if version < run.version:
            return False
        try:
            self.data += run.codec.pack(*run.values(state))
        except (AttributeError, struct.error):
            return False
        if self.desc is not None:
            fields += run.entries
        return True

    def _save_field(
        self, vmsd: VMState, field: Field, state: Any, version: int, fields: list[Desc], name: str
    ) -> None:
        present = exists(field, state, version)
        if field.must_exist:
            if not present:
                facts = {"name": vmsd.name, "check": field.name, "version": vmsd.version_id}
                raise self.error(Kind.VALIDATE, f"{field.name!r} to hold", "it does not", **facts)
            return
        if present:
            self._framed(vmsd, field, state, fields, name)

    def _framed(self, vmsd: VMState, field: Field, state: Any, fields: list[Desc], name: str) -> None:
        depth = len(self._path)
        self._path.append(field.name)
        try:
            self._field(field, state, fields, name)
        except VMStateError as error:
            error.frames.append(Frame("field", vmsd.name, field.name, field.type_name))
            raise
        del self._path[depth:]

    def _field(self, field: Field, state: Any, fields: list[Desc], name: str) -> None:
        size = self.amount(state, field.size, field.scale)
        value = lookup(state, field.attr)
        if field.count is None:
            self._described(field, state, value, size, fields, name)
            return
        items = self._items(field, state, value)
        if field.pointers:
            self._pointers(field, state, items, size, fields, name)
        elif field.info is not None and field.info.fmt and (len(items) <= 1 or can_compress(field)):
            self._bulk(field, items, fields, name)
        else:
            self._run(field, state, items, size, fields, name)

    def _items(self, field: Field, state: Any, value: Any) -> Sequence[Any]:
        count = self.amount(state, field.count, field.multiply)
        items: Sequence[Any] = [] if value is MISSING or value is None else flat(value, field.shape)
        if field.attr and len(items) < field.start + count:
            wanted = f"{field.start + count} elements in {field.attr!r}"
            raise self.error(Kind.STATE, wanted, f"state has {len(items)}")
        return items[field.start : field.start + count] if field.attr else [None] * count

    def _bulk(self, field: Field, items: Sequence[Any], fields: list[Desc], name: str) -> None:
        assert field.info is not None  # noqa: S101 - the caller looked
        fmt = field.info.fmt
        try:
            packed = struct.pack(f">{len(items)}{fmt}", *items)
        except struct.error as wrong:
            raise self.error(Kind.VALUE, f"values of type {field.info.name!r}", str(wrong)) from wrong
        self.put(packed)
        if self.desc is not None and items:
            array = {"array_len": len(items)} if len(items) > 1 else {}
            size = struct.calcsize(">" + fmt)
            fields.append({"name": name, **array, "type": field.info.name, "size": size})

    def _run(
        self,
        field: Field,
        state: Any,
        items: Sequence[Any],
        size: int,
        fields: list[Desc],
        name: str,
        at: int = 0,
    ) -> None:
        """Save elements of one kind, the first being number `at`; describe like ones once, else each."""
        entries: list[Desc] = []
        for index, item in enumerate(items, at):
            self._path.append(f"[{index}]")
            self._described(field, state, item, size, entries)
            self._path.pop()
        if len(entries) > 1 and can_compress(field) and all(entry == entries[0] for entry in entries):
            fields.append({"name": name, "array_len": len(entries), **entries[0]})
        else:
            fields.extend(self._numbered(entries, name, at))

    def _numbered(self, entries: list[Desc], name: str, at: int) -> list[Desc]:
        if self._style is Style.MARKER or (len(entries) == 1 and not at):
            return [{"name": name, **entry} for entry in entries]
        last = at + len(entries) - 1 if self._style is Style.LAST_BARE else -1
        return [
            {"name": name, **({} if index == last else {"index": index}), **entry}
            for index, entry in enumerate(entries, at)
        ]

    def _pointers(
        self, field: Field, state: Any, items: Sequence[Any], size: int, fields: list[Desc], name: str
    ) -> None:
        if field.pointers == "auto":
            self._auto(field, state, items, size, fields, name)
            return
        at = 0
        for null, group in groupby(items, key=lambda item: item is None):
            run = list(group)
            if null:
                self._nulls(len(run), fields, name)
            else:
                self._run(field, state, run, size, fields, name, at)
            at += len(run)

    def _nulls(self, count: int, fields: list[Desc], name: str) -> None:
        self.put(_NULL * count)
        if self.desc is not None:
            array = {"array_len": count} if count > 1 else {}
            kind = "ptr-marker" if self._style is Style.MARKER else "nullptr"
            fields.append({"name": name, **array, "type": kind, "size": 1})

    def _auto(
        self, field: Field, state: Any, items: Sequence[Any], size: int, fields: list[Desc], name: str
    ) -> None:
        for index, item in enumerate(items):
            self._path.append(f"[{index}]")
            self.put(_NULL if item is None else _VALID)
            if self.desc is not None:
                fields.append({"name": name, "type": "ptr-marker", "size": 1})
            if item is not None:
                self._described(field, state, item, size, fields, name)
            self._path.pop()

    def _described(
        self, field: Field, state: Any, value: Any, size: int, fields: list[Desc], name: str = ""
    ) -> None:
        """Save one element and append its entry, with the size it took."""
        desc, start = self.desc, len(self.data)
        entry: Desc = {"name": name} if name else {}
        entry["type"] = field.type_name
        if desc is not None:
            fields.append(entry)
            self.desc = entry.setdefault("struct", {}) if entry["type"] == "struct" else entry
        self._element(field, state, value, size)
        entry["size"] = len(self.data) - start
        self.desc = desc

    def _element(self, field: Field, state: Any, value: Any, size: int) -> None:
        if value is MISSING or (value is None and field.info is None):
            raise self.error(Kind.STATE, f"a value in {field.attr!r}", "state has none")
        if field.info is not None:
            self._info(field, state, value, size)
        else:
            assert field.vmsd is not None  # noqa: S101 - a field has an info or a description, see `fields`
            self.save(field.vmsd, value, field.struct_version)

    def _info(self, field: Field, state: Any, value: Any, size: int) -> None:
        info = field.info
        assert info is not None  # noqa: S101 - the caller looked
        try:
            info.put(self, value, Slot(field, state, size))
        except HookError as refused:
            facts = {"type": info.name, "message": str(refused), "errno": refused.errno}
            raise self.error(
                Kind.CUSTOM, f"a {info.name!r} that can be sent", str(refused), **facts
            ) from refused
        except (struct.error, TypeError, AttributeError) as wrong:
            raise self.error(Kind.VALUE, f"a value of type {info.name!r}", str(wrong)) from wrong

    def _subsections(self, vmsd: VMState, state: Any) -> None:
        desc = self.desc
        for sub in vmsd.subsections:
            if sub.needed is not None and not sub.needed(state):
                continue
            name = sub.name.encode()
            self.put(bytes([0x05, len(name)]) + name)
            self.number(sub.version_id, 4)
            self.desc = None if desc is None else {}
            if desc is not None:
                desc.setdefault("subsections", []).append(self.desc)
            self._path.append(sub.name)
            self.save(sub, state)
            self._path.pop()
        self.desc = desc

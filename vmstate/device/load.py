# SPDX-License-Identifier: Apache-2.0
"""Loading by a description.

1. Order, as in QEMU: version check, `pre_load`, fields, subsections, `post_load`.
2. Counts and sizes come from the state as the bytes before an element have left it.
3. The bytes read bound the memory: the loader makes nothing for an element before it has its bytes.
4. An array has as many elements as the state gave it, unless loading replaces it (`alloc`): a count beyond that is
   refused. QEMU leaves that check to each device (docs/decisions/0020-arrays-have-room.md).
5. A failed load leaves the state half loaded, as QEMU's does.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, MutableMapping, MutableSequence
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.device.access import MISSING, lookup, store
from migmatrix.vmstate.device.common import Position, exists, flat, nested
from migmatrix.vmstate.device.description import Field, HookError, Slot, VMState
from migmatrix.vmstate.device.errors import Frame, Kind, VMStateError
from migmatrix.vmstate.device.runs import Run, steps

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Source

__all__ = ["Loader"]

_SUBSECTION: Final = 0x05
_NULL: Final = 0x30
_VALID: Final = 0x31
_MAX_EMPTY: Final = 1 << 14  # elements without bytes in one load; more is a stream made to waste time


class Loader(Position):
    """One load from one source; `path` is the section's name in errors."""

    def __init__(self, source: Source, path: str = "") -> None:
        super().__init__(path)
        self._source = source
        self._empty = 0
        self._at_end = False

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._source.offset

    def take(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        at = self.offset
        data = self._source.take(count)
        if len(data) < count:
            raise self._truncated(at, count, len(data))
        return bytes(data)

    def _truncated(self, at: int, count: int, read: int) -> VMStateError:
        wanted = f"{count} {'byte' if count == 1 else 'bytes'}"
        return VMStateError(at, self.where(), wanted, f"read {read}", Kind.TRUNCATED, {"read": read})

    def number(self, size: int) -> int:
        """An unsigned big-endian number of `size` bytes."""
        return int.from_bytes(self.take(size), "big")

    def load(self, vmsd: VMState, state: Any, version: int) -> None:
        """Load `vmsd` as `version` into `state`."""
        self._check(vmsd, version)
        if vmsd.pre_load is not None:
            self.hook(Kind.PRE_LOAD, vmsd, vmsd.pre_load, (state,))
        for step in steps(vmsd):
            if isinstance(step, Run):
                if not self._load_run(step, state, version):
                    for field in step.fields:
                        self._load_field(vmsd, field, state, version)
            else:
                self._load_field(vmsd, step[0], state, version)
        self._subsections(vmsd, state)
        if vmsd.post_load is not None:
            self.hook(Kind.POST_LOAD, vmsd, vmsd.post_load, (state, version))

    def _load_run(self, run: Run, state: Any, version: int) -> bool:
        """Load numbers in one go; False, with nothing consumed, when they must go field by field."""
        holder = lookup(state, run.holder)
        if version < run.version or isinstance(holder, Mapping):
            return False
        data = self._source.peek(run.codec.size)
        if len(data) < run.codec.size:
            return False
        try:
            for name, value in zip(run.names, run.codec.unpack(data), strict=True):
                setattr(holder, name, value)
        except AttributeError:
            return False
        self._source.take(run.codec.size)
        return True

    def _check(self, vmsd: VMState, version: int) -> None:
        if version > vmsd.version_id:
            kind, limit, expected = Kind.TOO_NEW, vmsd.version_id, "at most"
        elif version < vmsd.minimum_version_id:
            kind, limit, expected = Kind.TOO_OLD, vmsd.minimum_version_id, "at least"
        else:
            return
        raise self.error(
            kind, f"{vmsd.name!r} version {expected} {limit}", f"read {version}",
            name=vmsd.name, incoming=version, local=limit,
        )  # fmt: skip

    def _load_field(self, vmsd: VMState, field: Field, state: Any, version: int) -> None:
        present = exists(field, state, version)
        if field.must_exist:
            if not present:
                raise self._invalid(vmsd, field)
        elif present:
            self._framed(vmsd, field, state)

    def _invalid(self, vmsd: VMState, field: Field) -> VMStateError:
        facts = {"name": vmsd.name, "check": field.name, "version": vmsd.version_id}
        return self.error(Kind.VALIDATE, f"{field.name!r} to hold", "it does not", **facts)

    def _framed(self, vmsd: VMState, field: Field, state: Any) -> None:
        depth = len(self._path)
        self._path.append(field.name)
        try:
            if field.count is None:
                self._single(field, state)
            else:
                self._array(field, state)
            if (
                self._at_end
            ):  # a look for subsections inside the field met the end: QEMU's error is the field's
                raise self._truncated(self.offset, 1, 0)
        except VMStateError as error:
            error.frames.append(Frame("field", vmsd.name, field.name, field.type_name))
            raise
        del self._path[depth:]

    def _single(self, field: Field, state: Any) -> None:
        old = lookup(state, field.attr)
        size = self.amount(state, field.size, field.scale)
        new = self._element(field, state, old, size)
        if new is not old:
            self._store(field, state, new)

    def _store(self, field: Field, state: Any, value: Any) -> None:
        try:
            store(state, field.attr, value)
        except AttributeError as missing:
            raise self.error(Kind.STATE, f"state with {field.attr!r}", str(missing)) from missing

    def _element(self, field: Field, holder: Any, old: Any, size: int) -> Any:
        if field.info is not None:
            return self._info(field, holder, old, size)
        vmsd = field.vmsd
        assert vmsd is not None  # noqa: S101 - a field has an info or a description, see `fields`
        target = self._target(field, holder, old)
        self.load(vmsd, target, vmsd.version_id if field.struct_version is None else field.struct_version)
        return target

    def _info(self, field: Field, holder: Any, old: Any, size: int) -> Any:
        info = field.info
        assert info is not None  # noqa: S101 - the caller looked
        try:
            return info.get(self, None if old is MISSING else old, Slot(field, holder, size))
        except HookError as refused:
            raise self.error(
                Kind.CUSTOM, f"a {info.name!r} that fits", str(refused),
                type=info.name, message=str(refused), errno=refused.errno,
            ) from refused  # fmt: skip

    def _target(self, field: Field, holder: Any, old: Any) -> Any:
        """The object to load a struct into: the old one, else a new one."""
        if old is not MISSING and old is not None:
            return old
        if field.new is not None:
            return field.new()
        if isinstance(holder, MutableMapping):
            return {}
        raise self.error(Kind.STATE, f"an object in {field.attr!r}", "state has none and no way to make it")

    def _array(self, field: Field, state: Any) -> None:
        old = lookup(state, field.attr)
        count = self.amount(state, field.count, field.multiply)
        size = self.amount(state, field.size, field.scale)
        before = [] if not field.attr or old is MISSING or old is None else flat(old, field.shape)
        if len(before) < field.start:
            raise self.error(
                Kind.STATE, f"{field.start} elements in {field.attr!r}", f"state has {len(before)}"
            )
        self._check_room(field, before, count)
        if field.info is not None and field.info.fmt and not field.pointers:
            loaded = self._bulk(field.info.fmt, count)
        else:
            loaded = self._each(field, state, before, count, size)
        if field.attr:
            self._put_back(field, state, old, before, loaded)

    def _check_room(self, field: Field, before: Any, count: int) -> None:
        """Refuse more elements than an array that loading does not replace has; QEMU would write beyond its end."""
        room = len(before) - field.start
        if field.attr and before and count > room and not field.alloc:
            raise self.error(Kind.COUNT, f"at most {room} elements in {field.name!r}", f"read {count}")

    def _bulk(self, fmt: str, count: int) -> list[Any]:
        width = struct.calcsize(">" + fmt)
        data = self.take(count * width)
        return list(data) if fmt == "B" else list(struct.unpack(f">{count}{fmt}", data))

    def _each(self, field: Field, state: Any, before: Any, count: int, size: int) -> list[Any]:
        loaded: list[Any] = []
        for index in range(count):
            number = field.start + index
            old = before[number] if number < len(before) else MISSING
            self._path.append(f"[{index}]")
            at = self.offset
            loaded.append(self._pointed(field, state, old, size))
            self._path.pop()
            if self.offset == at:
                self._count_empty()
        return loaded

    def _count_empty(self) -> None:
        self._empty += 1
        if self._empty > _MAX_EMPTY:
            raise self.error(Kind.COUNT, f"at most {_MAX_EMPTY} elements without bytes", "read more")

    def _pointed(self, field: Field, state: Any, old: Any, size: int) -> Any:
        """An element; in an array of pointers, what the marker says."""
        if not field.pointers:
            return self._element(field, state, old, size)
        auto = field.pointers == "auto"
        if not auto and old is not None and old is not MISSING:
            return self._element(field, state, old, size)
        marker = self.number(1)
        if marker == _NULL:
            return None
        if auto and marker == _VALID:
            return self._element(field, state, MISSING, size)
        raise self.error(Kind.NULL_MARKER, "the mark of a null pointer", f"read {marker:#x}", incoming=marker)

    def _put_back(self, field: Field, state: Any, old: Any, before: Any, loaded: list[Any]) -> None:
        end = len(before) if field.alloc else field.start + len(loaded)
        if isinstance(old, MutableSequence) and not field.shape:
            old[field.start : end] = loaded if not isinstance(old, bytearray) else bytes(loaded)
            return
        whole = [*before[: field.start], *loaded, *before[end:]]
        if isinstance(old, bytes | tuple):
            self._store(field, state, type(old)(whole))
        else:
            self._store(field, state, nested(whole, field.shape))

    def _subsections(self, vmsd: VMState, state: Any) -> None:
        """Load the subsections that follow; leave the first that is not of `vmsd` unread."""
        while (name := self._next_subsection(vmsd)) is not None:
            sub = next((s for s in vmsd.subsections if s.name.encode() == name), None)
            if sub is None:
                text = name.decode("ascii", "backslashreplace")
                raise self.error(
                    Kind.UNKNOWN_SUBSECTION, f"a subsection of {vmsd.name!r}", f"read {text!r}",
                    name=text, parent=vmsd.name,
                )  # fmt: skip
            self.take(2 + len(name))
            self._subsection(vmsd, sub, state)

    def _next_subsection(self, vmsd: VMState) -> bytes | None:
        name = self._look(vmsd.name.encode())
        self._at_end = self._source.fell_short
        return name

    def _look(self, prefix: bytes) -> bytes | None:
        if self._source.peek(1) != bytes([_SUBSECTION]):
            return None
        length = int.from_bytes(self._source.peek(1, 1), "big")
        if length < len(prefix) + 1:
            return None
        name = bytes(self._source.peek(length, 2))
        return name if len(name) == length and name.startswith(prefix) else None

    def _subsection(self, vmsd: VMState, sub: VMState, state: Any) -> None:
        depth = len(self._path)
        self._path.append(sub.name)
        version = self.number(4) & 0xFF  # QEMU keeps it in 8 bits
        try:
            self.load(sub, state, version)
        except VMStateError as error:
            error.frames.append(Frame("subsection", vmsd.name, sub.name))
            raise
        del self._path[depth:]

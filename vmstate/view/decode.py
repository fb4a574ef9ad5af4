# SPDX-License-Identifier: Apache-2.0
"""A device's payload to named values, by its VM description.

`decode(device, raw)` gives a tree of nodes in wire order; `leaves` flattens it to ``fifo[3].len`` paths.
Types with a known wire form become numbers, booleans, tuples of them or bytes; every other type stays bytes
(`vmstate.view.opaque` knows some of those). A description may not fit its bytes (QEMU up to 7.2 describes
arrays of pointers with holes wrongly): then the node keeps its bytes, and `problem` says why.

Offsets are relative to the payload. Scalar types: QEMU `migration/vmstate-types.c`, seen in streams 5.2 to
11.1.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.vmdesc import DeviceDesc, FieldDesc, VmsdDesc
    from migmatrix.vmstate.wire.window import Buffer

__all__ = ["Node", "Value", "decode", "leaves"]

Value = int | bool | bytes | tuple[int, ...] | tuple[bool, ...] | None

_SCALARS: Final = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "int32 equal": "i",
    "uint8 equal": "B",
    "uint16 equal": "H",
    "uint32 equal": "I",
    "int64 equal": "Q",  # QEMU's name of the unsigned one
    "int32 le": "i",
    "timer": "Q",
    "CPU_Double_U": "Q",
}
_NULL: Final = ("nullptr", "ptr-marker")
_AS_ONE: Final = frozenset((*_SCALARS, *_NULL, "buffer", "unused_buffer"))  # arrays of these are one value
_SPARE: Final = 4096  # nodes allowed beyond those that the payload's length pays for


class Node(Record):
    """A field, an array element, a struct or a subsection.

    `offset` and `size` in bytes of the payload; `value` is None when there are `children`. `kind` is the
    description's type, ``struct`` or ``subsection``. `problem` says why children are missing.
    """

    name: str
    kind: str
    offset: int
    size: int
    value: Value = None
    children: tuple[Node, ...] = ()
    version: int | None = None
    problem: str = field(default="", compare=False)


def decode(device: DeviceDesc, raw: Buffer) -> Node:
    """The payload of one section as a node named after it; StreamError when the outer sizes do not fit."""
    return _Decoder(raw, device).device()


def leaves(node: Node, path: str = "") -> Iterator[tuple[str, Node]]:
    """(path, node) of everything with a value, in wire order; a subsection is the step ``/name``."""
    for child in node.children:
        name = f"{path}/{child.name}" if child.kind == "subsection" else _join(path, child.name)
        if child.children or child.kind == "subsection":
            yield from leaves(child, name)
        else:
            yield name, child


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


class _Decoder:
    """Walks one payload. `_left` bounds the number of nodes by the bytes, whatever the description says."""

    def __init__(self, raw: Buffer, device: DeviceDesc) -> None:
        self._raw = memoryview(raw)
        self._device = device
        self._left = len(raw) + _SPARE

    def device(self) -> Node:
        vmsd, name = self._device.vmsd, self._device.name
        children, end = self._body(vmsd, 0, name)
        if end != len(self._raw):
            raise StreamError(end, name, f"the end at {end} bytes", f"found {len(self._raw)}")
        return Node(name, "struct", 0, end, None, children, vmsd.version)

    def _spend(self, path: str) -> None:
        self._left -= 1
        if self._left < 0:
            raise StreamError(0, path, "a description that fits its payload", "found too many fields")

    def _body(self, vmsd: VmsdDesc, at: int, path: str) -> tuple[tuple[Node, ...], int]:
        """Fields then subsections of `vmsd` from `at`; and where they end."""
        nodes: list[Node] = []
        split = _split(vmsd)
        for f in vmsd.fields:
            if at + f.total > len(self._raw):
                found = f"read {max(len(self._raw) - at, 0)}"
                raise StreamError(at, _join(path, f.name), f"{f.total} bytes", found)
            first = split.get(f.name)
            nodes.extend(self._field(f, at, path, first))
            if first is not None:
                split[f.name] = first + (1 if f.count is None else f.count)
            at += f.total
        for sub in vmsd.subsections:
            node, at = self._subsection(sub, at, path)
            nodes.append(node)
        return tuple(nodes), at

    def _subsection(self, sub: VmsdDesc, at: int, path: str) -> tuple[Node, int]:
        self._spend(path)
        start = at + 6 + len(sub.name)
        head = bytes(self._raw[at:start])
        if head[:1] != b"\x05" or head[2:-4] != sub.name.encode("latin-1"):
            raise StreamError(at, path, f"subsection {sub.name!r}", f"found {head!r}")
        children, end = self._body(sub, start, f"{path}/{sub.name}")
        version = int.from_bytes(head[-4:])
        return Node(sub.name, "subsection", at, end - at, None, children, version), end

    def _field(self, f: FieldDesc, at: int, path: str, first: int | None) -> Iterator[Node]:
        """Nodes of an entry; `first` is its first index when it is a part of an array."""
        if f.type == "qtailq" and f.struct is not None:
            yield from self._queue(f, f.struct, at, path)
            return
        make = self._scalar if f.struct is None or f.type in _NULL else self._struct
        one = f.count is None or (make == self._scalar and f.type in _AS_ONE)
        if first is None and one:
            yield make(f, f.name, at, path)
        elif f.size:
            element = f.element()
            for i in range(1 if f.count is None else f.count):
                yield make(element, f"{f.name}[{(first or 0) + i}]", at + i * f.size, path)

    def _queue(self, f: FieldDesc, vmsd: VmsdDesc, at: int, path: str) -> tuple[Node, ...]:
        """Elements, each after a byte 1, up to a byte 0. The description is that of the last one."""
        found: list[Node] = []
        next_, end = at, at + f.size
        try:
            while next_ < end and self._raw[next_] == 1:
                self._spend(path)
                name = f"{f.name}[{len(found)}]"
                children, stop = self._body(vmsd, next_ + 1, _join(path, name))
                found.append(Node(name, "struct", next_ + 1, stop - next_ - 1, None, children, vmsd.version))
                next_ = stop
        except StreamError as error:
            return (self._as_bytes(f, f.name, at, str(error)),)
        if next_ + 1 != end or self._raw[next_]:
            return (
                self._as_bytes(
                    f, f.name, at, f"elements as the last one end at {next_ - at} of {f.size} bytes"
                ),
            )
        return tuple(found)

    def _as_bytes(self, f: FieldDesc, name: str, at: int, problem: str) -> Node:
        return Node(name, f.type, at, f.size, bytes(self._raw[at : at + f.size]), problem=problem)

    def _scalar(self, f: FieldDesc, name: str, at: int, path: str) -> Node:
        self._spend(path)
        raw = bytes(self._raw[at : at + f.total])
        return Node(name, f.type, at, f.total, _value(f, raw))

    def _struct(self, f: FieldDesc, name: str, at: int, path: str) -> Node:
        self._spend(path)
        vmsd = f.struct
        if vmsd is None or not (vmsd.fields or vmsd.subsections):
            return self._as_bytes(f, name, at, "")
        try:
            children, end = self._body(vmsd, at, _join(path, name))
        except StreamError as error:
            return self._as_bytes(f, name, at, str(error))
        if end != at + f.size:
            return self._as_bytes(f, name, at, f"described as {end - at} bytes, takes {f.size}")
        return Node(name, f.type, at, f.size, None, children, vmsd.version)


def _split(vmsd: VmsdDesc) -> dict[str, int]:
    """Names of arrays that are spread over several entries, each with its next index.

    Up to 7.2 such entries have an index, in 10.0 all but the last, in 11.1 none.
    """
    count: dict[str, int] = {}
    for f in vmsd.fields:
        count[f.name] = count.get(f.name, 0) + (1 if f.index is None else 2)
    return {name: 0 for name, entries in count.items() if entries > 1}


def _value(f: FieldDesc, raw: bytes) -> Value:
    """Decode by type; bytes when the type is opaque or its size is not the type's."""
    code = _SCALARS.get(f.type)
    if code is None or f.size != struct.calcsize(f">{code}") or not raw:
        return raw
    values = struct.unpack(f">{len(raw) // f.size}{code}", raw)
    return values if f.count is not None else values[0]

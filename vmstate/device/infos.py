# SPDX-License-Identifier: Apache-2.0
"""The element types that are not structs: numbers, checked numbers, buffers, bitmaps, timers, queues, trees.

Names are those of QEMU's VM description; each type states its wire form; all numbers are big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.device.description import Info, Slot, VMState
from migmatrix.vmstate.device.errors import Kind

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = [
    "BITMAP", "BOOL", "BUFFER", "CPU_DOUBLE", "GTREE", "INT8", "INT16", "INT32", "INT32_EQUAL", "INT32_LE",
    "INT64", "QLIST", "QTAILQ", "TIMER", "TMP", "UINT8", "UINT8_EQUAL", "UINT16", "UINT16_EQUAL", "UINT32",
    "UINT32_EQUAL", "UINT64", "UINT64_EQUAL", "UNUSED",
]  # fmt: skip

_NEVER: Final = 0xFFFF_FFFF_FFFF_FFFF  # expiry of a timer that is not armed


def _scalar(name: str, fmt: str) -> Info:
    packer = struct.Struct(">" + fmt)

    def get(reading: Reading, _old: Any, _slot: Slot) -> Any:
        return packer.unpack(reading.take(packer.size))[0]

    def put(writing: Writing, value: Any, _slot: Slot) -> None:
        writing.put(packer.pack(value))

    return Info(name, get, put, fmt)


def _equal(name: str, fmt: str) -> Info:
    """A number that must be the destination's own."""
    plain = _scalar(name, fmt)
    mask = (1 << 8 * struct.calcsize(fmt)) - 1

    def get(reading: Reading, old: Any, slot: Slot) -> Any:
        incoming = plain.get(reading, old, slot)
        if incoming != old:
            facts = {"local": old, "incoming": incoming, "hint": slot.field.hint, "mask": mask}
            raise reading.error(Kind.EQUAL, f"{old!r}", f"read {incoming}", **facts)
        return incoming

    return Info(name, get, plain.put)


def _get_le(reading: Reading, old: Any, slot: Slot) -> Any:
    incoming = INT32.get(reading, old, slot)
    if not 0 <= incoming <= (old or 0):  # no local value is a zeroed one
        raise reading.error(Kind.NOT_LE, f"0 to {old!r}", f"read {incoming}", local=old, incoming=incoming)
    return incoming


def _get_bool(reading: Reading, _old: Any, _slot: Slot) -> bool:
    return reading.number(1) != 0


def _put_bool(writing: Writing, value: Any, _slot: Slot) -> None:
    writing.put(b"\1" if value else b"\0")


def _get_timer(reading: Reading, _old: Any, _slot: Slot) -> int | None:
    expiry = reading.number(8)
    return None if expiry == _NEVER else expiry


def _put_timer(writing: Writing, value: Any, _slot: Slot) -> None:
    writing.number(_NEVER if value is None else value, 8)


def _get_buffer(reading: Reading, old: Any, slot: Slot) -> Any:
    """Replace `size` bytes of the old value from `start` on; a bytearray stays the same object."""
    first, data = slot.field.start, reading.take(slot.size)
    before = b"" if old is None else old
    if len(before) < first:
        raise reading.error(Kind.STATE, f"{first} bytes before the buffer", f"state has {len(before)}")
    end = len(before) if slot.field.alloc else first + len(data)
    if isinstance(before, bytearray):
        before[first:end] = data
        return before
    return bytes(before[:first]) + data + bytes(before[end:])


def _put_buffer(writing: Writing, value: Any, slot: Slot) -> None:
    first = slot.field.start
    data = bytes(b"" if value is None else value)[first : first + slot.size]
    if len(data) < slot.size:
        raise writing.error(Kind.STATE, f"{slot.size} bytes", f"state has {len(data)}")
    writing.put(data)


def _get_unused(reading: Reading, _old: Any, slot: Slot) -> Any:
    reading.take(slot.size)
    return slot.holder


def _put_unused(writing: Writing, _value: Any, slot: Slot) -> None:
    writing.put(bytes(slot.size))


def _words(slot: Slot) -> int:
    return (slot.size + 63) // 64


def _get_bitmap(reading: Reading, _old: Any, slot: Slot) -> int:
    """64-bit words, the first holds bits 0 to 63."""
    count = _words(slot)
    words = struct.unpack(f">{count}Q", reading.take(8 * count))
    return int.from_bytes(struct.pack(f"<{count}Q", *words), "little")


def _put_bitmap(writing: Writing, value: Any, slot: Slot) -> None:
    count = _words(slot)
    if not 0 <= value < 1 << 64 * count:
        raise writing.error(Kind.VALUE, f"a bitmap of {slot.size} bits", f"value is {value:#x}")
    words = struct.unpack(f"<{count}Q", value.to_bytes(8 * count, "little"))
    writing.put(struct.pack(f">{count}Q", *words))


def _inner(slot: Slot) -> VMState:
    assert slot.field.vmsd is not None  # noqa: S101 - the constructors in `fields` set it
    return slot.field.vmsd


def _make(slot: Slot, reading: Reading) -> Any:
    if slot.field.new is not None:
        return slot.field.new()
    if isinstance(slot.holder, MutableMapping):
        return {}
    raise reading.error(Kind.STATE, "a way to make elements", f"{slot.field.name!r} has none")


def _get_tmp(reading: Reading, _old: Any, slot: Slot) -> Any:
    assert slot.field.new is not None  # noqa: S101 - the constructor sets it
    reading.load(_inner(slot), slot.field.new(slot.holder), slot.field.version)
    return slot.holder


def _put_tmp(writing: Writing, _value: Any, slot: Slot) -> None:
    assert slot.field.new is not None  # noqa: S101 - the constructor sets it
    writing.save(_inner(slot), slot.field.new(slot.holder))


def _check_element(reading: Reading, vmsd: VMState, version: int) -> None:
    """Check the version of an element: that of the field that holds it."""
    if vmsd.minimum_version_id <= version <= vmsd.version_id:
        return
    problem = "too new" if version > vmsd.version_id else "too old"
    expected = f"{vmsd.name!r} version {vmsd.minimum_version_id} to {vmsd.version_id}"
    raise reading.error(
        Kind.ELEMENT_VERSION, expected, f"field has {version}", name=vmsd.name, problem=problem
    )


def _load_queue(reading: Reading, slot: Slot) -> list[Any]:
    """A byte that is not 0 before each element, 0 at the end."""
    vmsd, version = _inner(slot), slot.field.version
    _check_element(reading, vmsd, version)
    loaded = []
    while reading.number(1):
        element = _make(slot, reading)
        reading.load(vmsd, element, version)
        loaded.append(element)
    return loaded


def _get_qtailq(reading: Reading, old: Any, slot: Slot) -> Any:
    """Append loaded elements to those of the state."""
    return [*(old or ()), *_load_queue(reading, slot)]


def _get_qlist(reading: Reading, old: Any, slot: Slot) -> Any:
    """Put loaded elements before those of the state, in wire order."""
    return [*_load_queue(reading, slot), *(old or ())]


def _put_queue(writing: Writing, value: Any, slot: Slot) -> None:
    for element in value or ():
        writing.put(b"\1")
        writing.save(_inner(slot), element)
    writing.put(b"\0")


def _put_gtree(writing: Writing, value: Any, slot: Slot) -> None:
    """Number of nodes, then 1, key and value each, 0 at the end; a dict of numbers goes in key order."""
    nodes = sorted(value.items()) if isinstance(value, Mapping) else list(value or ())
    writing.number(len(nodes), 4)
    for key, element in nodes:
        writing.put(b"\1")
        if slot.field.key is None:
            writing.number(key, 8)
        else:
            writing.save(slot.field.key, key)
        writing.save(_inner(slot), element)
    writing.put(b"\0")


def _get_gtree(reading: Reading, old: Any, slot: Slot) -> Any:
    """Numbered keys go into a dict, others into a list of pairs; nodes of the state stay."""
    vmsd, version = _inner(slot), slot.field.version
    for inner in (slot.field.key, vmsd):
        if inner is not None:
            _check_element(reading, inner, version)
    nodes = reading.number(4)
    pairs: list[tuple[Any, Any]] = []
    while reading.number(1):
        if len(pairs) == nodes:
            raise reading.error(Kind.TREE, f"{nodes} nodes", "read more", nodes=nodes)
        key = _get_key(reading, slot)
        element = _make(slot, reading)
        reading.load(vmsd, element, version)
        pairs.append((key, element))
    if len(pairs) != nodes:
        raise reading.error(Kind.TREE, f"{nodes} nodes", f"read {len(pairs)}", nodes=nodes)
    return {**(old or {}), **dict(pairs)} if slot.field.key is None else [*(old or ()), *pairs]


def _get_key(reading: Reading, slot: Slot) -> Any:
    if slot.field.key is None:
        return reading.number(8)
    key: dict[str, Any] = {}
    reading.load(slot.field.key, key, slot.field.version)
    return key


INT8: Final = _scalar("int8", "b")
INT16: Final = _scalar("int16", "h")
INT32: Final = _scalar("int32", "i")
INT64: Final = _scalar("int64", "q")
UINT8: Final = _scalar("uint8", "B")
UINT16: Final = _scalar("uint16", "H")
UINT32: Final = _scalar("uint32", "I")
UINT64: Final = _scalar("uint64", "Q")
CPU_DOUBLE: Final = _scalar("CPU_Double_U", "Q")  # upper then lower half of a double's bits
INT32_EQUAL: Final = _equal("int32 equal", "i")
UINT8_EQUAL: Final = _equal("uint8 equal", "B")
UINT16_EQUAL: Final = _equal("uint16 equal", "H")
UINT32_EQUAL: Final = _equal("uint32 equal", "I")
UINT64_EQUAL: Final = _equal("int64 equal", "Q")  # QEMU's own name for it
INT32_LE: Final = Info("int32 le", _get_le, INT32.put)
BOOL: Final = Info("bool", _get_bool, _put_bool)
TIMER: Final = Info("timer", _get_timer, _put_timer)
BUFFER: Final = Info("buffer", _get_buffer, _put_buffer)
UNUSED: Final = Info("unused_buffer", _get_unused, _put_unused)
BITMAP: Final = Info("bitmap", _get_bitmap, _put_bitmap)
TMP: Final = Info("tmp", _get_tmp, _put_tmp)
QTAILQ: Final = Info("qtailq", _get_qtailq, _put_queue)
QLIST: Final = Info("qlist", _get_qlist, _put_queue)
GTREE: Final = Info("gtree", _get_gtree, _put_gtree)

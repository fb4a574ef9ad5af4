# SPDX-License-Identifier: Apache-2.0
"""Constructors of description fields, named after QEMU's VMSTATE macros.

    VMSTATE_UINT8(status, S)                     uint8("status")
    VMSTATE_UINT16_V(ip_id, Slirp, 2)            uint16("ip_id", version=2)
    VMSTATE_UINT32_TEST(foo, S, pre_baz)         uint32("foo", test=pre_baz)
    VMSTATE_UINT32_ARRAY(regs, S, 8)             uint32("regs", count=8)
    VMSTATE_VARRAY_INT32(buf, S, len, 1, ...)    uint8("buf", count="len", version=1)
    VMSTATE_STRUCT(parent_obj, S, 0, vmsd, T)    struct("parent_obj", vmsd)
    VMSTATE_UNUSED(4)                            unused(4)

Each takes the keywords of `Options`. The constructor fixes the wire form, `attr` the attribute with the
value.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from migmatrix.vmstate.device import infos
from migmatrix.vmstate.device.description import Field, Info, Pointers, VMState

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Options", "bitmap", "boolean", "buffer", "cpu_double", "custom", "gtree", "int8", "int16", "int32",
    "int32_equal", "int32_le", "int64", "qlist", "qtailq", "struct", "timer", "uint8", "uint8_equal", "uint16",
    "uint16_equal", "uint32", "uint32_equal", "uint64", "uint64_equal", "unused", "validate", "vstruct",
    "with_tmp",
]  # fmt: skip


class Options(TypedDict, total=False):
    """Options of every field.

    `attr`: the path of the value when it differs from the field's name; "" is the state itself.
    `version`: first version that has the field; `test(state, version)` decides alone when given.
    `count`: number of elements, ``(rows, columns)``, or the attribute of an earlier field that holds it;
    `multiply` is a factor of it, `start` the first element sent. `alloc`: loading replaces the whole array.
    `pointers`: elements may be None, see `Pointers`. `new`: makes an element that is not there when loading.
    `since`, `until`: first release that has the field, first without it.
    """

    attr: str
    version: int
    test: Callable[[Any, int], bool]
    count: int | str | tuple[int, ...]
    multiply: int
    start: int
    alloc: bool
    pointers: Pointers
    new: Callable[..., Any]
    hint: str
    since: str
    until: str


def _field(name: str, options: Options, **fixed: Any) -> Field:
    given: dict[str, Any] = {"attr": name, **options, **fixed}
    count = given.get("count")
    if isinstance(count, tuple):
        given.update(count=prod(count), shape=count)
    return Field(name=name, **given)


def boolean(name: str, **options: Unpack[Options]) -> Field:
    """One byte; any but 0 is true."""
    return _field(name, options, info=infos.BOOL)


def int8(name: str, **options: Unpack[Options]) -> Field:
    """Signed, 1 byte."""
    return _field(name, options, info=infos.INT8)


def int16(name: str, **options: Unpack[Options]) -> Field:
    """Signed, 2 bytes."""
    return _field(name, options, info=infos.INT16)


def int32(name: str, **options: Unpack[Options]) -> Field:
    """Signed, 4 bytes."""
    return _field(name, options, info=infos.INT32)


def int64(name: str, **options: Unpack[Options]) -> Field:
    """Signed, 8 bytes."""
    return _field(name, options, info=infos.INT64)


def uint8(name: str, **options: Unpack[Options]) -> Field:
    """Unsigned, 1 byte."""
    return _field(name, options, info=infos.UINT8)


def uint16(name: str, **options: Unpack[Options]) -> Field:
    """Unsigned, 2 bytes."""
    return _field(name, options, info=infos.UINT16)


def uint32(name: str, **options: Unpack[Options]) -> Field:
    """Unsigned, 4 bytes."""
    return _field(name, options, info=infos.UINT32)


def uint64(name: str, **options: Unpack[Options]) -> Field:
    """Unsigned, 8 bytes."""
    return _field(name, options, info=infos.UINT64)


def uint8_equal(name: str, **options: Unpack[Options]) -> Field:
    """1 byte; loading fails unless the destination has the same value; the error shows `hint`."""
    return _field(name, options, info=infos.UINT8_EQUAL)


def uint16_equal(name: str, **options: Unpack[Options]) -> Field:
    """2 bytes, must be equal."""
    return _field(name, options, info=infos.UINT16_EQUAL)


def uint32_equal(name: str, **options: Unpack[Options]) -> Field:
    """4 bytes, must be equal."""
    return _field(name, options, info=infos.UINT32_EQUAL)


def int32_equal(name: str, **options: Unpack[Options]) -> Field:
    """Signed, 4 bytes, must be equal."""
    return _field(name, options, info=infos.INT32_EQUAL)


def uint64_equal(name: str, **options: Unpack[Options]) -> Field:
    """8 bytes, must be equal."""
    return _field(name, options, info=infos.UINT64_EQUAL)


def int32_le(name: str, **options: Unpack[Options]) -> Field:
    """4 bytes; loading fails unless 0 <= value <= the destination's (VMSTATE_INT32_POSITIVE_LE)."""
    return _field(name, options, info=infos.INT32_LE)


def cpu_double(name: str, **options: Unpack[Options]) -> Field:
    """The 64 bits of a double as a number: upper half, then lower half."""
    return _field(name, options, info=infos.CPU_DOUBLE)


def timer(name: str, **options: Unpack[Options]) -> Field:
    """Expiry in ns of the timer's clock, None for an idle timer; 8 bytes."""
    return _field(name, options, info=infos.TIMER)


def bitmap(name: str, bits: int | str, **options: Unpack[Options]) -> Field:
    """A bitmap as a number. `bits`: how many, or the attribute that holds it, which this field does not send."""
    return _field(name, options, info=infos.BITMAP, size=bits)


def buffer(name: str, size: int | str, *, scale: int = 1, **options: Unpack[Options]) -> Field:
    """Raw bytes from `start` on. `size`: how many, or the attribute of an earlier field, times `scale`."""
    return _field(name, options, info=infos.BUFFER, size=size, scale=scale)


def unused(size: int, **options: Unpack[Options]) -> Field:
    """Bytes of a former field: save writes zeros, load ignores them."""
    return _field("unused", {**options, "attr": ""}, info=infos.UNUSED, size=size)


def struct(name: str, vmsd: VMState, **options: Unpack[Options]) -> Field:
    """Another description, inline, at its own version."""
    return _field(name, options, vmsd=vmsd)


def vstruct(name: str, vmsd: VMState, struct_version: int, **options: Unpack[Options]) -> Field:
    """Another description, inline, at a fixed version."""
    return _field(name, options, vmsd=vmsd, struct_version=struct_version)


def qtailq(name: str, vmsd: VMState, **options: Unpack[Options]) -> Field:
    """A tail queue: a list. Save sends elements at `vmsd`'s version, load reads them at the field's."""
    return _field(name, options, info=infos.QTAILQ, vmsd=vmsd)


def qlist(name: str, vmsd: VMState, **options: Unpack[Options]) -> Field:
    """A list; loaded elements come first."""
    return _field(name, options, info=infos.QLIST, vmsd=vmsd)


def gtree(name: str, vmsd: VMState, key: VMState | None = None, **options: Unpack[Options]) -> Field:
    """A tree: a dict when keys are numbers (8 bytes), else a list of pairs whose keys are described by `key`."""
    return _field(name, options, info=infos.GTREE, vmsd=vmsd, key=key)


def with_tmp(
    vmsd: VMState,
    new: Callable[[Any], Any],
    *,
    version: int = 0,
    test: Callable[[Any, int], bool] | None = None,
    since: str = "",
    until: str = "",
) -> Field:
    """Save and load through a temporary object: `new(state)` makes it, `vmsd`'s hooks move the values.

    Load reads it at the field's version, so `vmsd` has version 0 unless the field says another.
    """
    return Field(
        "tmp", "", info=infos.TMP, vmsd=vmsd, new=new, version=version, test=test, since=since, until=until
    )


def validate(name: str, check: Callable[[Any, int], bool], *, since: str = "", until: str = "") -> Field:
    """No bytes; save and load fail unless `check(state, version)`. `name` is what should hold."""
    return Field(name, "", test=check, must_exist=True, since=since, until=until)


def custom(name: str, info: Info, size: int | str = 0, **options: Unpack[Options]) -> Field:
    """A type of the device's own (``pci config``, ``virtio``)."""
    return _field(name, options, info=info, size=size)

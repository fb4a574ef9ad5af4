# SPDX-License-Identifier: Apache-2.0
"""Table of (description, value, bytes): saved, loaded and cut off at every byte, one row per kind of field.

Wire bytes are written by hand from the format, not taken from the code under test.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from migmatrix.vmstate.device.description import Field, Pointers, VMState
from migmatrix.vmstate.device.fields import (
    bitmap,
    boolean,
    buffer,
    cpu_double,
    gtree,
    int8,
    int16,
    int32,
    int32_equal,
    int32_le,
    int64,
    qlist,
    qtailq,
    struct,
    timer,
    uint8,
    uint8_equal,
    uint16,
    uint16_equal,
    uint32,
    uint32_equal,
    uint64,
    uint64_equal,
    unused,
    validate,
    vstruct,
    with_tmp,
)
from migmatrix.vmstate.device.interpret import load_state, save_state
from migmatrix.vmstate.errors import StreamError


class Row(NamedTuple):
    id: str
    fields: tuple[Field, ...]
    value: dict[str, Any]
    wire: str
    local: dict[str, Any] = {}  # noqa: RUF012 - never changed: what the destination has before the load


PAIR = VMState("pair", (uint8("a"), uint16("b")))
KEY = VMState("key", (uint32("low"), uint32("high")))
GROWN = VMState("grown", (uint8("old"), uint8("new", version=2)), version_id=2, minimum_version_id=1)
PART = VMState("part", (uint8("x"),), subsections=(VMState("part/more", (uint8("y"),), version_id=1),))


class Split:
    """A temporary that sends the two halves of `whole`."""

    def __init__(self, parent: dict[str, Any]) -> None:
        self.parent = parent
        self.high = self.low = 0


def _split(tmp: Split) -> None:
    tmp.high, tmp.low = divmod(tmp.parent["whole"], 256)


def _join(tmp: Split, _version: int) -> None:
    tmp.parent["whole"] = tmp.high * 256 + tmp.low


SPLIT = VMState("split", (uint8("high"), uint8("low")), pre_save=_split, post_load=_join)

ROWS = [
    Row("bool", (boolean("v"), boolean("w")), {"v": True, "w": False}, "01 00"),
    Row("int8", (int8("v"),), {"v": -2}, "fe"),
    Row("int16", (int16("v"),), {"v": -2}, "fffe"),
    Row("int32", (int32("v"),), {"v": -2}, "fffffffe"),
    Row("int64", (int64("v"),), {"v": -2}, "fffffffffffffffe"),
    Row("uint8", (uint8("v"),), {"v": 254}, "fe"),
    Row("uint16", (uint16("v"),), {"v": 0x1234}, "1234"),
    Row("uint32", (uint32("v"),), {"v": 0x12345678}, "12345678"),
    Row("uint64", (uint64("v"),), {"v": 0x123456789ABCDEF0}, "123456789abcdef0"),
    Row("uint8-equal", (uint8_equal("v"),), {"v": 7}, "07", {"v": 7}),
    Row("uint16-equal", (uint16_equal("v"),), {"v": 7}, "0007", {"v": 7}),
    Row("uint32-equal", (uint32_equal("v"),), {"v": 7}, "00000007", {"v": 7}),
    Row("int32-equal", (int32_equal("v"),), {"v": -7}, "fffffff9", {"v": -7}),
    Row("uint64-equal", (uint64_equal("v"),), {"v": 7}, "0000000000000007", {"v": 7}),
    Row("int32-le", (int32_le("v"),), {"v": 3}, "00000003", {"v": 4}),
    Row("cpu-double", (cpu_double("v"),), {"v": 0x3FF0000000000001}, "3ff00000 00000001"),
    Row("timer-armed", (timer("v"),), {"v": 1000}, "00000000000003e8"),
    Row("timer-idle", (timer("v"),), {"v": None}, "ffffffffffffffff"),
    Row("bitmap", (bitmap("v", 65),), {"v": 1 << 64 | 5}, "0000000000000005 0000000000000001"),
    Row("bitmap-counted", (int32("n"), bitmap("v", "n")), {"n": 3, "v": 5}, "00000003 0000000000000005"),
    Row("buffer", (buffer("v", 3),), {"v": b"abc"}, "616263"),
    Row("buffer-middle", (buffer("v", 2, start=1),), {"v": b"abcd"}, "6263", {"v": b"a__d"}),
    Row("vbuffer", (int32("n"), buffer("v", "n")), {"n": 2, "v": b"hi"}, "00000002 6869"),
    Row("vbuffer-times", (uint8("n"), buffer("v", "n", scale=2)), {"n": 2, "v": b"abcd"}, "02 61626364"),
    Row("unused", (unused(2), uint8("v")), {"v": 1}, "0000 01"),
    Row("unused-counted", (uint32("n"), unused(2, count="n")), {"n": 2}, "00000002 00000000"),
    Row("array", (uint16("v", count=3),), {"v": [1, 2, 3]}, "0001 0002 0003"),
    Row("array-2d", (uint8("v", count=(2, 3)),), {"v": [[1, 2, 3], [4, 5, 6]]}, "010203 040506"),
    Row("sub-array", (uint8("v", start=1, count=2),), {"v": [9, 1, 2, 8]}, "0102", {"v": [9, 0, 0, 8]}),
    Row("array-of-bool", (boolean("v", count=2),), {"v": [True, False]}, "0100"),
    Row("array-of-timers", (timer("v", count=2),), {"v": [None, 1]}, "ffffffffffffffff 0000000000000001"),
    Row("varray", (int32("n"), uint8("v", count="n")), {"n": 2, "v": [7, 8]}, "00000002 0708"),
    Row("varray-times", (uint8("n"), uint16("v", count="n", multiply=2)), {"n": 1, "v": [7, 8]}, "01 0007 0008"),
    Row("varray-local", (uint8("v", count="n"),), {"n": 2, "v": [7, 8]}, "0708", {"n": 2}),
    Row("varray-empty", (uint8("n"), uint8("v", count="n")), {"n": 0, "v": []}, "00"),
    Row("struct", (struct("v", PAIR), uint8("w")), {"v": {"a": 1, "b": 2}, "w": 3}, "01 0002 03"),
    Row("struct-array", (struct("v", PAIR, count=2),), {"v": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, "010002030004"),
    # a cut-off subsection is no subsection, so what follows must be too long to be made of its beginning
    Row("struct-subsection", (struct("v", PART), buffer("w", 20)), {"v": {"x": 1, "y": 2}, "w": b"w" * 20},
        "01 05 09 706172742f6d6f7265 00000001 02" + 20 * "77"),
    Row("vstruct-old", (vstruct("v", GROWN, 1),), {"v": {"old": 1}}, "01"),
    Row("vstruct-new", (vstruct("v", GROWN, 2),), {"v": {"old": 1, "new": 2}}, "0102"),
    Row("pointers", (struct("v", PAIR, count=3, pointers=Pointers.LOCAL),),
        {"v": [None, {"a": 1, "b": 2}, None]}, "30 010002 30", {"v": [None, {}, None]}),
    Row("pointers-scalar", (uint8("v", count=2, pointers=Pointers.LOCAL),), {"v": [None, 5]}, "30 05", {"v": [None, 0]}),
    Row("pointers-auto", (struct("v", PAIR, count=2, pointers=Pointers.AUTO),),
        {"v": [None, {"a": 1, "b": 2}]}, "30 31010002"),
    Row("qtailq", (qtailq("v", PAIR),), {"v": [{"a": 1, "b": 2}, {"a": 3, "b": 4}]}, "01 010002 01 030004 00"),
    Row("qtailq-empty", (qtailq("v", PAIR),), {"v": []}, "00"),
    Row("qlist", (qlist("v", PAIR),), {"v": [{"a": 1, "b": 2}]}, "01 010002 00"),
    Row("gtree-direct", (gtree("v", PAIR),), {"v": {9: {"a": 1, "b": 2}}},
        "00000001 01 0000000000000009 010002 00"),
    Row("gtree-keyed", (gtree("v", PAIR, KEY),), {"v": [({"low": 1, "high": 2}, {"a": 3, "b": 4})]},
        "00000001 01 00000001 00000002 030004 00"),
    Row("tmp", (with_tmp(SPLIT, Split), uint8("w")), {"whole": 0x1234, "w": 5}, "1234 05"),
    Row("versioned", (uint8("v"), uint8("w", version=2)), {"v": 1}, "01"),
    Row("conditional", (uint8("v"), uint8("w", test=lambda s, _v: s["v"] == 1)), {"v": 0}, "00"),
    Row("validate", (uint8("v"), validate("v is odd", lambda s, _v: s["v"] % 2 == 1)), {"v": 1}, "01"),
    Row("renamed", (uint8("parent_obj.x", attr="x"),), {"x": 4}, "04"),
    Row("nested-name", (uint8("vga.x"),), {"vga": {"x": 4}}, "04", {"vga": {}}),
    Row("same-object", (struct("parent", PAIR, attr=""), uint8("w")), {"a": 1, "b": 2, "w": 3}, "01000203"),
]  # fmt: skip


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list) else value


def _description(row: Row) -> VMState:
    return VMState("d", row.fields, version_id=1, minimum_version_id=1)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_saves_these_bytes(row: Row) -> None:
    assert save_state(_description(row), row.value).data.hex() == bytes.fromhex(row.wire).hex()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_loads_this_value(row: Row) -> None:
    state = _copy(row.local)
    load_state(_description(row), state, bytes.fromhex(row.wire))
    assert state == row.value


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_every_proper_prefix_fails_cleanly(row: Row) -> None:
    wire = bytes.fromhex(row.wire)
    for length in range(len(wire)):
        with pytest.raises(StreamError) as caught:
            load_state(_description(row), _copy(row.local), wire[:length], path="dev")
        assert caught.value.path.startswith("dev/")
        assert caught.value.offset <= length


def test_a_bool_is_true_for_any_byte_but_zero() -> None:
    state: dict[str, Any] = {}
    load_state(VMState("d", (boolean("v"),)), state, b"\x80")
    assert state["v"] is True


def test_ignored_bytes_of_an_unused_field_may_be_anything() -> None:
    state: dict[str, Any] = {}
    load_state(VMState("d", (unused(2), uint8("v"))), state, b"\xff\xff\x01")
    assert state == {"v": 1}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (uint8("v"), 256), (uint8("v"), -1), (int8("v"), 128), (uint8("v"), None), (uint8("v"), "x"),
        (uint8("v", count=2), [1]), (uint8("v", count=2), [1, 256]), (buffer("v", 3), b"ab"),
        (bitmap("v", 64), 1 << 64), (timer("v"), -1), (timer("v"), 1.5), (struct("v", PAIR), None),
        (uint8("v", count="missing"), [1]), (buffer("v", "missing"), b""),
    ],
    ids=lambda each: each.type_name if isinstance(each, Field) else str(each),
)  # fmt: skip
def test_a_value_that_cannot_be_sent_is_refused(field: Field, value: object) -> None:
    with pytest.raises(StreamError, match=r"offset 0x0 \(dev/v\)"):
        save_state(VMState("d", (field,)), {"v": value}, path="dev")

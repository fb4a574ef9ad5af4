# SPDX-License-Identifier: Apache-2.0
"""Descriptions and payloads: parsing, naming, values; a description that does not fit is said, not believed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.decode import Value, decode, leaves
from migmatrix.vmstate.view.vmdesc import find_vmdesc, parse_vmdesc


def vmdesc(*fields: dict[str, Any], subsections: list[dict[str, Any]] | None = None) -> bytes:
    device: dict[str, Any] = {
        "name": "dev",
        "instance_id": 0,
        "vmsd_name": "dev",
        "version": 1,
        "fields": list(fields),
    }
    if subsections is not None:
        device["subsections"] = subsections
    return json.dumps({"page_size": 4096, "devices": [device]}).encode()


def values(raw: bytes, *fields: dict[str, Any], **more: Any) -> dict[str, Value]:
    device = parse_vmdesc(vmdesc(*fields, **more)).devices[0]
    return {path: node.value for path, node in leaves(decode(device, raw))}


def field(name: str, kind: str, size: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, "size": size, **more}


SCALARS = [
    ("bool", b"\1", True),
    ("int8", b"\xff", -1),
    ("uint8", b"\xff", 255),
    ("int16", b"\xff\xfe", -2),
    ("uint16", b"\xff\xfe", 0xFFFE),
    ("int32", b"\xff\xff\xff\xff", -1),
    ("int32 equal", b"\0\0\0\5", 5),
    ("int32 le", b"\0\0\0\5", 5),
    ("uint32", b"\xff\xff\xff\xff", 0xFFFFFFFF),
    ("uint32 equal", b"\0\0\0\5", 5),
    ("int64", b"\xff" * 8, -1),
    ("uint64", b"\xff" * 8, (1 << 64) - 1),
    ("int64 equal", b"\xff" * 8, (1 << 64) - 1),
    ("timer", b"\xff" * 8, (1 << 64) - 1),
    ("buffer", b"abc", b"abc"),
    ("pci config", b"abc", b"abc"),
    ("uint32", b"abc", b"abc"),  # the size is not the type's
]


@pytest.mark.parametrize(("kind", "raw", "value"), SCALARS)
def test_scalars(kind: str, raw: bytes, value: Value) -> None:
    assert values(raw, field("f", kind, len(raw))) == {"f": value}


def struct(*fields: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"vmsd_name": "inner", "version": 1, "fields": list(fields), **more}


def test_arrays_structs_and_split_arrays() -> None:
    inner = struct(field("a", "uint8", 1), field("b", "uint8", 1))
    assert values(b"\0\1\0\2", field("n", "uint16", 2, array_len=2)) == {"n": (1, 2)}
    expected = {"s[0].a": 1, "s[0].b": 2, "s[1].a": 3, "s[1].b": 4}
    raw = b"\1\2\3\4"
    assert values(raw, field("s", "struct", 2, array_len=2, struct=inner)) == expected
    for indexes in ((0, 1), (0, None), (None, None)):
        parts = [
            field("s", "struct", 2, struct=inner, **({} if i is None else {"index": i})) for i in indexes
        ]
        assert values(raw, *parts) == expected


def test_arrays_of_pointers_with_holes() -> None:
    inner = struct(field("a", "uint8", 1))
    found = values(
        b"00\x07\x08" + b"0",
        field("p", "nullptr", 1, array_len=2),
        field("p", "struct", 1, array_len=2, struct=inner),
        field("p", "nullptr", 1),
    )
    assert found == {"p[0]": b"0", "p[1]": b"0", "p[2].a": 7, "p[3].a": 8, "p[4]": b"0"}


def test_inline_description() -> None:
    inline = {**field("t", "tmp", 2), **struct(field("a", "uint8", 1), field("b", "uint8", 1))}
    assert values(b"\1\2", inline) == {"t.a": 1, "t.b": 2}


def test_subsections_inside_and_after() -> None:
    sub = struct(field("x", "uint8", 1), vmsd_name="dev/extra")
    sub["vmsd_name"] = "dev/extra"
    raw = b"\1" + b"\5\x09dev/extra\0\0\0\1" + b"\2"
    assert values(raw, field("a", "uint8", 1), subsections=[sub]) == {"a": 1, "/dev/extra.x": 2}
    with pytest.raises(StreamError, match="expected subsection 'dev/extra'"):
        values(raw.replace(b"extra", b"other"), field("a", "uint8", 1), subsections=[sub])


def test_a_description_that_does_not_fit_keeps_the_bytes() -> None:
    inner = struct(field("a", "uint32", 4))
    device = parse_vmdesc(vmdesc(field("s", "struct", 3, struct=inner))).devices[0]
    node = decode(device, b"abc").children[0]
    assert node.value == b"abc"
    assert node.problem == "offset 0x0 (dev.s.a): expected 4 bytes, read 3"


@pytest.mark.parametrize("raw", [b"", b"abc", b"abcde"])
def test_a_payload_of_another_length_is_refused(raw: bytes) -> None:
    with pytest.raises(StreamError):
        values(raw, field("a", "uint32", 4))


def test_nodes_are_bounded_by_the_payload() -> None:
    nothing = struct(*(field(f"z{i}", "uint8", 0) for i in range(200)), field("a", "uint8", 1))
    device = parse_vmdesc(vmdesc(field("s", "struct", 1, array_len=5000, struct=nothing))).devices[0]
    with pytest.raises(StreamError, match="found too many fields"):
        decode(device, bytes(5000))


BAD = [
    (b"[]", "expected an object"),
    (b"{", "expected JSON text"),
    (b"\xff", "expected JSON text"),
    (b"[" * 100000, "expected JSON text"),
    (b"{}", "expected key 'devices'"),
    (b'{"devices": 1}', "expected a list"),
    (b'{"devices": [{"name": 1}]}', "expected a string"),
    (vmdesc(field("a", "uint8", -1)), "expected a number of at least 0, found -1"),
    (vmdesc(field("a", "uint8", 1, array_len=True)), "found True"),
    (vmdesc({"name": "a"}), "expected key 'type'"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_descriptions(text: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        parse_vmdesc(text)


def test_deep_descriptions_are_refused() -> None:
    inner = struct(field("a", "uint8", 1))
    for _ in range(80):
        inner = struct(field("s", "struct", 1, struct=inner))
    with pytest.raises(StreamError, match="expected at most 64 levels"):
        parse_vmdesc(vmdesc(field("s", "struct", 1, struct=inner)))


@pytest.mark.parametrize("size", [2, 6, 0x600, 0x60006, 100000])
def test_the_description_is_found_from_the_end(size: int) -> None:
    text = b"{" + b" " * (size - 2) + b"}"
    tail = b"\x06" + len(text).to_bytes(4) + text
    for before in (b"", b"\0", b"\x06\0\0\0\x02xx\0", bytes(300000)):
        assert find_vmdesc(memoryview(before + tail)) == (len(before), size)
    assert find_vmdesc(memoryview(tail[:-1])) is None
    assert find_vmdesc(memoryview(b"")) is None

# SPDX-License-Identifier: Apache-2.0
"""Each kind of difference between two small streams, and how its values are written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from stream_data import load

from migmatrix.vmstate.view.compare import Change, _pair, diff
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.outline import fields
from migmatrix.vmstate.view.stream import Stream, read_stream

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.reader import Walk

NUMBER = {"name": "n", "type": "uint32", "size": 4}
DEVICE = {"name": "dev", "instance_id": 0, "vmsd_name": "dev", "version": 1}
HEAD = b"QEVM" + (3).to_bytes(4) + b"\x07" + (1).to_bytes(4) + b"m"  # magic, version; configuration


def u32(value: int) -> bytes:
    return value.to_bytes(4)


def subsection(name: str, value: bytes) -> bytes:
    """Of the configuration: type, name, version, value."""
    return b"\x05" + bytes((len(name),)) + name.encode() + u32(1) + value


def capability(name: str) -> bytes:
    return subsection("configuration/capabilities", u32(1) + bytes((len(name),)) + name.encode())


def ram(*blocks: tuple[str, int], extra: bytes = b"") -> bytes:
    """A RAM section with its block list; `extra` follows each entry."""
    entries = b"".join(
        bytes((len(name),)) + name.encode() + size.to_bytes(8) + extra for name, size in blocks
    )
    total = sum(size for _, size in blocks) | 4
    start = b"\x01" + u32(2) + b"\x03ram" + u32(0) + u32(4)  # START: id, name, instance, version
    return start + total.to_bytes(8) + entries + (0x10).to_bytes(8) + b"\x7e" + u32(2)  # EOS, footer


def device(raw: bytes, version: int = 1) -> bytes:
    return b"\x04" + u32(9) + b"\x03dev" + u32(0) + u32(version) + raw + b"\x7e" + u32(9)


def stream(
    sections: bytes = b"",
    field: dict[str, Any] | None = None,
    *,
    machine: str = "m",
    configuration: bytes = b"",
) -> Stream:
    """A stream whose device ``dev``, if there is one, has one field."""
    text = json.dumps({"page_size": 4096, "devices": [DEVICE | {"fields": [field or NUMBER]}]}).encode()
    head = b"QEVM" + u32(3) + b"\x07" + u32(len(machine)) + machine.encode() + configuration
    return read_stream(head + sections + b"\0" + b"\x06" + u32(len(text)) + text)


def of_size(kind: str, size: int, count: int | None = None) -> dict[str, Any]:
    return {"name": "n", "type": kind, "size": size} | ({} if count is None else {"array_len": count})


SHARED = capability("x-ignore-shared")
LONG = bytes(range(40))
CASES = [
    (stream(machine="a"), stream(machine="b"), Change("machine", "configuration", "machine", "a", "b")),
    (
        stream(configuration=capability("mapped-ram")), stream(),
        Change("capability", "configuration", "mapped-ram", "on", ""),
    ),
    (
        stream(configuration=subsection("configuration/target-page-bits", u32(12))), stream(),
        Change("value", "configuration", "target-page-bits", "0xc", ""),
    ),
    (stream(device(u32(1))), stream(), Change("section", "dev#0", "", "present", "")),
    (stream(), stream(device(u32(1))), Change("section", "dev#0", "", "", "present")),
    (stream(device(u32(1))), stream(device(u32(2))), Change("value", "dev#0", "n", "0x1", "0x2")),
    (stream(device(u32(1))), stream(device(u32(1), 2)), Change("version", "dev#0", "", "0x1", "0x2")),
    (
        stream(device(b"\1"), of_size("bool", 1)), stream(device(b"\0"), of_size("bool", 1)),
        Change("value", "dev#0", "n", "True", "False"),
    ),
    (
        stream(device(b"ab"), of_size("buffer", 2)), stream(device(b"ac"), of_size("buffer", 2)),
        Change("value", "dev#0", "n", "6162", "6163"),
    ),
    (
        stream(device(LONG), of_size("buffer", 40)), stream(device(LONG[:30] + b"x" + LONG[31:]), of_size("buffer", 40)),
        Change("value", "dev#0", "n", "[0x1e] 1e1f2021222324252627", "[0x1e] 781f2021222324252627"),
    ),
    (
        stream(device(LONG), of_size("buffer", 40)), stream(device(LONG[:39]), of_size("buffer", 39)),
        Change("value", "dev#0", "n", f"{LONG[:16].hex()}... (40 bytes)", f"{LONG[:16].hex()}... (39 bytes)"),
    ),
    (
        stream(device(b"\1\2"), of_size("uint8", 1, 2)), stream(device(b"\1\3"), of_size("uint8", 1, 2)),
        Change("value", "dev#0", "n", "[0x1] 0x2", "[0x1] 0x3"),
    ),
    (
        stream(device(bytes(17)), of_size("uint8", 1, 17)), stream(device(bytes(18)), of_size("uint8", 1, 18)),
        Change("value", "dev#0", "n", "[" + "0x0 " * 15 + "0x0 ... (17)]", "[" + "0x0 " * 15 + "0x0 ... (18)]"),
    ),
    (
        stream(device(u32(1))), stream(device(u32(1)), of_size("int32", 4)),
        Change("type", "dev#0", "n", "uint32", "int32", "same value of another type"),
    ),
    (stream(ram(("a", 0x1000))), stream(ram(("a", 0x2000))), Change("ram-size", "ram", "a", "0x1000", "0x2000")),
    (
        stream(ram(("a", 0x1000), ("b", 0x1000))), stream(ram(("a", 0x1000))),
        Change("ram-block", "ram", "b", "0x1000", ""),
    ),
    (
        stream(ram(("a", 0x1000), extra=bytes(7) + b"\1"), configuration=SHARED),
        stream(ram(("a", 0x1000), extra=bytes(7) + b"\2"), configuration=SHARED),
        Change("value", "ram", "a.address", "0x1", "0x2"),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("a", "b", "change"), CASES, ids=lambda case: getattr(case, "kind", ""))
def test_one_difference(a: Stream, b: Stream, change: Change) -> None:
    assert diff(a, b) == (change,)
    back = Change(change.kind, change.section, change.path, change.b, change.a, change.volatile)
    assert diff(b, a) == (back,)
    assert diff(a, a) == diff(b, b) == ()


@pytest.mark.parametrize(("a", "b", "change"), CASES, ids=lambda case: getattr(case, "kind", ""))
def test_the_digest_tells_streams_apart_that_a_guest_can(a: Stream, b: Stream, change: Change) -> None:
    unseen = {"target-page-bits", "a.address"}  # no part of what a guest sees, as is what does not count
    assert (digest(a) == digest(b)) is (change.path in unseen or bool(change.volatile))


def of_three(_start: object) -> Walk:
    """Every payload has three bytes."""
    yield from ()
    return 3


def test_a_description_that_does_not_fit_its_bytes_leaves_one_value() -> None:
    """Two numbers of two bytes, in a payload of three."""
    text = json.dumps({"devices": [DEVICE | {"fields": [of_size("uint16", 2, 2)]}]}).encode()
    described = b"\0\x06" + u32(len(text)) + text
    a, b = (read_stream(HEAD + device(raw) + described, delimiter=of_three) for raw in (b"abc", b"abd"))
    assert diff(a, b) == (Change("value", "dev#0", "payload", "616263", "616264"),)


def test_of_an_array_only_the_elements_that_differ_are_named() -> None:
    a, b = tuple(range(16)), (*range(3), -7, *range(4, 16))
    assert _pair(a, b) == ("[0x3] 0x3", "[0x3] -7")
    assert _pair(a, b, tuple("abcdefghijklmnop")) == ("[d] 0x3", "[d] -7")
    assert _pair((1,) * 40, (2,) * 40)[1].endswith("[0xf] 0x2 ... (40 differ)")


@pytest.mark.parametrize(("target", "named"), [("q35-7.2.22", True), ("arm-microbit-7.2.22", False)])
def test_registers_of_x86_have_names(target: str, named: bool) -> None:
    stream = read_stream(load(target))
    section = next(s for s in stream.sections if s.key[0] == "cpu")
    found = {entry["path"]: entry for entry in fields(stream, section)}
    assert found["env.regs"].get("registers", [])[:4] == (["rax", "rcx", "rdx", "rbx"] if named else [])
    assert {e["register"] for e in found.values() if "register" in e} == (
        {"es", "cs", "ss", "ds", "fs", "gs"} if named else set()
    )

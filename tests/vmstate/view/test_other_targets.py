# SPDX-License-Identifier: Apache-2.0
"""Streams of other targets, of other iterated sections, and with ends that are not QEMU's."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import pytest
from stream_data import load

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff, values
from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.stream import Section, Stream, read_stream
from migmatrix.vmstate.view.unread import unread
from migmatrix.vmstate.view.vmdesc import find_vmdesc, parse_vmdesc
from migmatrix.vmstate.wire.constants import RamFlag, SectionType
from migmatrix.vmstate.wire.events import Payload, SectionStart
from migmatrix.vmstate.wire.iterated import BITMAP, BLOCK, HTAB, STORAGE, walk

if TYPE_CHECKING:
    from collections.abc import Iterator


def problems(data: bytes) -> tuple[str, ...]:
    return account(read_stream(data, strict=False), data).problems


def described(data: bytes) -> tuple[bytes, bytes]:
    """What comes before the description's framing, and its text."""
    found = find_vmdesc(memoryview(data))
    assert found is not None
    return data[: found[0]], data[found[0] + 5 :]


def with_text(head: bytes, text: bytes) -> bytes:
    return head + b"\x06" + len(text).to_bytes(4) + text


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("arm-microbit-7.2.22", {"nrf51_soc.flash": 256, "nrf51.sram": 16}),
        ("s390x-7.2.22", None),
        ("pseries-7.2.22", {"ppc_spapr.ram": 65536}),
        ("isapc-7.2.22", None),
        ("x86-dirty-bitmap-11.1", None),
        ("x86-mapped-ram-ignore-shared-11.1", None),
    ],
)
def test_read_whole(name: str, blocks: dict[str, int] | None) -> None:
    data = load(name)
    stream = read_stream(data)
    assert problems(data) == ()
    assert stream.encode() == data
    pages = {block.name: sum(block.counts.values()) for block in stream.ram.blocks.values()}
    assert blocks is None or {n: pages.get(n) for n in blocks} == blocks


FIGURES = {  # page size, devices, pages; and values, all of which QEMU's script prints the same
    "avr-7.2.22": (256, 4, 80, 47),
    "riscv32-7.2.22": (4096, 10, 296, 785),
    "tricore-10.0.13": (16384, 4, 393, 11),
    "rx-10.0.13": (4096, 10, 4216, 783),
    "arm-ast1030-10.0.13": (1024, 59, 1024, 9728),
    "mips64-7.2.22": (4096, 7, 33792, 2094),
    "ppc-7.2.22": (4096, 9, 32897, 1549),
    "m68k-7.2.22": (4096, 15, 32768, 105),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures(name: str) -> None:
    data = load(name)
    stream = read_stream(data)
    devices = [s for s in stream.sections if s.start.kind is SectionType.FULL]
    pages = sum(sum(block.counts.values()) for block in stream.ram.blocks.values())
    count = sum(sum(1 for _ in _elements(stream, section)) for section in devices)
    assert problems(data) == ()
    assert unread(stream) == ""
    assert (stream.page_size, len(devices), pages, count) == FIGURES[name]


def _elements(stream: Stream, section: Section) -> Iterator[object]:
    assert stream.vmdesc is not None
    assert section.payload is not None
    device = stream.vmdesc.find(*section.key)
    assert device is not None
    for _, leaf in leaves(decode(device, section.payload.raw)):
        assert not leaf.problem
        yield from leaf.value if isinstance(leaf.value, tuple) else (leaf.value,)


@pytest.mark.parametrize("name", ["x86-no-footers-7.2.22", "x86-shared-bare-7.2.22"])
def test_migration_properties(name: str) -> None:
    data = load(name)
    stream = read_stream(data)
    assert problems(data) == ()
    assert ("no-footers" in name) is all(section.footer is None for section in stream.sections)
    assert (stream.configuration is None) is ("bare" in name)


def test_page_size_is_of_the_description_or_found() -> None:
    data = load("arm-microbit-7.2.22")
    assert read_stream(data).page_size == 1024
    head, _ = described(data)
    assert read_stream(head, strict=False).page_size == 1024


def test_the_channel_subsystem_of_s390x() -> None:
    found = values(read_stream(load("s390x-7.2.22")))["s390_css", 0, 0]
    assert found["css[254].chpids[255].type"].value == 0
    assert found["css[255]"].kind == found["css[0]"].kind == "nullptr"
    assert found["default_cssid"].value == 254


def test_a_bad_description_costs_the_devices_only() -> None:
    data = load("isapc-7.2.22")
    whole = read_stream(data)
    head, text = described(data)
    for bad in (
        b"{" + text,
        b"[]",
        text.replace(b'"fields"', b'"fjelds"', 1),
        text.decode().encode("utf-16"),
    ):
        broken = with_text(head, bad)
        stream = read_stream(broken, strict=False)
        assert stream.machine == whole.machine
        assert stream.ram.blocks.keys() == whole.ram.blocks.keys()
        assert stream.undelimited is not None
        assert unread(stream)


def test_the_description_of_4096_processors_is_read() -> None:
    """A processor of x86 takes 6 kB of it. More than twice the description of such a guest costs the devices only."""
    head, text = described(load("isapc-7.2.22"))
    assert problems(with_text(head, text + b" " * (25 << 20))) == ()
    stream = read_stream(with_text(head, text + b" " * (32 << 20)), strict=False)
    assert "expected at most 33554432" in str(stream.flaw)
    assert stream.machine == "isapc"


def test_an_end_that_is_not_the_end() -> None:
    data = load("isapc-7.2.22")
    assert problems(data + bytes(4096)) == (f"offset {len(data):#x}: 4096 bytes after the end",)
    assert problems(data + b"junk\0") == (f"offset {len(data):#x}: 5 bytes after the end",)
    whole, cut = read_stream(data), read_stream(data[:-1], strict=False)
    assert "the description at the end is cut off" in str(cut.error)
    assert [s.key for s in cut.sections] == [s.key for s in whole.sections]
    assert "4096 bytes after the end" in unread(read_stream(data + bytes(4096)))


def test_devices_only() -> None:
    stream = read_stream(load("devices-only-7.2.22"), strict=False)
    assert "no description of its devices" in unread(stream)
    (problem,) = problems(load("devices-only-7.2.22"))
    assert "nothing tells the length of the payload of timer#0" in problem


def test_what_has_no_memory_is_not_compared() -> None:
    assert "multifd" in unread(read_stream(load("multifd-10.0.13.0")))
    assert "not in the file" in unread(read_stream(load("multifd-7.2.22.0")))
    assert "shared" in unread(read_stream(load("x86-mapped-ram-ignore-shared-11.1")))
    assert unread(read_stream(load("postcopy-7.2.22"), strict=False))
    assert unread(read_stream(load("multifd-10.0.13.0")), contents=False) == ""
    for name in ("q35-11.1.3", "pseries-7.2.22", "arm-microbit-7.2.22", "advised-7.2.22"):
        assert unread(read_stream(load(name))) == ""


# -- formats of their own ------------------------------------------------------------------------


def length(idstr: str, raw: bytes) -> int:
    steps = walk(SectionStart(3, 1, idstr, 0, 1), 4096)  # type: ignore[arg-type]  # only the name counts
    assert steps is not None
    at, count = next(steps)
    while True:
        try:
            at, count = steps.send(raw[at : at + count])
        except StopIteration as done:
            return int(done.value)


@pytest.mark.parametrize(
    ("idstr", "raw"),
    [
        (HTAB, (21).to_bytes(4)),
        (HTAB, b"\xff" * 4),
        (HTAB, bytes(4) + b"\0\0\0\7\0\2\0\1" + b"e" * 32 + bytes(8)),
        (
            BITMAP,
            b"\x1c\1d\1b\0\1\0\0\1\x40"
            + bytes(12)
            + (3).to_bytes(8)
            + b"xyz"
            + b"\x42"
            + bytes(12)
            + b"\x21",
        ),
        (BITMAP, b"\x80\x01"),
        (
            BLOCK,
            b"\0\0\0\0\0\0\2\1\1d"
            + bytes(1 << 20)
            + b"\0\0\0\0\0\0\4\x09\1d"
            + b"\0\0\0\0\0\0\xc8\4"
            + b"\0" * 7
            + b"\2",
        ),
        (
            STORAGE,
            b"\0\0\0\0\0\0\x10\2" + (5).to_bytes(8) + b"hello" + b"\0" * 7 + b"\x08" + b"\0" * 7 + b"\1",
        ),
        (
            "0000:00:02.0/vfio",
            bytes.fromhex("ffffffffef100004") + (2).to_bytes(8) + b"ab" + bytes.fromhex("ffffffffef100001"),
        ),
    ],
)
def test_records_tell_their_length(idstr: str, raw: bytes) -> None:
    assert length(idstr, raw + b"\x7e\0\0\0\1") == len(raw)


def test_unknown_records_are_errors() -> None:
    for idstr, raw in ((BITMAP, b"\x02"), (BLOCK, bytes(8)), (STORAGE, bytes(8)), ("x/vfio", bytes(8))):
        with pytest.raises(StreamError, match="known"):
            length(idstr, raw)


def test_an_unknown_format_is_passed_by_a_guess() -> None:
    data = load("isapc-7.2.22")
    first = next(s for s in read_stream(data).sections if s.payload is not None)
    at = first.start.offset
    odd = b"\1\0\0\1\0\4new0\0\0\0\0\0\0\0\1" + b"~\0\0\1\0?" * 3 + b"\x7e\0\0\1\0"
    changed = data[:at] + odd + data[at:]
    (problem,) = problems(changed)
    assert "nothing tells the length of the payload of new0#0" in problem
    assert "by a guess" in problem
    stream = read_stream(changed)
    assert len(stream.sections) == len(read_stream(data).sections) + 1
    assert "guess" in unread(stream)


# -- pages and values ----------------------------------------------------------------------------


def changed_zero_page(data: bytes, fill: int) -> bytes:
    stream = read_stream(data)
    run = next(e for e in stream.flat if getattr(e, "kind", None) is RamFlag.ZERO)
    at = run.offset + run.lead  # type: ignore[attr-defined]  # a run of pages
    return data[:at] + bytes((fill,)) + data[at + 1 :]


def test_the_fill_of_a_zero_record_counts() -> None:
    data = load("isapc-7.2.22")
    filled = changed_zero_page(data, 0x41)
    assert problems(filled) == ()
    a, b = read_stream(data), read_stream(filled)
    assert digest(a) != digest(b)
    assert [c.kind for c in diff(a, b)] == ["ram-content"]


def memory(record: bytes) -> bytes:
    blocks = (4096 | RamFlag.MEM_SIZE).to_bytes(8) + b"\1m" + (4096).to_bytes(8) + (16).to_bytes(8)
    start = b"\1\0\0\0\1\3ram" + bytes(4) + (4).to_bytes(4) + blocks + b"\x7e\0\0\0\1"
    return b"QEVM\0\0\0\3\7\0\0\0\1x" + start + b"\3\0\0\0\1" + record + (16).to_bytes(8) + b"\x7e\0\0\0\1\0"


def test_damaged_pages_are_found() -> None:
    page = zlib.compress(bytes(4096))
    head = int(RamFlag.COMPRESS_PAGE).to_bytes(8) + b"\1m" + len(page).to_bytes(4)
    assert problems(memory(head + page)) == ()
    (problem,) = problems(memory(head + page[:-1] + bytes((page[-1] ^ 1,))))
    assert "expected zlib data" in problem
    delta = int(RamFlag.XBZRLE).to_bytes(8) + b"\1m\1" + (3).to_bytes(2) + b"\1\5a"
    (problem,) = problems(memory(delta))
    assert "xbzrle" in problem


def one_device(name: str, kind: str, subsection: str = "") -> Stream:
    sub = [{"vmsd_name": subsection, "version": 1, "fields": []}] if subsection else []
    field = {"name": name, "type": kind, "size": 1}
    device = {
        "name": "d",
        "instance_id": 0,
        "vmsd_name": "d",
        "version": 1,
        "fields": [field],
        "subsections": sub,
    }
    text = json.dumps({"page_size": 4096, "devices": [device]}).encode()
    tail = b"\5" + bytes((len(subsection),)) + subsection.encode() + b"\0\0\0\1" if subsection else b""
    section = b"\4\0\0\0\1\1d\0\0\0\0\0\0\0\1\1" + tail + b"\x7e\0\0\0\1"
    return read_stream(with_text(b"QEVM\0\0\0\3\7\0\0\0\1x" + section + b"\0", text))


def test_digest_and_diff_agree_on_names_and_types() -> None:
    first = one_device("a", "uint8")
    for other in (one_device("b", "uint8"), one_device("a", "bool"), one_device("a", "int8")):
        assert digest(first) == digest(other)
        assert all(change.volatile for change in diff(first, other))
    first, other = one_device("a", "uint8", "d/x"), one_device("a", "uint8", "d/y")
    assert digest(first) != digest(other)
    assert [c.kind for c in diff(first, other) if not c.volatile] == ["subsection", "subsection"]


def test_names_of_a_description_are_those_on_the_wire() -> None:
    for name, raw in (("\u00e9", b"\xc3\xa9"), ("\ud800", b"\xed\xa0\x80")):
        text = json.dumps({"devices": [{"name": name, "instance_id": 0, "fields": []}]}).encode()
        assert parse_vmdesc(text).devices[0].name.encode("latin-1") == raw
    for bad in (b"\xef\xbb\xbf{}", "{}".encode("utf-16")):
        with pytest.raises(StreamError, match="JSON text"):
            parse_vmdesc(bad)


def test_counts_have_limits() -> None:
    count = (10**8).to_bytes(4)
    data = b"QEVM\0\0\0\3\7\0\0\0\1x\5\x1aconfiguration/capabilities\0\0\0\1" + count + bytes(100)
    assert "at most 1000 names" in str(read_stream(data, strict=False).error)


def test_payload_of_an_iterated_section_is_kept() -> None:
    stream = read_stream(load("x86-dirty-bitmap-11.1"))
    bitmaps = [s for s in stream.sections if s.key[0] == BITMAP]
    assert len(bitmaps) >= 2
    assert all(isinstance(s.payload, Payload) for s in bitmaps)

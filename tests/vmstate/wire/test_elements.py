# SPDX-License-Identifier: Apache-2.0
"""Table of framing elements: (event, its bytes with a comment per field), read and written."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.commands import advise, discard, ping, recv_bitmap
from migmatrix.vmstate.wire.constants import CommandCode, RamFlag, SectionType
from migmatrix.vmstate.wire.events import (
    Command,
    Configuration,
    ConfigurationSubsection,
    Eof,
    Event,
    Footer,
    Header,
    Packaged,
    Payload,
    SectionStart,
    Trailing,
    VmDescription,
)
from migmatrix.vmstate.wire.ramevents import (
    MappedData,
    MappedHeader,
    PageRun,
    RamBlock,
    RamCompressed,
    RamMark,
    RamTotal,
    RamXbzrle,
    page_records,
    zero_records,
)
from migmatrix.vmstate.wire.reader import StreamReader, Walk

HEADER = b"QEVM" + b"\0\0\0\3"
CONFIG = b"\x07" + b"\0\0\0\1" + b"m"
PAGE = bytes(range(256)) * 16


def walk(length: int) -> Walk:
    yield from ()
    return length


def read(data: bytes, *, lengths: dict[str, int] | None = None) -> list[Event]:
    known = lengths or {}
    reader = StreamReader(delimiter=lambda s: walk(known[s.idstr]) if s.idstr in known else None)
    reader.feed(data)
    reader.close()
    events = list(reader.events())
    assert b"".join(e.encode() for e in events) == data
    return events


def command(code: CommandCode, data: bytes) -> bytes:
    return b"\x08" + code.to_bytes(2) + len(data).to_bytes(2) + data


COMMANDS = [
    (CommandCode.OPEN_RETURN_PATH, b"", {}),
    (CommandCode.PING, ping(7), {"value": 7}),
    (CommandCode.POSTCOPY_ADVISE, advise(0x1000, 0x1000), {"page_sizes": 4096, "target_page_size": 4096}),
    (CommandCode.POSTCOPY_ADVISE, b"", {}),
    (CommandCode.POSTCOPY_LISTEN, b"", {}),
    (CommandCode.POSTCOPY_RUN, b"", {}),
    (
        CommandCode.POSTCOPY_RAM_DISCARD,
        discard("pc.ram", [(0, 4096), (8192, 4096)]),
        {"block": "pc.ram", "ranges": [(0, 4096), (8192, 4096)]},
    ),
    (CommandCode.ENABLE_COLO, b"", {}),
    (CommandCode.POSTCOPY_RESUME, b"", {}),
    (CommandCode.RECV_BITMAP, recv_bitmap("pc.ram"), {"block": "pc.ram"}),
    (CommandCode.SWITCHOVER_START, b"", {}),
]


@pytest.mark.parametrize(("code", "data", "arguments"), COMMANDS)
def test_commands(code: CommandCode, data: bytes, arguments: dict[str, object]) -> None:
    events = read(HEADER + CONFIG + command(code, data) + b"\0")
    assert events[2:] == [Command(code, data), Eof()]
    assert isinstance(events[2], Command)
    assert events[2].arguments == arguments
    assert events[2].name == code.name


BAD_COMMANDS = [
    (command(CommandCode.PING, b""), "expected 4, found 0"),
    (command(CommandCode.OPEN_RETURN_PATH, b"x"), "expected 0, found 1"),
    (b"\x08\0\0\0\0", "expected a known command, found 0"),
    (b"\x08\0\x0c\0\0", "expected a known command, found 12"),
    (command(CommandCode.RECV_BITMAP, b"\5ab"), "expected 5 bytes, read 2"),
    (command(CommandCode.POSTCOPY_RAM_DISCARD, b"\0\1a\0123"), "expected version 0 and pairs"),
    (command(CommandCode.PACKAGED, b"\x7f\xff\xff\xff"), "expected 2147483647 bytes, read 0"),
]


@pytest.mark.parametrize(("data", "message"), BAD_COMMANDS)
def test_bad_commands(data: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read(HEADER + CONFIG + data)


def test_configuration_with_all_subsections() -> None:
    data = (
        HEADER
        + b"\x07\0\0\0\x0apc-q35-7.2"
        + b"\x05\x1econfiguration/target-page-bits\0\0\0\1"
        + b"\0\0\0\x0c"  # bits
        + b"\x05\x1aconfiguration/capabilities\0\0\0\1"
        + b"\0\0\0\2"  # count
        + b"\x0fx-ignore-shared\x0amapped-ram"
        + b"\x05\x12configuration/uuid\0\0\0\1"
        + bytes(range(16))
        + b"\0"
    )
    configuration = read(data)[1]
    assert configuration == Configuration(
        "pc-q35-7.2",
        (
            ConfigurationSubsection("configuration/target-page-bits", 1, 12),
            ConfigurationSubsection("configuration/capabilities", 1, ("x-ignore-shared", "mapped-ram")),
            ConfigurationSubsection("configuration/uuid", 1, bytes(range(16))),
        ),
    )
    assert isinstance(configuration, Configuration)
    assert configuration.capabilities == ("x-ignore-shared", "mapped-ram")


BAD_STARTS = [
    (b"QEVN\0\0\0\3", "expected 0x5145564d, found 0x5145564e"),
    (b"QEVM\0\0\0\2", "expected 3, found 2"),
    (HEADER + CONFIG + b"\x05\x03abc\0\0\0\1", "expected a known name, found 'abc'"),
    (HEADER + CONFIG + b"\x05\x1econfiguration/target-page-bits\0\0\0\1\0\0\0\x40\0", "8 to 20, found 64"),
    (HEADER + CONFIG + b"\x09", "expected a section or the end, found 0x9"),
    (HEADER + CONFIG + b"\x02\0\0\0\5", "expected a started section, found 5"),
]


@pytest.mark.parametrize(("data", "message"), BAD_STARTS)
def test_bad_starts(data: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read(data)


def test_full_section_footer_end_and_description() -> None:
    data = (
        HEADER
        + CONFIG
        + b"\x04\0\0\0\x09\x03dev\0\0\0\1\0\0\0\2"  # FULL, id 9, name, instance 1, version 2
        + b"abc"
        + b"\x7e\0\0\0\x09"
        + b"\0"
        + b"\x06\0\0\0\2{}"
        + b"rest"
    )
    assert read(data, lengths={"dev": 3}) == [
        Header(),
        Configuration("m"),
        SectionStart(SectionType.FULL, 9, "dev", 1, 2),
        Payload(b"abc"),
        Footer(9),
        Eof(),
        VmDescription(b"{}"),
        Trailing(b"rest"),
    ]


def test_the_first_section_tells_whether_all_have_footers() -> None:
    section, footer = b"\x04\0\0\0\x09\x03dev\0\0\0\0\0\0\0\1abc", b"\x7e\0\0\0\x09"
    for head in (HEADER, HEADER + CONFIG):
        without = read(head + section + section + b"\0", lengths={"dev": 3})
        assert [type(e).__name__ for e in without[-5:]] == [*["SectionStart", "Payload"] * 2, "Eof"]
    with pytest.raises(StreamError, match=r"dev/footer\): expected 0x7e, found 0x0"):
        read(HEADER + CONFIG + section + footer + section + b"\0", lengths={"dev": 3})
    with pytest.raises(StreamError, match="expected a section or the end, found 0x7e"):
        read(HEADER + CONFIG + section + section + footer, lengths={"dev": 3})
    with pytest.raises(StreamError, match="expected id 9, found 8"):
        read(HEADER + CONFIG + section + b"\x7e\0\0\0\x08\0", lengths={"dev": 3})


def test_package_is_read_into() -> None:
    inner = (
        command(CommandCode.POSTCOPY_LISTEN, b"") + b"\x04\0\0\0\x09\x03dev\0\0\0\0\0\0\0\1abc\x7e\0\0\0\x09"
    )
    data = HEADER + CONFIG + b"\x08\0\7\0\4" + len(inner).to_bytes(4) + inner + b"\0"
    package = read(data, lengths={"dev": 3})[2]
    assert isinstance(package, Packaged)
    start = len(HEADER + CONFIG) + 9
    assert [e.offset for e in package.events] == [start, start + 5, start + 5 + 17, start + 5 + 20]
    nested = b"\x08\0\7\0\4" + len(data).to_bytes(4) + data
    with pytest.raises(StreamError, match="expected no package inside of a package"):
        read(HEADER + CONFIG + b"\x08\0\7\0\4" + len(nested).to_bytes(4) + nested)


# -- memory ------------------------------------------------------------------------------------

RAM = b"\x01\0\0\0\2\x03ram\0\0\0\0\0\0\0\4"  # START, id 2, instance 0, version 4
END = b"\x7e\0\0\0\2"
EOS = b"\0\0\0\0\0\0\0\x10"


def word(value: int) -> bytes:
    return value.to_bytes(8)


def read_ram(payload: bytes, configuration: bytes = CONFIG) -> list[Event]:
    head = HEADER + configuration + RAM
    events = read(head + payload + EOS + END + b"\0")
    assert events[-3] == RamMark(RamFlag.EOS)
    return events[3:-3]


CAPABILITIES = b"\x05\x1aconfiguration/capabilities\0\0\0\1\0\0\0\1"
LIST = word(0x5004) + b"\1a" + word(0x2000) + b"\1b" + word(0x3000)


def test_block_list() -> None:
    assert read_ram(LIST) == [RamTotal(0x5000), RamBlock("a", 0x2000), RamBlock("b", 0x3000)]


def test_block_list_with_ignore_shared() -> None:
    data = word(0x1004) + b"\1a" + word(0x1000) + word(0x100000000)
    found = read_ram(data, CONFIG + CAPABILITIES + b"\x0fx-ignore-shared")
    assert found == [RamTotal(0x1000), RamBlock("a", 0x1000, None, 0x100000000)]


@pytest.mark.parametrize("last", ["huge", "small"])
def test_block_list_with_huge_pages(last: str) -> None:
    huge = b"\4huge" + word(0x400000) + word(0x200000)
    small = b"\5small" + word(0x1000)
    blocks = small + huge if last == "huge" else huge + small
    advice = command(CommandCode.POSTCOPY_ADVISE, advise(0x201000, 0x1000))
    events = read(HEADER + CONFIG + advice + RAM + word(0x401004) + blocks + EOS + END + b"\0")
    found = {e.name: e for e in events if isinstance(e, RamBlock)}
    assert found == {
        "huge": RamBlock("huge", 0x400000, 0x200000),
        "small": RamBlock("small", 0x1000),
    }


def test_pages_become_runs() -> None:
    run = word(0x08) + b"\1b" + PAGE + word(0x1028) + PAGE
    zeros = word(0x2022) + b"\0"
    other = word(0x02) + b"\1a" + b"\0" + word(0x1022) + b"\0"
    assert read_ram(LIST + run + zeros + other)[3:] == [
        PageRun("b", 0, 2, RamFlag.PAGE, 4096, True, run),
        PageRun("b", 0x2000, 1, RamFlag.ZERO, 4096, False, zeros),
        PageRun("a", 0, 2, RamFlag.ZERO, 4096, True, other),
    ]


def test_written_runs_are_read_back() -> None:
    pages, zeros = page_records("b", 0, [PAGE, PAGE[::-1]]), zero_records("a", 0, 2, 4096)
    found = read_ram(LIST + pages.encode() + zeros.encode())[3:]
    assert found == [pages, zeros]
    assert [(o, bytes(body)) for o, body in pages.pages()] == [(0, PAGE), (4096, PAGE[::-1])]


def test_single_records() -> None:
    delta = b"\x04\x01X"  # skip 4, one literal
    data = (
        LIST
        + word(0x02) + b"\1a" + b"\7"  # a fill that is not zero
        + word(0x1060) + b"\1" + b"\0\3" + delta
        + word(0x0100) + b"\1b" + b"\0\0\0\2zz"
        + word(0x200)
        + word(0x80)
    )  # fmt: skip
    assert read_ram(data)[3:] == [
        PageRun("a", 0, 1, RamFlag.ZERO, 4096, True, word(0x02) + b"\1a\7", 7),
        RamXbzrle("a", 0x1000, False, 1, delta),
        RamCompressed("b", 0, True, b"zz"),
        RamMark(0x200),
        RamMark(0x80),
    ]


BAD_RAM = [
    (word(0x28) + PAGE, "expected a block name first, found CONTINUE"),
    (LIST + word(0x08) + b"\1c" + PAGE, "expected a block of the list, found 'c'"),
    (LIST + word(0x2008) + b"\1a" + PAGE, "expected an offset below 0x2000, found 0x2000"),
    (LIST + word(0x01), "expected known record flags, found 0x1"),
    (LIST + word(0x400), "expected known record flags, found 0x400"),
    (LIST + word(0x18) + b"\1a" + PAGE, "found 0x18"),
    (word(0x5004) + b"\1a" + word(0x6000), "expected a named block of at most 0x5000 bytes"),
    (word(0x5004) + b"\0" + word(0x1000), "expected a named block"),
    (LIST + word(0x40) + b"\1a" + b"\2\0\0", "expected encoding 1"),
    (LIST + word(0x40) + b"\1a" + b"\1\x10\1", "found 1, 4097"),
    (LIST + word(0x100) + b"\1a" + b"\0\1\0\0", "expected at most 8192 bytes, found 65536"),
]


@pytest.mark.parametrize(("payload", "message"), BAD_RAM)
def test_bad_ram(payload: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read_ram(payload)


def test_ram_of_another_version_is_refused() -> None:
    with pytest.raises(StreamError, match=r"ram.version_id\): expected 4, found 5"):
        read(HEADER + CONFIG + RAM[:-1] + b"\5")


def test_continue_goes_across_sections() -> None:
    part = b"\x02\0\0\0\2"
    data = HEADER + CONFIG + RAM + LIST + EOS + END
    data += part + word(0x08) + b"\1a" + PAGE + EOS + END
    data += part + word(0x1028) + PAGE + EOS + END + b"\0"
    runs = [e for e in read(data) if isinstance(e, PageRun)]
    assert [(r.block, r.first, r.named) for r in runs] == [("a", 0, True), ("a", 4096, False)]


def test_mapped_ram_file() -> None:
    head = HEADER + CONFIG + CAPABILITIES + b"\x0amapped-ram" + RAM + word(0x2004)
    entry = b"\1a" + word(0x2000)
    bitmap_at = len(head + entry) + 28 + 4  # a gap of 4 bytes
    pages_at = 0x1000
    header = b"\0\0\0\1" + word(0x1000) + word(bitmap_at) + word(pages_at)
    bitmap = b"\2" + bytes(7)  # the second page is present
    data = (head + entry + header + bytes(4) + bitmap).ljust(pages_at, b"\0") + bytes(4096) + PAGE
    events = read(data + EOS + END + b"\0")
    assert events[5] == MappedHeader(1, 0x1000, bitmap_at, pages_at)
    parts = [(e.part, e.start, len(e.raw)) for e in events if isinstance(e, MappedData)]
    gap = pages_at - bitmap_at - 8
    assert parts == [("gap", 0, 4), ("bitmap", 0, 8), ("gap", 0, gap), ("pages", 0, 0x2000)]

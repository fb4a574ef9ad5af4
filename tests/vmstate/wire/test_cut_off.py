# SPDX-License-Identifier: Apache-2.0
"""Every proper prefix of every channel ends in one StreamError at its end, or between two elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.channel import ChannelReader, PreemptReader
from migmatrix.vmstate.wire.multifd import MultifdReader
from migmatrix.vmstate.wire.reader import StreamReader, Walk
from migmatrix.vmstate.wire.returnpath import ReturnPathReader
from migmatrix.vmstate.wire.signal import Signal

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.wire.events import Event

BIG = 1 << 16  # a page size with which a multifd packet's offset table is short


def u16(value: int) -> bytes:
    return value.to_bytes(2)


def u32(value: int) -> bytes:
    return value.to_bytes(4)


def u64(value: int) -> bytes:
    return value.to_bytes(8)


class Channel(NamedTuple):
    """The elements of a channel; it may end after any from number `least` on."""

    make: Callable[[], ChannelReader]
    elements: list[bytes]
    least: int


def of_three(_start: object) -> Walk:
    """Every payload has three bytes, and is asked for them."""
    yield 0, 3
    return 3


def main_reader() -> StreamReader:
    return StreamReader(delimiter=of_three)


RETURN = [
    u16(1) + u16(4) + u32(0),  # SHUT: type, length, value
    u16(2) + u16(4) + u32(7),  # PONG
    u16(3) + u16(14) + u64(0x1000) + u32(0x2000) + b"\1a",  # REQ_PAGES_ID: start, length, block
    u16(4) + u16(12) + u64(0x1000) + u32(0x2000),  # REQ_PAGES
    u16(5) + u16(2) + b"\1a"  # RECV_BITMAP: block
    + u64(8) + bytes(8) + u64(0x0123456789ABCDEF),  # size, bitmap, end mark
    u16(6) + u16(4) + u32(1),  # RESUME_ACK
    u16(7) + u16(0),  # SWITCHOVER_ACK
]  # fmt: skip
MULTIFD = [
    u32(0x11223344) + u32(1) + bytes(16) + b"\1" + bytes(39),  # magic, version, uuid, channel, unused
    u32(0x11223344) + u32(1) + u32(1)  # SYNC packet: magic, version, flags
    + u32(8) + u32(0) + u32(0) + u64(5)  # allocated and normal pages, data length, number
    + u32(1) + u32(0) + bytes(24)  # zero pages, unused
    + b"a".ljust(256, b"\0") + u64(BIG) + bytes(56),  # block, table of 8 offsets
    u32(0x11223344) + u32(1) + u32(64) + bytes(256) + u32(0) + u32(2) + b"xy",  # device state of 2 bytes
]  # fmt: skip
PREEMPT = [
    u64(0x08) + b"\1a" + bytes(4096),  # page 0 of block a
    u64(0x3022) + b"\0",  # zero page 3 of the same block
]
MAIN = [
    b"QEVM" + u32(3),
    b"\x07" + u32(1) + b"m"  # configuration: length and machine
    + b"\x05\x1econfiguration/target-page-bits" + u32(1) + u32(12)
    + b"\x05\x1aconfiguration/capabilities" + u32(1) + u32(1) + b"\x03abc"
    + b"\x05\x12configuration/uuid" + u32(1) + bytes(16),
    b"\x08" + u16(2) + u16(4) + u32(7),  # PING
    b"\x08" + u16(3) + u16(16) + u64(0x201000) + u64(0x1000),  # POSTCOPY_ADVISE: page sizes
    b"\x01" + u32(2) + b"\x03ram" + u32(0) + u32(4),  # START of RAM
    u64(0x201000 | 4),  # sum of the blocks
    b"\1a" + u64(0x1000),  # a block
    b"\1h" + u64(0x200000) + u64(0x200000),  # a block of huge pages, with its page size
    u64(0x40) + b"\1a" + b"\1" + u16(3) + b"\4\1X",  # XBZRLE: block, encoding, length, delta
    u64(0x120) + u32(2) + b"zz",  # compressed page of the same block: length, data
    u64(0x200),  # MULTIFD_FLUSH
    u64(0x10),  # EOS
    b"\x7e" + u32(2),  # footer
    b"\x04" + u32(9) + b"\x03dev" + u32(0) + u32(1),  # FULL
    b"abc",
    b"\x7e" + u32(9),
    b"\x08" + u16(7) + u16(4) + u32(9) + b"\x08" + u16(2) + u16(4) + u32(8),  # a package with a PING
    b"\0",
    b"\x06" + u32(2) + b"{}",  # VM description
]  # fmt: skip

CHANNELS = [
    Channel(ReturnPathReader, RETURN, 0),
    Channel(lambda: MultifdReader(BIG), MULTIFD, 1),
    Channel(PreemptReader, PREEMPT, 0),
    Channel(main_reader, MAIN, len(MAIN) - 1),
]


def ends(channel: Channel) -> set[int]:
    """Where it may end."""
    return {len(b"".join(channel.elements[:n])) for n in range(channel.least, len(channel.elements) + 1)}


def finish(reader: ChannelReader) -> tuple[list[Event], StreamError | None]:
    """The events of a closed reader, and the error that ended them."""
    events: list[Event] = []
    try:
        events.extend(reader.events())
    except StreamError as error:
        return events, error
    return events, None


@pytest.mark.parametrize("channel", CHANNELS, ids=["return", "multifd", "preempt", "main"])
def test_every_proper_prefix(channel: Channel) -> None:
    data, allowed = b"".join(channel.elements), ends(channel)
    for end in range(len(data) + 1):
        if 100 < end < len(data) - 100 and end % 7:
            continue  # long pages: not each of their bytes
        reader = channel.make()
        reader.feed(data[:end])
        reader.close()
        events, error = finish(reader)
        if end in allowed:
            assert error is None
            assert reader.next_event() is Signal.END
            assert b"".join(event.encode() for event in events) == data[:end]
        else:
            assert error is not None
            assert error.found.startswith("read ")
            assert error.offset <= end
            assert finish(reader) == ([], error)  # the same one again


@pytest.mark.parametrize("channel", CHANNELS, ids=["return", "multifd", "preempt", "main"])
def test_byte_by_byte(channel: Channel) -> None:
    data = b"".join(channel.elements)
    whole = channel.make()
    whole.feed(data)
    whole.close()
    reader = channel.make()
    events: list[Event] = []
    for at in range(len(data)):
        reader.feed(data[at : at + 1])
        events.extend(reader.events())
    reader.close()
    events.extend(reader.events())
    expected = list(whole.events())
    assert events == expected
    assert [event.offset for event in events] == [event.offset for event in expected]


def test_a_reader_takes_nothing_after_its_close() -> None:
    reader = ReturnPathReader()
    reader.close()
    with pytest.raises(ValueError, match="feed after close"):
        reader.feed(b"x")


# -- walks over payloads -----------------------------------------------------------------------

SECTION = b"".join((*MAIN[:2], MAIN[13]))


def read(walk: Callable[[object], Walk], payload: bytes) -> list[Event]:
    reader = StreamReader(delimiter=walk)
    reader.feed(SECTION + payload)
    reader.close()
    return list(reader.events())


def test_a_walk_hears_that_the_input_ends_and_may_end_elsewhere() -> None:
    def tries(_start: object) -> Walk:
        try:
            yield 0, 100
        except StreamError:
            mark = yield 2, 1
            assert mark == b"c"
        return 3

    events = read(tries, b"abc" + MAIN[15] + b"\0")
    assert events[3].encode() == b"abc"


def test_a_walk_that_does_not_care_fails_at_the_end_of_the_input() -> None:
    with pytest.raises(StreamError) as raised:
        read(of_three, b"ab")
    assert (raised.value.offset, raised.value.path) == (len(SECTION), "dev")
    assert (raised.value.expected, raised.value.found) == ("3 bytes", "read 2")


def test_an_error_of_a_walk_counts_from_the_payload() -> None:
    def refuses(_start: object) -> Walk:
        yield 0, 1
        raise StreamError(1, "dev/sub", "a subsection", "found none")

    with pytest.raises(StreamError) as raised:
        read(refuses, b"abc")
    assert (raised.value.offset, raised.value.path) == (len(SECTION) + 1, "dev/sub")


# -- mapped-ram --------------------------------------------------------------------------------

MAPPED = (
    MAIN[0] + b"\x07" + u32(1) + b"m"
    + b"\x05\x1aconfiguration/capabilities" + u32(1) + u32(1) + b"\x0amapped-ram"
    + MAIN[4] + u64(0x2000 | 4) + b"\1a" + u64(0x2000)
)  # fmt: skip
AFTER = len(MAPPED) + 28  # where the header of the block ends


@pytest.mark.parametrize(
    ("version", "size", "bitmap", "pages", "message"),
    [
        (2, 0x1000, AFTER, AFTER + 8, "expected version 1, page size 4096, found 2, 4096"),
        (1, 0x2000, AFTER, AFTER + 8, "expected version 1, page size 4096, found 1, 8192"),
        (1, 0x1000, AFTER - 1, AFTER + 8, f"expected a bitmap at {AFTER:#x} or later"),
        (1, 0x1000, AFTER, AFTER + 7, f"expected pages at {AFTER + 8:#x} or later"),
        (1, 0x1000, AFTER, AFTER + 8, "read 0"),
    ],
)
def test_a_mapped_block_that_cannot_be(
    version: int, size: int, bitmap: int, pages: int, message: str
) -> None:
    reader = main_reader()
    reader.feed(MAPPED + u32(version) + u64(size) + u64(bitmap) + u64(pages) + bytes(8))
    reader.close()
    with pytest.raises(StreamError, match=message):
        list(reader.events())

# SPDX-License-Identifier: Apache-2.0
"""Side channels: multifd, return path, postcopy and recovery, preempt; real captures and tables."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.learned import LearnedDelimiter
from migmatrix.vmstate.view.ramimage import RamImage
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.wire.channel import ChannelReader, PreemptReader
from migmatrix.vmstate.wire.constants import ReturnCode
from migmatrix.vmstate.wire.events import Command, Event, Packaged
from migmatrix.vmstate.wire.multifd import (
    DeviceStatePacket,
    MultifdFlag,
    MultifdInit,
    MultifdPacket,
    MultifdReader,
    inflate,
)
from migmatrix.vmstate.wire.ram import RamState
from migmatrix.vmstate.wire.ramevents import PageRun, RamBlock, page_records
from migmatrix.vmstate.wire.reader import StreamReader
from migmatrix.vmstate.wire.returnpath import ReceivedBitmap, RequestPages, ReturnMessage, ReturnPathReader
from migmatrix.vmstate.wire.signal import Signal

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.window import Buffer

Load = Callable[[str], bytes]
PAGE = bytes(range(256)) * 16


def read(reader: ChannelReader | StreamReader, data: bytes, piece: int = 1 << 20) -> list[Event]:
    events: list[Event] = []
    for i in range(0, len(data), piece):
        reader.feed(data[i : i + piece])
        events.extend(reader.events())
    reader.close()
    events.extend(reader.events())
    assert reader.next_event() is Signal.END
    assert b"".join(e.encode() for e in events) == data
    return events


# -- multifd -----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["7.2.22", "10.0.13"])
def test_joined_multifd_channels_hold_all_of_memory(stream_bytes: Load, version: str) -> None:
    main = read_stream(stream_bytes(f"multifd-{version}.0"))
    events: list[Event] = list(main.events)
    numbers = []
    for channel in (1, 2):
        for event in read(MultifdReader(), stream_bytes(f"multifd-{version}.{channel}"), 777):
            if isinstance(event, MultifdPacket):
                numbers.extend([event.number] if event.offsets else [])
                events.extend(event.pages())
    assert len(set(numbers)) == len(numbers)
    alone = read_stream(stream_bytes(f"advised-{version}"))
    joined = RamImage(events)
    assert {b: i.digest() for b, i in joined.blocks.items()} == {
        b: i.digest() for b, i in alone.ram.blocks.items()
    }


def packet(
    flags: int = 0, normal: tuple[int, ...] = (), zero: tuple[int, ...] = (), data: Buffer | None = None
) -> MultifdPacket:
    table = b"".join(o.to_bytes(8) for o in normal + zero).ljust(1024, b"\0")
    data = PAGE * len(normal) if data is None else data
    return MultifdPacket(
        flags, 128, len(normal), len(zero), len(data), 0, b"pc.ram".ljust(256, b"\0"), table, data
    )


INIT = MultifdInit(bytes(16), 1)


def test_packets() -> None:
    events: list[Event] = [
        INIT,
        packet(1),
        packet(0, (4096,), (0, 8192)),
        DeviceStatePacket(64, bytes(256), 0, b"state"),
    ]
    found = read(MultifdReader(), b"".join(e.encode() for e in events), 100)
    assert found == events
    second = found[2]
    assert isinstance(second, MultifdPacket)
    assert second.block == "pc.ram"
    assert [(r.first, r.kind.name) for r in second.pages()] == [(4096, "PAGE"), (0, "ZERO"), (8192, "ZERO")]


def test_zlib_packets_of_a_channel_are_one_deflate_stream() -> None:
    pack = zlib.compressobj()
    packets = []
    for page in (PAGE, PAGE[::-1]):
        data = pack.compress(page) + pack.flush(zlib.Z_SYNC_FLUSH)
        packets.append(packet(MultifdFlag.ZLIB, (0,), data=data))
    assert [p.data for p in inflate(packets)] == [PAGE, PAGE[::-1]]
    with pytest.raises(StreamError, match="expected plain pages, found zlib"):
        list(packets[0].pages())
    with pytest.raises(StreamError, match="expected 8192 bytes, read 4096"):
        list(inflate([packet(MultifdFlag.ZLIB, (0, 4096), data=packets[0].data)]))


def test_zstd_packets_need_a_decoder_of_the_caller() -> None:
    data = packet(MultifdFlag.ZSTD, (0,), data=b"packed")
    assert list(inflate([data])) == [data]
    seen: list[tuple[bytes, int]] = []

    def unpack(raw: bytes, most: int) -> bytes:
        seen.append((raw, most))
        return PAGE

    (plain,) = inflate([data], zstd=unpack)
    assert (plain.data, plain.compression, plain.length) == (PAGE, 0, 4096)
    assert [run.raw[8:] for run in plain.pages()] == [PAGE]
    assert seen == [(b"packed", 4097)]


def test_what_is_not_compressed_passes_a_decoder_untouched() -> None:
    packets = [packet(0, (0,)), packet(MultifdFlag.ZLIB, zero=(0,)), packet(MultifdFlag.QPL, (0,), data=b"x")]
    assert list(inflate(packets)) == packets


def test_data_that_is_not_of_its_method_is_told() -> None:
    with pytest.raises(StreamError, match=r"multifd\.zlib\): expected zlib data, found Error -3"):
        list(inflate([packet(MultifdFlag.ZLIB, (0,), data=b"no zlib data")]))


BAD_MULTIFD = [
    (bytes(64), "expected magic 0x11223344, version 1, found 0x0, 0"),
    (INIT.encode() + bytes(12), "found 0x0, 0"),
    (INIT.encode() + packet(0, (0,), data=PAGE[1:]).encode(), "expected 4096 bytes of pages, found 4095"),
    (INIT.encode() + packet(0, (0,)).encode()[:-1], "expected 5440 bytes, read 5439"),
    (INIT.encode() + packet(0, tuple(range(129)), data=b"").encode(), "expected at most 128 pages"),
]


@pytest.mark.parametrize(("data", "message"), BAD_MULTIFD)
def test_bad_multifd(data: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read(MultifdReader(), data)


# -- return path -------------------------------------------------------------------------------

RETURNS = [
    (ReturnMessage(ReturnCode.SHUT, 1), b"\0\1\0\4\0\0\0\1"),
    (ReturnMessage(ReturnCode.PONG, 7), b"\0\2\0\4\0\0\0\7"),
    (RequestPages(4096, 8192, "a"), b"\0\3\0\x0e" + (4096).to_bytes(8) + (8192).to_bytes(4) + b"\1a"),
    (RequestPages(4096, 8192), b"\0\4\0\x0c" + (4096).to_bytes(8) + (8192).to_bytes(4)),
    (
        ReceivedBitmap("a", b"\xff" * 8),
        b"\0\5\0\2\1a" + (8).to_bytes(8) + b"\xff" * 8 + b"\x01\x23\x45\x67\x89\xab\xcd\xef",
    ),
    (ReturnMessage(ReturnCode.RESUME_ACK, 1), b"\0\6\0\4\0\0\0\1"),
    (ReturnMessage(ReturnCode.SWITCHOVER_ACK), b"\0\7\0\0"),
]


@pytest.mark.parametrize(("event", "data"), RETURNS)
def test_return_messages(event: Event, data: bytes) -> None:
    assert event.encode() == data
    assert read(ReturnPathReader(), data, 1) == [event]


BAD_RETURNS = [
    (b"\0\0\0\0", "expected 1 to 7, found 0"),
    (b"\0\1\0\0", r"return SHUT.len\): expected 4, found 0"),
    (b"\0\3\0\1x", "expected at least 12 bytes, read 1"),
    (b"\0\5\0\2\2a", "expected a name that fills the message"),
    (RETURNS[4][1][:-1] + b"\0", "expected 0x123456789abcdef"),
    (b"\0\1\0\4\0", "expected 8 bytes, read 5"),
]


@pytest.mark.parametrize(("data", "message"), BAD_RETURNS)
def test_bad_return_messages(data: bytes, message: str) -> None:
    with pytest.raises(StreamError, match=message):
        read(ReturnPathReader(), data)


def pongs(data: bytes) -> list[int | None]:
    events = read(ReturnPathReader(), data)
    return [e.value for e in events if isinstance(e, ReturnMessage) and e.code is ReturnCode.PONG]


# -- postcopy ----------------------------------------------------------------------------------


@pytest.fixture
def learned(stream_bytes: Load) -> LearnedDelimiter:
    found = [read_stream(stream_bytes(n)).vmdesc for n in ("multifd-7.2.22.0", "advised-7.2.22")]
    return LearnedDelimiter(d for d in found if d)


def test_postcopy(stream_bytes: Load, learned: LearnedDelimiter) -> None:
    events = read(StreamReader(delimiter=learned), stream_bytes("postcopy-7.2.22"), 1000)
    names = [e.name if isinstance(e, Command) else type(e).__name__ for e in events]
    commands = [n for n in names if n.isupper() or n == "Packaged"]
    discards = commands.count("POSTCOPY_RAM_DISCARD")
    assert commands == [
        "OPEN_RETURN_PATH",
        "PING",
        "POSTCOPY_ADVISE",
        *["POSTCOPY_RAM_DISCARD"] * discards,
        "PING",
        "Packaged",
        "PING",
    ]
    package = next(e for e in events if isinstance(e, Packaged))
    inside = [e.name for e in package.events if isinstance(e, Command)]
    assert inside == ["POSTCOPY_LISTEN", "PING", "POSTCOPY_RUN"]
    assert sorted(p or 0 for p in pongs(stream_bytes("postcopy-7.2.22.return"))) == [1, 2, 3, 4]


def test_recovery_goes_on_where_the_link_broke(stream_bytes: Load, learned: LearnedDelimiter) -> None:
    first = StreamReader(delimiter=learned)
    data = stream_bytes("broken-7.2.22")
    first.feed(data)
    before = list(first.events())
    assert data.startswith(b"".join(e.encode() for e in before))
    second = StreamReader(header=False, earlier=first, delimiter=learned)
    events = read(second, stream_bytes("recovery-7.2.22"), 100)
    names = [e.name for e in events if isinstance(e, Command)]
    blocks = [e.name for e in before if isinstance(e, RamBlock)]
    assert names == [*["RECV_BITMAP"] * len(blocks), "POSTCOPY_RESUME"]
    replies = read(ReturnPathReader(), stream_bytes("recovery-7.2.22.return"))
    assert [e.block for e in replies if isinstance(e, ReceivedBitmap)] == blocks
    assert ReturnMessage(ReturnCode.RESUME_ACK, 1) in replies


@pytest.mark.parametrize("tail", [b"", bytes(7) + b"\x10"])
def test_preempt_channel(tail: bytes) -> None:
    ram = RamState(lengths={"a": 0x10000})
    run = page_records("a", 0x3000, [PAGE])
    events = read(PreemptReader(ram), run.encode() + tail)
    assert [e for e in events if isinstance(e, PageRun)] == [run]
    assert ram.block is None  # the main channel's last block is its own
    with pytest.raises(StreamError, match="expected a block of the list"):
        read(PreemptReader(ram), page_records("b", 0, [PAGE]).encode())
    with pytest.raises(StreamError, match="expected the end, found 1 bytes"):
        read(PreemptReader(ram), bytes(7) + b"\x10x")

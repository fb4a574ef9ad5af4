# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever is given to `stream check` as another channel of a migration is read, or refused with StreamError,
in bounded memory; and joined with the main channel it is memory or a StreamError.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import zstandard
from fuzzing import each, spoil
from made_streams import CONTENT, END, EOS, FLUSH, MIB, good, part, start, state, stream, word
from urgent_records import EOS as LAST
from urgent_records import record

from migmatrix.harness.streams.channels import zstd_decoder
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.channels import joined, read_channel
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.wire.constants import ReturnCode
from migmatrix.vmstate.wire.multifd import MultifdFlag, MultifdInit, MultifdPacket
from migmatrix.vmstate.wire.returnpath import ReceivedBitmap, RequestPages, ReturnMessage

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

SIZE = 4096
MEMORY = CONTENT * 256
SYNCED = stream(start(), part(word(0, FLUSH)), part(word(0, FLUSH), kind=END), state())
MAINS = [
    read_stream(data, strict=False) for data in (good(), SYNCED, stream(start(word(MIB, 4) + word(0, EOS))))
]


def packers() -> dict[MultifdFlag, Callable[[bytes], bytes]]:
    """How a channel packs its pages: a stream of its method, flushed with each packet."""
    deflate, zstd = zlib.compressobj(1), zstandard.ZstdCompressor().compressobj()
    return {
        MultifdFlag(0): lambda data: data,
        MultifdFlag.ZLIB: lambda data: deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH),
        MultifdFlag.ZSTD: lambda data: zstd.compress(data) + zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK),
    }


def packet(rng: random.Random, number: int, method: MultifdFlag, pack: Callable[[bytes], bytes]) -> bytes:
    normal, zero = rng.randrange(4), rng.randrange(3)
    offsets = [page * SIZE for page in rng.sample(range(256), normal + zero)]
    table = struct.pack(f">{normal + zero}Q", *offsets).ljust(128 * 8, b"\0")
    data = pack(CONTENT * normal) if normal else b""
    counts = (method | rng.randrange(2), 128, normal, zero, len(data), number)
    return MultifdPacket(*counts, b"ram".ljust(256, b"\0"), table, data).encode()


def multifd(rng: random.Random) -> list[bytes]:
    method, pack = rng.choice(list(packers().items()))
    packets = [packet(rng, number, method, pack) for number in range(rng.randrange(4))]
    return [MultifdInit(bytes(16), rng.randrange(2)).encode(), *packets]


def urgent(rng: random.Random) -> list[bytes]:
    pages = rng.sample(range(256), rng.randrange(1, 4))
    return [*(record(MEMORY, page, named=not at) for at, page in enumerate(pages)), LAST]


def replies(rng: random.Random) -> list[bytes]:
    made: list[ReturnMessage | RequestPages | ReceivedBitmap] = [
        ReturnMessage(ReturnCode.PONG, 1),
        ReturnMessage(ReturnCode.SHUT, 0),
        ReturnMessage(ReturnCode.SWITCHOVER_ACK),
        RequestPages(SIZE, SIZE, "ram"),
        RequestPages(SIZE, SIZE),
        ReceivedBitmap("ram", bytes(32)),
    ]
    return [message.encode() for message in rng.choices(made, k=4)]


def channel(rng: random.Random) -> bytes:
    """One of each kind, of which most often one element is damaged."""
    parts = rng.choice((multifd, multifd, urgent, replies))(rng)
    if rng.randrange(4):
        at = rng.randrange(len(parts))
        parts[at] = spoil(parts[at], rng)
    return b"".join(parts)


def test_channels_given_together() -> None:
    def run(rng: random.Random) -> None:
        main = rng.choice(MAINS)
        channels = [read_channel(channel(rng), main, zstd_decoder) for _ in range(rng.randrange(1, 4))]
        whole = joined(main, channels)
        for block in whole.ram.blocks.values():
            block.digest()

    assert each("channels", run, StreamError).keys() == {"taken", "StreamError"}


def test_a_small_packet_that_becomes_large_takes_no_memory() -> None:
    """64 MiB of zeros in one page's packet, by each method."""
    zeros = bytes(1 << 26)
    deflate = zlib.compressobj(9)
    packed = {
        MultifdFlag.ZSTD: zstandard.compress(zeros),
        MultifdFlag.ZLIB: deflate.compress(zeros) + deflate.flush(),
    }
    del zeros

    def run(rng: random.Random) -> None:
        method = rng.choice(list(packed))
        data = packed[method]
        counts = (int(method), 128, 1, 0, len(data), 0)
        raw = MultifdPacket(*counts, b"ram".ljust(256, b"\0"), bytes(128 * 8), data).encode()
        read_channel(MultifdInit(bytes(16), 0).encode() + raw, MAINS[0], zstd_decoder)

    ends = each("packets that become large", run, StreamError)
    assert ends.keys() == {"StreamError"}

# SPDX-License-Identifier: Apache-2.0
"""Invariant: whatever a channel sends, it is taken or refused with PacketError, and writes only within used memory.

Streams of packets with seeded damage; `fuzzing` says how many.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import zstandard
from fuzzing import each

from migmatrix.emulator.memory import PAGE_SIZE, RamBlock
from migmatrix.emulator.migration.multifd import Multifd, PacketError
from migmatrix.emulator.migration.multifd_codec import packer
from migmatrix.emulator.migration.multifd_packets import (
    HEADER,
    INITIAL,
    initial,
    packet,
    read_initial,
    read_packet,
)
from migmatrix.emulator.migration.multifd_receive import PacketReader
from migmatrix.emulator.migration.streams import BytesChannel, Input
from migmatrix.emulator.migration.traits import Traits
from migmatrix.vmstate.wire.multifd import HEAD

if TYPE_CHECKING:
    import random

RELEASES = [Traits(name) for name in ("7.2", "9.2", "10.0", "11.1")]
FLAGS = {"none": 0, "zlib": 2, "zstd": 4}
USED = 60 * PAGE_SIZE + 100  # not a whole page at the end
BLOCKS = {name: RamBlock(name, USED, max_size=64 * PAGE_SIZE, resizable=True) for name in ("ram", "rom")}
INTERESTING = (0, 1, 2, 127, 128, 129, 255, 4096, 1 << 19, 1 << 20, 1 << 31, (1 << 32) - 1)


def spoil(raw: bytearray, rng: random.Random, most: int) -> bytes:
    """Some numbers of the header changed, or any bits, or a part left out or doubled."""
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(most)
        kind = rng.randrange(5)
        if kind == 0:
            raw[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            at = rng.randrange(0, 64, 4)
            raw[at : at + 4] = rng.choice(INTERESTING).to_bytes(4)
        elif kind == 2:
            at = HEAD.size + 8 * rng.randrange(8)
            raw[at : at + 8] = rng.choice((0, USED - PAGE_SIZE + 1, USED, 1 << 63, (1 << 64) - 1)).to_bytes(8)
        elif kind == 3:
            del raw[at : at + rng.randrange(1, 64)]
        else:
            raw[at:at] = raw[at : at + rng.randrange(1, 64)]
        most = min(most, len(raw))
    return bytes(raw)


def channel(rng: random.Random, method: str) -> bytes:
    """A channel with up to three packets, of which most are damaged."""
    pack = packer(method, 1)
    parts = []
    for number in range(rng.randrange(1, 4)):
        pages = rng.sample(range(60), rng.randrange(6))
        offsets = [page * PAGE_SIZE for page in pages]
        zero = rng.randrange(len(offsets) + 1)
        data = pack.pack(rng.randbytes(8) * (512 * (len(offsets) - zero))) if zero < len(offsets) else b""
        flags = FLAGS[method] | rng.randrange(2)
        block = BLOCKS[rng.choice(("ram", "rom"))]
        raw = bytearray(packet(flags, number, block, offsets[zero:], offsets[:zero], length=len(data)) + data)
        parts.append(
            spoil(raw, rng, len(raw) if rng.randrange(2) else 400) if rng.randrange(4) else bytes(raw)
        )
    return b"".join(parts)


@pytest.mark.parametrize("method", list(FLAGS))
def test_channels(method: str) -> None:
    def run(rng: random.Random) -> None:
        multifd = Multifd(rng.choice(RELEASES), 2, bytes(16), method, 1, "multifd", per_section=False)
        reader = PacketReader(Input(BytesChannel(channel(rng, method))), 1, multifd, BLOCKS)
        while reader.read() is not None:
            pass

    ends = each(method, run, PacketError)
    assert ends.keys() == {"taken", "PacketError"}
    assert all(not any(block.data[USED:]) for block in BLOCKS.values())


def test_headers_and_beginnings() -> None:
    good = [
        packet(1, 7, BLOCKS["ram"], [0, PAGE_SIZE], [2 * PAGE_SIZE], length=8192),
        initial(bytes(16), 1).ljust(HEADER, b"\0"),
    ]

    def run(rng: random.Random) -> None:
        raw = spoil(bytearray(rng.choice(good)), rng, 400).ljust(HEADER, b"\0")[:HEADER]
        traits = rng.choice(RELEASES)
        assert 0 <= read_initial(raw[:INITIAL], bytes(16), 2, traits) < 2

    def header(rng: random.Random) -> None:
        raw = spoil(bytearray(good[0]), rng, 400).ljust(HEADER, b"\0")[:HEADER]
        found = read_packet(raw, BLOCKS, rng.choice(RELEASES))
        assert len(found.normal) + len(found.zero) <= 128
        assert all(0 <= at <= USED - PAGE_SIZE for at in (*found.normal, *found.zero))

    each("beginnings", run, PacketError)
    each("headers", header, PacketError)


def test_memory_is_bounded_whatever_unpacks_to_how_much() -> None:
    """A small packet that would become a gibibyte, and one that says that gibibytes follow."""
    bomb = zstandard.compress(bytes(1 << 26))
    raw = packet(4, 0, BLOCKS["ram"], [0], length=len(bomb)) + bomb
    long = packet(2, 0, BLOCKS["ram"], [0], length=(1 << 32) - 1) + bytes(100)

    def run(rng: random.Random) -> None:
        method, data = rng.choice((("zstd", raw), ("zlib", long)))
        multifd = Multifd(RELEASES[-1], 2, bytes(16), method, 1, "multifd", per_section=False)
        PacketReader(Input(BytesChannel(data)), 1, multifd, BLOCKS).read()

    assert each("packets that become large", run, PacketError).keys() == {"PacketError"}

# SPDX-License-Identifier: Apache-2.0
"""Memory on the wire: what is sent, what is taken, what is refused."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import none, status

from migmatrix.emulator.memory import PAGE_SIZE, RamBlock
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.ram_load import RamLoader
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.streams import BytesChannel, Input, Output
from migmatrix.emulator.migration.traits import Traits
from migmatrix.vmstate.wire.constants import RamFlag

if TYPE_CHECKING:
    from pathlib import Path

EOS = struct.pack(">Q", RamFlag.EOS)


class Sink:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes | memoryview) -> None:
        self.data += bytes(data)


def source(data: bytes) -> Input:
    return Input(BytesChannel(data))


def loaded(data: bytes, blocks: dict[str, RamBlock], release: str = "10.0") -> None:
    stream, loader = source(data), RamLoader(blocks, Traits(release))
    while not stream.ended:
        loader.load(stream, 4)


def word(at: int, flags: int, name: str = "") -> bytes:
    return struct.pack(">Q", at | flags) + (bytes((len(name),)) + name.encode() if name else b"")


def saved(blocks: list[RamBlock]) -> tuple[RamSaver, Output, Sink]:
    sink = Sink()
    out = Output(sink)
    saver = RamSaver(blocks, lambda _: None)
    saver.begin(out)
    return saver, out, sink


def test_random_memory_arrives_as_it_was() -> None:
    rng = random.Random(4)
    blocks = [RamBlock(name, pages * PAGE_SIZE) for name, pages in (("a", 700), ("b", 3), ("c", 1))]
    for block in blocks:
        for page in rng.sample(range(block.pages), block.pages // 2):
            size = rng.choice((1, 100, PAGE_SIZE))
            block.write(page * PAGE_SIZE + rng.randrange(PAGE_SIZE - size + 1), rng.randbytes(size))
    saver, out, sink = saved(blocks)
    while not saver.iterate(out):
        pass
    saver.complete(out)
    out.flush()
    others = {b.name: RamBlock(b.name, b.used_length) for b in blocks}
    for block in others.values():
        block.write(0, b"old" * 1000)
    loaded(sink.data, others)
    assert {n: b.data[:] for n, b in others.items()} == {b.name: b.data[:] for b in blocks}
    assert saver.stats.normal + saver.stats.duplicate == 704


def test_a_write_after_a_page_was_sent_is_sent_by_the_next_pass() -> None:
    block = RamBlock("ram", 64 * PAGE_SIZE)
    saver, out, sink = saved([block])
    assert saver.iterate(out)
    block.write(5 * PAGE_SIZE + 10, b"late")
    assert saver.pending == 0
    saver.sync()
    assert saver.pending == PAGE_SIZE
    assert saver.stats.passes == 2
    saver.complete(out)
    out.flush()
    other = RamBlock("ram", 64 * PAGE_SIZE)
    loaded(sink.data, {"ram": other})
    assert other.data[:] == block.data[:]


@pytest.mark.parametrize(
    ("room", "pages"), [(1, 1), (PAGE_SIZE, 1), (10 * PAGE_SIZE, 10), (300 * PAGE_SIZE, 300)]
)
def test_an_iteration_stops_where_the_output_is_full(room: int, pages: int) -> None:
    block = RamBlock("ram", 1024 * PAGE_SIZE)
    block.write(0, random.Random(1).randbytes(1024 * PAGE_SIZE))
    saver, out, _ = saved([block])
    out.allowed = out.offset + room
    assert not saver.iterate(out)
    assert saver.pending == (1024 - pages) * PAGE_SIZE


def test_the_log_is_only_kept_while_it_is_wanted() -> None:
    block = RamBlock("ram", 8 * PAGE_SIZE)
    block.write(0, b"x")
    block.start_log()
    assert block.take_log() == bytes(8)
    block.write(PAGE_SIZE - 1, b"xy")
    assert block.take_log() == bytes((1, 1, 0, 0, 0, 0, 0, 0))
    assert block.take_log() == bytes(8)
    block.stop_log()
    block.write(0, b"x")
    block.start_log()
    assert block.take_log() == bytes(8)


@pytest.mark.parametrize(("offset", "size"), [(-1, 1), (4095, 2), (4096, 1)])
def test_the_guest_cannot_write_outside_of_a_block(offset: int, size: int) -> None:
    with pytest.raises(ValueError, match="has no bytes"):
        RamBlock("ram", 4096).write(offset, bytes(size))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (word(0, 0x28), ("Ack, bad migration stream!", "Illegal RAM offset 0")),
        (word(0, 0x8, "xyz"), ("Can't find block xyz", "Illegal RAM offset 0")),
        (word(0x80000000, 0x8, "ram"), ("Illegal RAM offset 80000000",)),
        (word(0, 0x400), ("Unknown combination of migration flags: 0x400",)),
        (word(0, 0x1), ("Unknown combination of migration flags: 0x1",)),
        (word(0, 0x2, "ram") + b"A", ("Found a zero page with value 65",)),
        (word(0x1000, 0x4) + b"\3ram" + struct.pack(">Q", 0x1000),
         ("Size mismatch: ram: 0x1000 != 0x4000: Invalid argument",)),
        (word(0x1000, 0x4) + b"\3big" + struct.pack(">Q", 0x9000), ("Size too large: big: 0x9000 > 0x8000: Invalid argument",)),
        (word(0x1000, 0x4) + b"\1x" + struct.pack(">Q", 1), ('Unknown ramblock "x", cannot accept migration',)),
        (word(0, 0x40, "ram") + b"\2\0\1a", ("Failed to load XBZRLE page - wrong compression!", "Failed to decompress XBZRLE page at 0")),
        (word(0, 0x40, "ram") + b"\1\x20\0", ("Failed to load XBZRLE page - len overflow!", "Failed to decompress XBZRLE page at 0")),
        (b"\0\0", ("Getting RAM address failed",)),
    ],
)  # fmt: skip
def test_a_bad_record_is_refused_in_qemus_words(data: bytes, said: tuple[str, ...]) -> None:
    blocks = {"ram": RamBlock("ram", 0x4000), "big": RamBlock("big", 0x1000, max_size=0x8000, resizable=True)}
    before = blocks["ram"].data[:]
    with pytest.raises(LoadFault) as refused:
        RamLoader(blocks, Traits("10.0")).load(source(data), 4)
    assert refused.value.said == said
    assert blocks["ram"].data[:] == before


def test_any_bytes_are_taken_or_refused_and_nothing_else() -> None:
    rng = random.Random(11)
    for _ in range(2000):
        words = [rng.randbytes(rng.randrange(12)) + word(rng.randrange(8) << 12, rng.randrange(0x400), rng.choice(("", "ram")))
                 for _ in range(rng.randrange(4))]  # fmt: skip
        try:
            RamLoader({"ram": RamBlock("ram", 0x4000)}, Traits(rng.choice(("5.2", "11.1")))).load(
                source(b"".join(words)), rng.choice((3, 4))
            )
        except LoadFault:
            continue


def test_a_resizable_block_takes_the_senders_size() -> None:
    block = RamBlock("acpi", 0x1000, max_size=0x8000, resizable=True)
    loaded(word(0x3000, 0x4) + b"\4acpi" + struct.pack(">Q", 0x3000) + EOS, {"acpi": block})
    assert block.used_length == 0x3000


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        (b"\x02\x03abc", b"..abc..."),
        (b"\x00\x01a\x06\x01z", b"a......z"),
        (b"\x08\x01a", None),
        (b"\x02\x03ab", None),
        (b"\x80", None),
    ],
)
def test_xbzrle_pages(encoded: bytes, expected: Any) -> None:
    from migmatrix.emulator.migration.xbzrle import decode_page

    assert decode_page(encoded, b"." * 8) == expected


@pytest.mark.parametrize(("found", "normal"), [("multifd", 0), ("legacy", 0), ("none", 256)])
def test_a_source_that_does_not_look_for_zeros_sends_them(found: str, normal: int, tmp_path: Path) -> None:
    machine = none("10.0", "-S")
    machine.migration.set_parameters({"zero-page-detection": found})
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    told = status(machine, "completed")["ram"]
    assert (told["normal"], told["duplicate"]) == (normal, 256 - normal)

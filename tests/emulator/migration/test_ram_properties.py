# SPDX-License-Identifier: Apache-2.0
"""Memory on the wire, as properties: whatever is written between whatever passes, both sides end with equal memory.

Hypothesis draws the blocks, the writes, and where passes begin; the records are read again by hand here, so that order,
CONTINUE flags and block lists are checked against the format (`stream-format`, RAM section), not against the loader.
"""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from whole_streams import Sink

from migmatrix.emulator.memory import PAGE_SIZE, RamBlock
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.ram_load import RamLoader
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.streams import BytesChannel, Input, Output
from migmatrix.emulator.migration.traits import Traits

ZERO, SIZE, PAGE, EOS, CONTINUE = 2, 4, 8, 16, 32
SIZES = {"ram": 9, "vga": 5, "rom": 2}  # pages
RELEASES = ("5.2", "7.2", "10.0", "11.1")


class Write(NamedTuple):
    """What a guest writes: zeros as well as content, within a page or across pages."""

    block: str
    offset: int
    data: bytes


class Record(NamedTuple):
    """One page on the wire; `named` when it named its block itself."""

    block: str
    page: int
    zero: bool
    named: bool


@st.composite
def writes(draw: st.DrawFn) -> Write:
    block = draw(st.sampled_from(sorted(SIZES)))
    room = SIZES[block] * PAGE_SIZE
    data = draw(st.sampled_from([b"\0", b"x", b"xyz" * 1366, bytes(PAGE_SIZE), b"\0" * 4095 + b"!"]))
    return Write(block, draw(st.integers(0, room - len(data))), data)


rounds = st.lists(st.lists(writes(), max_size=6), min_size=1, max_size=5)


def machine_blocks() -> dict[str, RamBlock]:
    return {name: RamBlock(name, pages * PAGE_SIZE) for name, pages in SIZES.items()}


def write(blocks: dict[str, RamBlock], what: list[Write]) -> None:
    for one in what:
        blocks[one.block].write(one.offset, one.data)


def sent(blocks: dict[str, RamBlock], between: list[list[Write]]) -> tuple[bytes, RamSaver]:
    """The payloads of a migration during which the guest writes: before it, and before each further pass."""
    sink = Sink()
    out = Output(sink)
    saver = RamSaver(list(blocks.values()), lambda _: None)
    write(blocks, between[0])
    saver.begin(out)
    for what in between[1:]:
        while not saver.iterate(out):
            pass  # on a busy host a pass takes more than one slice of time
        write(blocks, what)
        saver.sync()
    saver.complete(out)
    out.flush()
    return bytes(sink.data), saver


def received(blocks: dict[str, RamBlock], data: bytes, release: str = "10.0") -> None:
    source, loader = Input(BytesChannel(data)), RamLoader(blocks, Traits(release))
    while not source.ended:
        loader.load(source, 4)


def contents(blocks: dict[str, RamBlock]) -> dict[str, bytes]:
    return {name: block.data[: block.used_length] for name, block in blocks.items()}


def header(data: bytes) -> tuple[list[tuple[str, int]], int]:
    """The list of blocks at the start, and where it ends."""
    total, at = struct.unpack_from(">Q", data)[0] - SIZE, 8
    found = []
    while total:
        end = at + 1 + data[at]
        found.append((data[at + 1 : end].decode(), struct.unpack_from(">Q", data, end)[0]))
        total -= found[-1][1]
        at = end + 8
    assert struct.unpack_from(">Q", data, at) == (EOS,)
    return found, at + 8


def records(data: bytes) -> list[Record]:
    """All pages after the list."""
    at, block, found = header(data)[1], "", []
    while at < len(data):
        word = struct.unpack_from(">Q", data, at)[0]
        flags, at = word & 0xFFF, at + 8
        if flags == EOS:
            continue
        if not flags & CONTINUE:
            block, at = data[at + 1 : at + 1 + data[at]].decode(), at + 1 + data[at]
        assert flags & ~CONTINUE in (ZERO, PAGE)
        found.append(Record(block, word // PAGE_SIZE, bool(flags & ZERO), not flags & CONTINUE))
        at += 1 if flags & ZERO else PAGE_SIZE
    return found


@given(rounds, st.sampled_from(RELEASES))
def test_any_writes_during_any_passes_give_equal_memory(between: list[list[Write]], release: str) -> None:
    source, there = machine_blocks(), machine_blocks()
    for block in there.values():
        block.write(0, b"old content" * 300)
    data, _ = sent(source, between)
    received(there, data, release)
    assert contents(there) == contents(source)


@given(rounds)
def test_a_page_is_sent_once_and_again_only_if_it_was_written(between: list[list[Write]]) -> None:
    source = machine_blocks()
    data, saver = sent(source, between)
    times: dict[tuple[str, int], int] = {}
    for record in records(data):
        times[record.block, record.page] = times.get((record.block, record.page), 0) + 1
    assert times.keys() == {(name, page) for name, pages in SIZES.items() for page in range(pages)}
    for (name, page), count in times.items():
        dirtied = sum(any(touches(one, name, page) for one in what) for what in between[1:])
        assert count == 1 + dirtied
    assert saver.stats.normal + saver.stats.duplicate == sum(times.values())
    assert (saver.pending, saver.stats.remaining) == (0, 0)


def touches(one: Write, name: str, page: int) -> bool:
    first, last = one.offset // PAGE_SIZE, (one.offset + len(one.data) - 1) // PAGE_SIZE
    return one.block == name and first <= page <= last


@given(rounds)
def test_a_block_is_named_exactly_where_it_changes(between: list[list[Write]]) -> None:
    """Also across the ends of sections: CONTINUE means the block of the record before, wherever that was."""
    data, _ = sent(machine_blocks(), between)
    found = records(data)
    assert found[0].named
    assert all(after.named == (after.block != before.block) for before, after in pairwise(found))


@given(st.lists(writes(), max_size=8))
def test_a_zero_page_has_no_content_on_the_wire(what: list[Write]) -> None:
    source = machine_blocks()
    data, saver = sent(source, [what])
    for record in records(data):
        at = record.page * PAGE_SIZE
        assert record.zero == (source[record.block].data[at : at + PAGE_SIZE] == bytes(PAGE_SIZE))
    assert saver.stats.duplicate == sum(record.zero for record in records(data))


@given(st.permutations(sorted(SIZES)))
def test_blocks_go_from_the_largest_to_the_smallest(order: list[str]) -> None:
    blocks = machine_blocks()
    data, _ = sent({name: blocks[name] for name in order}, [[]])
    listed = header(data)[0]
    assert listed == [(name, SIZES[name] * PAGE_SIZE) for name in ("ram", "vga", "rom")]
    assert list(dict.fromkeys(record.block for record in records(data))) == ["ram", "vga", "rom"]


@given(st.lists(writes(), max_size=4), st.data())
def test_a_cut_anywhere_is_refused(what: list[Write], data: st.DataObject) -> None:
    """Only between two payloads is there no more to come: everywhere else the loader says that something is missing."""
    whole, _ = sent(machine_blocks(), [what])
    cut = data.draw(st.integers(1, len(whole) - 1))
    there = machine_blocks()
    if cut == header(whole)[1]:
        received(there, whole[:cut])
    else:
        with pytest.raises(LoadFault):
            received(there, whole[:cut])


@given(st.integers(0, 6), st.integers(1, 6))
def test_a_resizable_block_has_the_senders_size(old: int, new: int) -> None:
    source = RamBlock("acpi", new * PAGE_SIZE, max_size=8 * PAGE_SIZE, resizable=True)
    there = RamBlock("acpi", old * PAGE_SIZE, max_size=8 * PAGE_SIZE, resizable=True)
    source.write((new - 1) * PAGE_SIZE, b"last page")
    data, _ = sent({"acpi": source}, [[]])
    received({"acpi": there}, data)
    assert there.used_length == new * PAGE_SIZE
    assert contents({"acpi": there}) == contents({"acpi": source})


@pytest.mark.parametrize(
    ("size", "most", "resizable", "words"),
    [
        (4, 8, True, None),
        (9, 8, True, "Size too large: b: 0x9000 > 0x8000: Invalid argument"),
        (4, 4, False, None),
        (5, 4, False, "Size mismatch: b: 0x5000 != 0x4000: Invalid argument"),
        (3, 4, False, "Size mismatch: b: 0x3000 != 0x4000: Invalid argument"),
    ],
)
def test_a_size_is_taken_or_refused(size: int, most: int, resizable: bool, words: str | None) -> None:
    data, _ = sent({"b": RamBlock("b", size * PAGE_SIZE)}, [[]])
    there = RamBlock("b", 4 * PAGE_SIZE, max_size=most * PAGE_SIZE, resizable=resizable)
    if words is None:
        received({"b": there}, data)
        assert there.used_length == size * PAGE_SIZE
        return
    with pytest.raises(LoadFault) as refused:
        received({"b": there}, data)
    assert refused.value.said == (words,)
    assert there.used_length == 4 * PAGE_SIZE


@given(st.lists(st.lists(st.integers(0, 7), max_size=5), min_size=1, max_size=5))
def test_each_pass_takes_what_was_written_since_the_last(pages: list[list[int]]) -> None:
    block = RamBlock("ram", 8 * PAGE_SIZE)
    block.write(0, b"before the log")
    block.start_log()
    for written in pages:
        for page in written:
            block.write(page * PAGE_SIZE + 5, b"x")
        assert block.take_log() == bytes(page in written for page in range(8))
    block.stop_log()


@given(st.integers(1, 40), st.data())
def test_a_small_allowance_only_makes_more_parts(allowance: int, data: st.DataObject) -> None:
    """However little each window allows, the same pages are sent in the same order."""
    what = data.draw(st.lists(writes(), max_size=6))
    source, there = machine_blocks(), machine_blocks()
    write(source, what)
    sink = Sink()
    out = Output(sink)
    saver = RamSaver(list(source.values()), lambda _: None)
    saver.begin(out)
    done = False
    while not done:
        out.allowed = out.offset + allowance
        done = saver.iterate(out)
    saver.complete(out)
    out.flush()
    plain, _ = sent(machine_blocks(), [what])
    assert records(bytes(sink.data)) == records(plain)
    received(there, bytes(sink.data))
    assert contents(there) == contents(source)

# SPDX-License-Identifier: Apache-2.0
"""Packages of any length are read; one that never comes costs no more memory than what has arrived."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.constants import MAX_PACKAGED
from migmatrix.vmstate.wire.events import Packaged
from migmatrix.vmstate.wire.ramevents import PageRun, page_records
from migmatrix.vmstate.wire.reader import StreamReader
from migmatrix.vmstate.wire.signal import Signal

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import Event

HEAD = (
    b"QEVM" + (3).to_bytes(4)  # magic, version
    + b"\x07" + (1).to_bytes(4) + b"m"  # configuration: type, length, machine
)  # fmt: skip
PIECE = 1 << 16
MIB = 1 << 20


def announced(length: int) -> bytes:
    """A PACKAGED command: type, code, length of its data, the length of the package."""
    return b"\x08" + (7).to_bytes(2) + (4).to_bytes(2) + length.to_bytes(4)


def ram_section(pages: int) -> bytes:
    """A RAM section with its first part, then so many pages of content."""
    start = b"\x01" + (2).to_bytes(4) + b"\x03ram" + (0).to_bytes(4) + (4).to_bytes(4)
    size = pages * 4096
    blocks = (size | 4).to_bytes(8) + b"\x01a" + size.to_bytes(8)  # total, then name and length of the block
    end = (0x10).to_bytes(8) + b"\x7e" + (2).to_bytes(4)  # EOS, footer
    return start + blocks + page_records("a", 0, [b"\1" * 4096] * pages).encode() + end


def test_the_limit_is_that_of_the_length_word() -> None:
    assert MAX_PACKAGED == 2**32 - 1


def test_a_package_longer_than_16_mib_is_read() -> None:
    """QEMU lifted its limit of 16 MiB in 2.12: the device state of a large guest is longer."""
    inner = ram_section(17 * MIB // 4096)
    assert len(inner) > 17 * MIB
    data = HEAD + announced(len(inner)) + inner + b"\0"
    reader = StreamReader()
    for at in range(0, len(data), PIECE):
        reader.feed(data[at : at + PIECE])
    reader.close()
    (packaged,) = (event for event in reader.events() if isinstance(event, Packaged))
    assert sum(run.count for run in packaged.events if isinstance(run, PageRun)) == 17 * MIB // 4096
    assert packaged.encode() == announced(len(inner)) + inner


@pytest.mark.parametrize("length", [1 << 24, (1 << 24) + 1, 1 << 31, MAX_PACKAGED])
def test_memory_is_bounded_by_what_has_arrived(length: int) -> None:
    arrived = 2 * MIB
    reader = StreamReader()
    reader.feed(HEAD + announced(length))
    list(reader.events())
    piece = bytes(PIECE)
    tracemalloc.start()
    try:
        for _ in range(arrived // PIECE):
            reader.feed(piece)
            assert reader.next_event() is Signal.NEED_DATA
        reader.close()
        with pytest.raises(StreamError) as raised:
            reader.next_event()
        assert tracemalloc.get_traced_memory()[1] < 3 * arrived
    finally:
        tracemalloc.stop()
    assert (raised.value.expected, raised.value.found) == (f"{length} bytes", f"read {arrived}")


@pytest.mark.parametrize(("piece", "most"), [(1 << 30, 0.1), (PIECE, 2.5)])
def test_a_package_costs_few_copies_of_itself(piece: int, most: float) -> None:
    """A whole buffer is not copied: the events hold views of it. Pieces are joined once, and taken out once."""
    inner = ram_section(8 * MIB // 4096)
    data = HEAD + announced(len(inner)) + inner + b"\0"
    reader = StreamReader()
    events: list[Event] = []
    tracemalloc.start()
    try:
        for at in range(0, len(data), piece):
            reader.feed(memoryview(data)[at : at + piece])
            events.extend(reader.events())
        reader.close()
        events.extend(reader.events())
        assert tracemalloc.get_traced_memory()[1] < most * len(inner)
    finally:
        tracemalloc.stop()
    assert isinstance(events[2], Packaged)

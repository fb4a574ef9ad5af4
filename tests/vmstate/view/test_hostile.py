# SPDX-License-Identifier: Apache-2.0
"""Any bytes give events or StreamError, in memory and time bounded by the input."""

from __future__ import annotations

import time
import tracemalloc
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import MAIN, load

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.outline import outline
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.multifd import MultifdReader
from migmatrix.vmstate.wire.reader import StreamReader, Walk
from migmatrix.vmstate.wire.returnpath import ReturnPathReader

SMALL = [load(name) for name in MAIN if name.startswith("none-")]
HEAD = b"QEVM\0\0\0\3\x07\0\0\0\1m"
RAM = b"\x01\0\0\0\2\x03ram\0\0\0\0\0\0\0\4"


def use(data: bytes) -> Stream:
    """Do with a stream all that can be done with one."""
    stream = read_stream(data, strict=False)
    account(stream, data)
    with suppress(StreamError):  # pages are worked out only when looked at
        outline(stream, lambda _section: True)
        digest(stream)
        diff(stream, stream)
    return stream


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A real stream with a few bytes changed, cut out or put in."""
    data = bytearray(draw(st.sampled_from(SMALL)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.sampled_from(("change", "cut", "insert")))
        if kind == "change":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=4))
        elif kind == "cut":
            del data[at : at + draw(st.integers(1, 30))]
        else:
            data[at:at] = draw(st.binary(max_size=20))
    return bytes(data)


@given(mutated())
@settings(max_examples=200)
def test_mutated_streams(data: bytes) -> None:
    stream = use(data)
    assert data.startswith(stream.encode())


@given(st.binary(max_size=200).map(lambda tail: HEAD + RAM + tail))
@settings(max_examples=200)
def test_random_memory_records(data: bytes) -> None:
    assert data.startswith(use(data).encode())


@given(st.binary(max_size=200), st.lists(st.integers(1, 50), max_size=5))
@settings(max_examples=100)
def test_random_side_channels(data: bytes, pieces: list[int]) -> None:
    for reader in (ReturnPathReader(), MultifdReader()):
        at = 0
        found = b""
        try:
            for size in [*pieces, len(data)]:
                reader.feed(data[at : at + size])
                found += b"".join(e.encode() for e in reader.events())
                at += size
            reader.close()
            found += b"".join(e.encode() for e in reader.events())
            assert found == data
        except StreamError:
            assert data.startswith(found)


def nothing() -> Walk:
    yield from ()
    return 0


def many(count: int) -> dict[str, bytes]:
    """Streams of as many elements, about; they stay small, as tracemalloc makes everything slow."""
    zeros = b"".join(((i % 7) << 12 | 2).to_bytes(8) + b"\1a\0" for i in range(count))
    return {
        "empty blocks": HEAD + RAM + (0x1004).to_bytes(8) + (b"\1a" + bytes(8)) * (2 * count),
        "sections": HEAD + (b"\x04\0\0\0\1\1d" + bytes(8) + b"\x7e\0\0\0\1") * count,
        "commands": HEAD + b"\x08\0\x0b\0\0" * (2 * count),
        "zeros": HEAD + RAM + (0x100004).to_bytes(8) + b"\1a" + (0x100000).to_bytes(8) + zeros,
    }


FEW, MANY = many(1500), many(15000)


@pytest.mark.parametrize("name", MANY)
def test_memory_is_bounded_by_the_input(name: str) -> None:
    data = FEW[name]
    tracemalloc.start()
    try:
        use(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150 * len(data)


HUGE = [
    HEAD[:-1] + b"",
    b"QEVM\0\0\0\3\x07\xff\xff\xff\xff",
    HEAD + RAM + (0xFFFFFFFFFFFFF004).to_bytes(8) + b"\1a" + (0xFFFFFFFFFFFFF000).to_bytes(8),
    HEAD + b"\x08\0\7\0\4\0\xff\xff\xff",
    HEAD + b"\0\x06\xff\xff\xff\xff{",
]


@pytest.mark.parametrize("data", HUGE)
def test_claimed_sizes_allocate_nothing(data: bytes) -> None:
    tracemalloc.start()
    try:
        assert use(data).error is not None
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def seconds(data: bytes, piece: int) -> float:
    reader = StreamReader(delimiter=lambda _start: nothing())
    start = time.process_time()
    for at in range(0, len(data), piece):
        reader.feed(data[at : at + piece])
        for _ in reader.events():
            pass
    return time.process_time() - start


@pytest.mark.parametrize("name", MANY)
def test_time_is_linear_in_the_input(name: str) -> None:
    data = MANY[name]
    short, long = seconds(data[: len(data) // 4], 64), seconds(data, 64)
    assert long < 0.5 + 12 * short


def test_a_long_element_in_small_pieces_is_not_scanned_again() -> None:
    text = b"{" + b" " * 2_000_000 + b"}"
    data = HEAD + b"\0\x06" + len(text).to_bytes(4) + text
    assert seconds(data, 64) < 2


def test_bytes_after_the_end_of_a_package_are_kept_and_told() -> None:
    package = b"\x08\0\4\0\0\0rest"  # found by tests/fuzz/fuzz_stream.py
    data = HEAD + b"\x08\0\7\0\4" + len(package).to_bytes(4) + package + b"\0"
    stream = use(data)
    assert stream.encode() == data
    offset = len(data) - len(b"rest\0")
    assert account(stream, data).problems == (f"offset {offset:#x}: 4 bytes after the end",)

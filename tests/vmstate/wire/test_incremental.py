# SPDX-License-Identifier: Apache-2.0
"""Bytes may arrive in any pieces: the events and their bytes do not depend on how they were cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_data import load

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.learned import LearnedDelimiter
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun
from migmatrix.vmstate.wire.reader import StreamReader
from migmatrix.vmstate.wire.signal import Signal

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import Event

Load = Callable[[str], bytes]


def read_pieces(data: bytes, cuts: list[int]) -> list[Event]:
    whole = read_stream(data)
    assert whole.vmdesc is not None
    reader = StreamReader(delimiter=whole.vmdesc.delimiter())
    events: list[Event] = []
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        reader.feed(data[start:end])
        events.extend(reader.events())
    reader.close()
    events.extend(reader.events())
    assert reader.next_event() is Signal.END
    return events


def without_runs(events: list[Event] | tuple[Event, ...]) -> list[tuple[str, int, bytes]]:
    return [(type(e).__name__, e.offset, e.encode()) for e in events if not isinstance(e, PageRun | PageMix)]


@pytest.mark.parametrize("size", [1, 7, 4096, 65536])
def test_pieces_of_one_size(main_stream: bytes, size: int) -> None:
    events = read_pieces(main_stream, list(range(size, len(main_stream), size)))
    assert b"".join(e.encode() for e in events) == main_stream
    assert without_runs(events) == without_runs(read_stream(main_stream).events)


@given(st.lists(st.integers(0, 206477), max_size=20).map(sorted))
@settings(max_examples=30)
def test_pieces_of_any_size(cuts: list[int]) -> None:
    data = load("q35-7.2.22")
    events = read_pieces(data, cuts)
    assert b"".join(e.encode() for e in events) == data
    assert without_runs(events) == without_runs(read_stream(data).events)


def test_an_error_is_raised_again() -> None:
    reader = StreamReader()
    reader.feed(b"QEVMxxxx")
    for _ in range(2):
        with pytest.raises(StreamError, match=r"offset 0x4 \(header.version\): expected 3, found"):
            reader.next_event()


def test_need_data_then_end() -> None:
    reader = StreamReader()
    assert reader.next_event() is Signal.NEED_DATA
    reader.close()
    with pytest.raises(StreamError, match="expected 4 bytes, read 0"):
        reader.next_event()
    with pytest.raises(ValueError, match="feed after close"):
        reader.feed(b"x")


def test_a_description_of_other_streams_delimits_a_postcopy_stream(stream_bytes: Load) -> None:
    known = [read_stream(stream_bytes(n)).vmdesc for n in ("advised-7.2.22", "q35-7.2.22")]
    data = stream_bytes("postcopy-7.2.22")
    reader = StreamReader(delimiter=LearnedDelimiter(k for k in known if k))
    for i in range(0, len(data), 1000):
        reader.feed(data[i : i + 1000])
    reader.close()
    assert b"".join(e.encode() for e in reader.events()) == data

# SPDX-License-Identifier: Apache-2.0
"""What is wrong with the elements of a stream is named by its offset."""

from __future__ import annotations

import long_stream
import pytest

from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.accounting import NO_DESCRIPTION, account
from migmatrix.vmstate.view.sameplace import same_place
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.events import Configuration, Eof, Header

HEAD = b"QEVM" + (3).to_bytes(4)  # magic, version
MACHINE = b"\x07" + (1).to_bytes(4) + b"m"  # configuration: type, length, machine
WHOLE = HEAD + MACHINE + b"\0"


def problems(stream: Stream, data: bytes) -> tuple[str, ...]:
    return account(stream, data).problems


def test_a_whole_stream() -> None:
    found = account(read_stream(WHOLE), WHOLE)
    assert found.complete
    assert found.by_kind == {"Header": 8, "Configuration": 6, "Eof": 1}
    assert (found.size, found.elements) == (15, 3)


def test_bytes_between_two_elements() -> None:
    stream = Stream((Header(offset=0), Eof(offset=14)), None, 15)
    assert problems(stream, WHOLE) == (
        "offset 0x8: bytes up to 0xe belong to no element, next is Eof",
        "offset 0x8: 7 bytes belong to no element",
    )


def test_an_element_that_gives_other_bytes() -> None:
    stream = Stream((Header(offset=0), Configuration("n", offset=8), Eof(offset=14)), None, 15)
    assert (
        problems(stream, WHOLE)[0] == "offset 0x8: Configuration does not encode to the bytes that were read"
    )


def test_bytes_that_no_element_has() -> None:
    stream = read_stream(WHOLE)
    short = replace(stream, events=stream.events[:-1])
    assert problems(short, WHOLE) == ("offset 0xe: 1 bytes belong to no element",)


def test_a_stream_that_stops_early_says_why() -> None:
    data = HEAD + MACHINE + b"\x09"
    (problem,) = problems(read_stream(data, strict=False), data)
    assert problem == "offset 0xe (section.type): expected a section or the end, found 0x9"


def test_bytes_after_the_end() -> None:
    data = WHOLE + b"rest"
    assert problems(read_stream(data), data) == ("offset 0xf: 4 bytes after the end",)


def test_a_payload_that_nothing_describes() -> None:
    start = b"\x04" + (9).to_bytes(4) + b"\x03dev" + (2).to_bytes(4) + (1).to_bytes(4)  # FULL dev, instance 2
    data = HEAD + MACHINE + start + b"abc"
    assert problems(read_stream(data), data) == (
        f"offset 0x1f: nothing tells the length of the payload of dev#2, 3 bytes not read{NO_DESCRIPTION}",
    )


def test_memory_is_given_back() -> None:
    given: list[tuple[int, int]] = []
    stream = read_stream(WHOLE, release=lambda start, end: given.append((start, end)))
    given.clear()
    account(stream, WHOLE)
    assert given == [(0, 15)]


def test_a_long_run_holds_the_very_bytes_of_the_input() -> None:
    data = long_stream.guest(64)
    stream = read_stream(data)
    assert account(stream, data).complete
    assert account(stream, bytes(bytearray(data))).complete  # equal bytes elsewhere
    assert not account(stream, data.replace(b"\5" + b"\0" * 3 + b"\5", b"\6" + b"\0" * 3 + b"\5", 1)).complete


def test_views_are_at_the_same_place_or_not() -> None:
    data = bytes(8) * 2
    view = memoryview(data)
    assert same_place(view[:8], memoryview(data)[:8])
    assert not same_place(view[:8], view[8:])
    assert not same_place(view[:8], view[:7])
    assert not same_place(view[:8], memoryview(bytearray(8)))
    with pytest.raises(BufferError):
        same_place(view[::2], view[:8])

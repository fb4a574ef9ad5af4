# SPDX-License-Identifier: Apache-2.0
"""Two streams read side by side: the same as one by one, and equal memory is known without a second look."""

from __future__ import annotations

from dataclasses import dataclass, field
from errno import EIO

import pytest
from long_stream import BLOCK, guest
from stream_data import load

from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.pair import PIECE, Mapped, read_pair
from migmatrix.vmstate.view.ramimage import Difference, differ
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.ramevents import PageRun
from migmatrix.vmstate.wire.window import words_of

NAMES = ("q35-7.2.22", "q35-7.2.22-again", "q35-11.1.3", "none-5.2.0")
PAGES = 5000  # more than one event, and more memory than is looked at without a helper


@dataclass
class Held:
    """A stream in memory that notes what is given back. Offset `bad` cannot be read."""

    data: memoryview
    bad: int = -1
    start: int = 0
    released: list[tuple[int, int]] = field(default_factory=list)

    def release(self, start: int, end: int, /) -> None:
        self.released.append((start, end))

    def read(self, start: int, into: memoryview, /) -> None:
        if start <= self.bad < start + len(into):
            raise OSError(EIO, "bad block")
        into[:] = self.data[start : start + len(into)]


def held(data: bytes, bad: int = -1) -> Held:
    return Held(memoryview(data), bad)


@dataclass
class Helping:
    """A helper that has looked at all but the first `late` pieces when it is asked."""

    a: Mapped
    b: Mapped
    offset: int
    place: int
    size: int
    late: int = 2
    used: int = 0
    left: bool = False

    @property
    def end(self) -> int:
        return len(self.a.data)

    def look(self, offset: int, count: int) -> tuple[bytes, bool] | None:
        assert not self.left
        piece, at = divmod((offset - self.offset) // self.size, PIECE)
        length = min(count, PIECE - at) * self.size
        ours = self.a.data[offset : offset + length]
        if piece < self.late or len(ours) < length:
            return None
        self.used += 1
        place = self.place + offset - self.offset
        return words_of(ours, self.size), ours == self.b.data[place : place + length]

    def leave(self) -> None:
        self.left = True


def shared(a: Stream, b: Stream) -> int:
    """Pages of `b` whose bytes are those of `a`."""
    views = {id(e.raw) for e in a.events if isinstance(e, PageRun)}
    return sum(e.count for e in b.events if isinstance(e, PageRun) and id(e.raw) in views)


def test_reads_what_one_by_one_reads() -> None:
    for x in NAMES:
        for y in NAMES:
            a, b = read_pair(held(load(x)), held(load(y)))
            alone = read_stream(load(x)), read_stream(load(y))
            assert (a.events, b.events) == (alone[0].events, alone[1].events)
            assert [e.offset for e in b.events] == [e.offset for e in alone[1].events]
            assert diff(a, b) == diff(*alone)
            assert account(b, load(y)).complete


def test_equal_memory_is_shared() -> None:
    a, b = read_pair(held(guest(PAGES)), held(guest(PAGES)))
    assert shared(a, b) >= PAGES
    assert diff(a, b) == ()


def test_only_the_run_with_the_difference_is_not_shared() -> None:
    a, b = read_pair(held(guest(PAGES)), held(guest(PAGES, 1500)))
    assert PAGES - 1100 <= shared(a, b) < PAGES
    assert differ(a.ram.blocks[BLOCK], b.ram.blocks[BLOCK]) == Difference(1, 1500 * 4096)


@pytest.mark.parametrize(
    "pages", [(0,), (PAGES - 1,), (1023, 1024), tuple(range(0, PAGES, 7)), tuple(range(PAGES))]
)
def test_every_difference_is_found_wherever_it_is(pages: tuple[int, ...]) -> None:
    """Without a helper and with one."""
    helpers: list[Helping] = []

    def helped(a: Mapped, b: Mapped, offset: int, place: int, size: int) -> Helping:
        helpers.append(Helping(a, b, offset, place, size))
        return helpers[-1]

    alone = read_pair(held(guest(PAGES)), held(guest(PAGES, *pages)))
    together = read_pair(held(guest(PAGES)), held(guest(PAGES, *pages)), helped)
    for a, b in (alone, together):
        assert differ(a.ram.blocks[BLOCK], b.ram.blocks[BLOCK]) == Difference(len(pages), pages[0] * 4096)
    assert (alone[0].events, alone[1].events) == (together[0].events, together[1].events)
    assert shared(*alone) == shared(*together)
    assert any(helper.used for helper in helpers)
    assert all(helper.left for helper in helpers)


def test_memory_that_stands_at_another_place_is_shared() -> None:
    one, other = guest(PAGES, name="q35-10.0.13"), guest(PAGES, name="advised-10.0.13")
    places = [next(e.offset for e in read_stream(x).events if isinstance(e, PageRun)) for x in (one, other)]
    assert places[0] != places[1]
    for a, b in ((one, other), (other, one)):
        assert shared(*read_pair(held(a), held(b))) >= PAGES


@pytest.mark.parametrize("page", [10, 2500, PAGES - 10])
def test_a_file_that_cannot_be_read_is_told(page: int) -> None:
    one = guest(PAGES)
    bad = (
        next(e.offset for e in read_stream(one).events if isinstance(e, PageRun) and e.block == BLOCK)
        + page * 4104
    )
    for pair in ((held(one, bad), held(one)), (held(one), held(one, bad))):
        with pytest.raises(OSError, match="bad block"):
            read_pair(*pair)


def test_runs_that_are_cut_elsewhere_are_compared_all_the_same() -> None:
    a, b = read_pair(held(guest(PAGES)), held(guest(PAGES, zero=1500)))
    assert shared(a, b) < PAGES
    assert differ(a.ram.blocks[BLOCK], b.ram.blocks[BLOCK]) == Difference(1, 1500 * 4096)


def test_zero_pages_are_not_shared() -> None:
    a, b = read_pair(held(load(NAMES[0])), held(load(NAMES[0])))
    kinds = {
        e.kind
        for e in b.events
        if isinstance(e, PageRun) and id(e.raw) in {id(x.raw) for x in a.events if isinstance(x, PageRun)}
    }
    assert kinds <= {RamFlag.PAGE}


def test_memory_is_given_back_only_behind_both() -> None:
    x, y = held(guest(PAGES)), held(guest(PAGES, 1500))
    a, _ = read_pair(x, y)
    assert x.released
    assert y.released
    assert all(start < end <= len(x.data) for start, end in x.released + y.released)
    assert differ(a.ram.blocks[BLOCK], a.ram.blocks[BLOCK]) == Difference(0, 0)


def test_an_error_in_one_leaves_the_other_whole() -> None:
    data = load(NAMES[0])
    for first, second in ((data[:5000], data), (data, data[:5000]), (b"no stream", data), (data, b"")):
        a, b = read_pair(held(first), held(second))
        for stream, raw in ((a, first), (b, second)):
            alone = read_stream(raw, strict=False)
            assert stream.events == alone.events
            assert str(stream.error) == str(alone.error)

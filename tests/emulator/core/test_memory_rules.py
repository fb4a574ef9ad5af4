# SPDX-License-Identifier: Apache-2.0
"""Guest memory against a model of it: a plain `bytearray`, and a set of pages that were written since the last look."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from migmatrix.emulator.memory import PAGE_SIZE, RamBlock

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGES = 520  # more than two of the runs that a block notes as written or not
SIZE = PAGES * PAGE_SIZE
PLACES = st.integers(0, SIZE - 1)
DATA = st.binary(min_size=1, max_size=3 * PAGE_SIZE) | st.sampled_from([b"\0", b"\1" * 8, bytes(PAGE_SIZE)])


def pages_of(offset: int, size: int) -> set[int]:
    return set(range(offset // PAGE_SIZE, (offset + size - 1) // PAGE_SIZE + 1)) if size else set()


class Memory(RuleBasedStateMachine):
    """A block of 520 pages and what must be true of it."""

    def __init__(self) -> None:
        super().__init__()
        self.block = RamBlock("ram", SIZE)
        self.model = bytearray(SIZE)
        self.dirty: set[int] = set()
        self.ever: set[int] = set()
        self.logging = False

    @rule(offset=PLACES, data=DATA)
    def write(self, offset: int, data: bytes) -> None:
        data = data[: SIZE - offset]
        self.block.write(offset, data)
        self.model[offset : offset + len(data)] = data
        self.ever |= pages_of(offset, len(data))
        if self.logging:
            self.dirty |= pages_of(offset, len(data))

    @rule(offset=PLACES, data=DATA)
    def load(self, offset: int, data: bytes) -> None:
        """What a stream stores is no write of the guest's."""
        data = data[: SIZE - offset]
        self.block.store(offset, data)
        self.model[offset : offset + len(data)] = data
        self.ever |= pages_of(offset, len(data))

    @rule(offset=st.sampled_from([-1, SIZE, SIZE - 1, SIZE + 5]))
    def write_outside(self, offset: int) -> None:
        with pytest.raises(ValueError, match="'ram' has no bytes"):
            self.block.write(offset, b"ab")

    @precondition(lambda self: not self.logging)
    @rule()
    def begin(self) -> None:
        self.block.start_log()
        self.logging, self.dirty = True, set()

    @precondition(lambda self: self.logging)
    @rule()
    def take(self) -> None:
        taken = self.block.take_log()
        assert len(taken) == PAGES
        assert {page for page in range(PAGES) if taken[page]} == self.dirty
        self.dirty = set()

    @precondition(lambda self: self.logging)
    @rule(first=st.integers(0, PAGES - 1), count=st.integers(0, 9))
    def mark(self, first: int, count: int) -> None:
        end = min(first + count, PAGES)
        self.block.mark(first, end)
        self.dirty |= set(range(first, end))

    @rule()
    def end(self) -> None:
        self.block.stop_log()
        self.logging, self.dirty = False, set()

    @invariant()
    def what_is_called_untouched_is_zero(self) -> None:
        """It may call a page touched that is not; never the other way round."""
        for page in (0, 1, 255, 256, 257, 511, 512, PAGES - 1, *sorted(self.ever)[:3]):
            start = page * PAGE_SIZE
            if self.block.untouched(start, start + PAGE_SIZE):
                assert page not in self.ever

    def teardown(self) -> None:
        assert self.block.data[:SIZE] == bytes(self.model)


TestMemory = Memory.TestCase
TestMemory.settings = settings(max_examples=30, stateful_step_count=25)


@given(st.integers(1, 5 * PAGE_SIZE), st.integers(0, 5 * PAGE_SIZE))
def test_sizes_and_pages(size: int, more: int) -> None:
    block = RamBlock("b", size, max_size=size + more, resizable=True)
    assert block.pages * PAGE_SIZE - PAGE_SIZE < size <= block.pages * PAGE_SIZE
    assert block.max_size == size + more
    assert len(block.data) % PAGE_SIZE == 0
    assert len(block.data) >= block.max_size
    block.resize(size + more)
    assert block.used_length == size + more
    block.write(size + more - 1, b"x")
    with pytest.raises(ValueError, match="has no bytes"):
        block.write(size + more, b"x")


@pytest.mark.parametrize(
    ("resizable", "wanted", "fits"),
    [(False, 4096, True), (False, 8192, False), (False, 0, False), (True, 8192, True), (True, 0, True),
     (True, 8193, False), (True, 4096, True)],
)  # fmt: skip
def test_which_sizes_a_block_takes(resizable: bool, wanted: int, fits: bool) -> None:
    block = RamBlock("b", 4096, max_size=8192, resizable=resizable)
    if fits:
        block.resize(wanted)
        assert block.used_length == wanted
    else:
        with pytest.raises(ValueError, match=f"'b' has 4096 bytes, {wanted} wanted"):
            block.resize(wanted)
        assert block.used_length == 4096


def test_a_log_covers_pages_that_come_with_a_resize() -> None:
    block = RamBlock("b", PAGE_SIZE, max_size=3 * PAGE_SIZE, resizable=True)
    block.start_log()
    block.resize(3 * PAGE_SIZE)
    block.write(2 * PAGE_SIZE, b"x")
    assert block.take_log() == b"\0\0\1"
    assert block.take_log() == b"\0\0\0"


def test_a_write_of_nothing_marks_nothing() -> None:
    block = RamBlock("b", PAGE_SIZE)
    block.start_log()
    block.write(PAGE_SIZE, b"")
    assert block.take_log() == b"\0"


def written(parts: Iterable[bytes]) -> set[int]:
    """Pages that are marked in any of these logs."""
    return {page for log in parts for page, mark in enumerate(log) if mark}


def test_no_write_is_lost_between_two_threads() -> None:
    """A writer marks after it wrote, a reader takes the marks before it reads: what it missed is marked again."""
    block = RamBlock("b", 64 * PAGE_SIZE)
    block.start_log()
    copy = bytearray(64 * PAGE_SIZE)

    def work() -> None:
        for turn in range(1, 2000):
            block.write(turn * 7 % 64 * PAGE_SIZE, turn.to_bytes(4) * 4)

    writer = threading.Thread(target=work)
    writer.start()
    while True:
        alive = writer.is_alive()
        for page in written([block.take_log()]):
            start = page * PAGE_SIZE
            copy[start : start + PAGE_SIZE] = block.data[start : start + PAGE_SIZE]
        if not alive:
            break
    writer.join()
    assert bytes(copy) == block.data[:]

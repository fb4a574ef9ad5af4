# SPDX-License-Identifier: Apache-2.0
"""Dirty rings: what each virtual processor wrote to, as KVM tells it. Without KVM, so that any host can run it.

1. A page is an entry once until the ring is reaped: a second write to it makes none.
2. A ring that is full is reaped, and its processor waits for `penalty_us` before it goes on.
3. A processor that only reads makes no entries, so it never waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock

__all__ = ["Ring", "Vcpu"]

_US: Final = 1000
_PERCENTS_NS: Final = 100 * 1_000_000_000
_BACKLOG_NS: Final = 1_000_000_000  # the work that a slow host may owe


class Ring:
    """The ring of one processor, of `size` entries; `dirtied` counts all entries there ever were."""

    __slots__ = ("_held", "_seen", "dirtied", "penalty_us", "size")

    def __init__(self, size: int) -> None:
        self.size = size
        self.dirtied = 0
        self.penalty_us = 0
        self._held = 0
        self._seen: dict[str, bytearray] = {}

    @property
    def room(self) -> int:
        """Entries until it is full."""
        return self.size - self._held

    def enter(self, block: RamBlock, first: int, end: int) -> bool:
        """Pages from `first` up to `end`, at most `room`, were written; True when that filled the ring, which is empty then."""
        seen = self._seen.setdefault(block.name, bytearray(block.pages))
        fresh = seen.count(0, first, end)
        seen[first:end] = b"\1" * (end - first)
        self.dirtied += fresh
        self._held += fresh
        if self._held < self.size:
            return False
        self.reap()
        return True

    def reap(self) -> None:
        """Take all entries out."""
        self._held = 0
        self._seen.clear()


class Vcpu:
    """The time of one virtual processor that works on `rate` pages a second of the guest's time, unless something slows it."""

    def __init__(self, machine: Machine, index: int, rate: int) -> None:
        self._machine = machine
        self._rate = rate
        self._index = index
        self._limit = machine.dirty_limit
        self._ring = self._limit.rings[index] if self._limit is not None else None
        self._due_from = 0  # virtual ns from which work is due

    def begin(self) -> None:
        """Nothing is due before now."""
        self._due_from = self._machine.clock.now()

    @property
    def _percents(self) -> int:
        return self._rate * (100 - self._machine.throttle)  # of a page per second

    def due(self, most: int) -> int:
        """Pages to work on now, at most so many."""
        now = self._machine.clock.now()
        self._due_from = max(self._due_from, now - _BACKLOG_NS)
        return max(0, min((now - self._due_from) * self._percents // _PERCENTS_NS, most))

    def worked(self, pages: int) -> None:
        """That many are done."""
        self._due_from += pages * _PERCENTS_NS // self._percents

    def room(self, pages: int) -> int:
        """As many of these pages as can be written before the ring is looked at."""
        return pages if self._ring is None else min(pages, self._ring.room)

    def wrote(self, block: RamBlock, first: int, end: int) -> bool:
        """Pages from `first` up to `end` were written; True when the processor waits now (ACCEPT PENALTY)."""
        if self._limit is None or self._ring is None or not self._ring.enter(block, first, end):
            return False
        self._due_from += self._limit.penalty_us(self._index) * _US
        return True

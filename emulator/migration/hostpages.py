# SPDX-License-Identifier: Apache-2.0
"""Host pages: what a postcopy discards, asks for and places as one when a block's pages are larger than the target's.

1. The page size of a block is that of its memory backend; here it is only a figure, and needs no such pages of the host.
2. All target pages of a host page come back to back, on one channel; it is placed when its last one is here.
3. A link that breaks in the middle of one loses it: nothing of it was placed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.faults import LoadFault

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["HostPage", "late_run", "size_summary", "whole_pages"]


def size_summary(blocks: Iterable[RamBlock]) -> int:
    """The page sizes of all blocks in one number, a bit for each."""
    summary = 0
    for block in blocks:
        summary |= block.page_size
    return summary


def whole_pages(wanted: bytearray, pages: int) -> bytearray:
    """Marks of target pages, one byte each, so that a host page of `pages` has all or none."""
    whole = bytearray(wanted)
    at = wanted.find(1)
    while at >= 0:
        first = at - at % pages
        whole[first : first + pages] = b"\1" * len(whole[first : first + pages])
        at = wanted.find(1, first + pages)
    return whole


def late_run(block: RamBlock, usual: int) -> int:
    """Pages that a postcopy sends before it looks who waits, `usual` at most: a host page is not interrupted."""
    pages = block.page_size // PAGE_SIZE
    return pages if pages > 1 else usual


class HostPage:
    """The host page that comes over one channel."""

    def __init__(self, traits: Traits, channel: int = 0) -> None:
        self._traits = traits
        self._channel = channel
        self._block: RamBlock | None = None
        self._start = 0
        self._data = bytearray()  # of the host page, as far as it came; empty between two
        self._count = 0  # target pages of it that came

    def add(self, block: RamBlock, at: int, page: bytes) -> tuple[int, bytes] | None:
        """Take a target page; start and content of its host page when this was the last of it, else None. LoadFault."""
        start = at - at % block.page_size
        self._count += 1
        if self._count == 1:
            self._block, self._start, self._data = block, start, bytearray(block.page_size)
        elif (self._block, self._start) != (block, start):
            raise LoadFault(said=(self._mixed(block, at, start),))
        self._data[at - start : at - start + PAGE_SIZE] = page
        if self._count < block.page_size // PAGE_SIZE:
            return None
        self._count = 0
        return start, bytes(self._data)

    def drop(self) -> None:
        """Forget what came: the link broke."""
        self._count = 0

    def _mixed(self, block: RamBlock, at: int, start: int) -> str:
        """QEMU's words; it tells addresses of its own process, where this tells offsets."""
        ours, theirs = f"{self._start:#x}", f"{start:#x}"
        if self._traits.terse_host_pages:
            return f"Non-same host page {ours}/{theirs}"
        return (
            f"Non-same host page detected on channel {self._channel}: Target host page {ours}, received host page"
            f" {theirs} (rb {block.name} offset {at:#x} target_pages {self._count})"
        )

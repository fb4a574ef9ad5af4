# SPDX-License-Identifier: Apache-2.0
"""Sending guest memory as it was at one moment, while the guest goes on (`background-snapshot`).

1. From `freeze` on a page that the guest is about to write, and that was not sent, is copied first. So memory may be
   needed twice: QEMU has the guest wait for the page instead, which a guest here does not do with the machine's lock.
2. A lock is held while a page is copied or taken to be sent; a page is noted as sent before the guest may write it.
3. Nothing is logged and there is one pass, of which nobody is told.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.memory import PAGE_SIZE, ZERO_PAGE
from migmatrix.emulator.migration.ram_save import PAGE, RamSaver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.streams import Output

__all__ = ["FrozenSaver"]


class FrozenSaver(RamSaver):
    """Memory of the moment at which `freeze` was called. `options` are those of `RamSaver`."""

    def __init__(self, blocks: Sequence[RamBlock], **options: Any) -> None:
        super().__init__(blocks, lambda _: None, **options)
        self._copies: dict[tuple[str, int], bytes] = {}
        self._lock = threading.Lock()
        self._gone = {block.name: bytearray(block.pages) for block in self._blocks}  # sent or copied

    def _begin_log(self) -> None:
        """Nothing is sent twice."""

    def freeze(self) -> None:
        """The guest is stopped: this is the moment."""
        for block in self._blocks:
            block.guard = self._keep

    def end(self) -> None:
        """The guest may write as it likes."""
        for block in self._blocks:
            block.guard = None
        super().end()

    def _keep(self, block: RamBlock, first: int, end: int) -> None:
        """The guest is about to write these pages."""
        gone = self._gone[block.name]
        with self._lock:
            while (page := gone.find(0, first, end)) >= 0:
                at = page * PAGE_SIZE
                self._copies[block.name, page] = block.data[at : at + PAGE_SIZE]
                gone[page] = 1

    def _take(self, block: RamBlock, first: int, end: int) -> list[bytes]:
        """Pages of the moment; those that nobody has written are read now."""
        gone = self._gone[block.name]
        pages = []
        with self._lock:
            for page in range(first, end):
                at = page * PAGE_SIZE
                pages.append(self._copies.pop((block.name, page), b"") or block.data[at : at + PAGE_SIZE])
            gone[first:end] = b"\1" * (end - first)
        return pages

    def _untouched(self, block: RamBlock, first: int, end: int) -> bool:
        """Whether nobody ever wrote these pages; then they are taken."""
        with self._lock:
            gone = self._gone[block.name]
            if gone.find(1, first, end) >= 0 or not block.untouched(first * PAGE_SIZE, end * PAGE_SIZE):
                return False
            gone[first:end] = b"\1" * (end - first)
            return True

    def _send(self, out: Output, block: RamBlock, first: int, end: int) -> None:
        if self._finds_zeros and self._untouched(block, first, end):
            self._send_zeros(out, block, first * PAGE_SIZE, end * PAGE_SIZE)
            return
        for page, content in enumerate(self._take(block, first, end), first):
            at = page * PAGE_SIZE
            if self._finds_zeros and content == ZERO_PAGE:
                self._send_zeros(out, block, at, at + PAGE_SIZE)
            else:
                out.put(self._head(block, at, PAGE) + content)
                self.stats.normal += 1

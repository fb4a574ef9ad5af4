# SPDX-License-Identifier: Apache-2.0
"""Guest memory: blocks of anonymous memory that know which of their pages were written.

1. One byte per page in the log, so that the next dirty page is found by `bytearray.find`.
2. A writer changes the data first and marks it afterwards; a reader takes the marks first and reads afterwards.
   So a page that is sent half written is always marked again.
3. Logging costs nothing while no migration runs: pages are only marked between `start_log` and `stop_log`.
4. Only `write` and `store` change memory. So a block knows its runs of pages that were never written: they are zero,
   and nothing has to read them, which would cost a page fault each. Most of a new guest's memory is such pages.
"""

from __future__ import annotations

import mmap
import threading
from typing import Final

__all__ = ["PAGE_SIZE", "RamBlock", "aligned"]

PAGE_SIZE: Final = 4096
_DIRTY: Final = 1
_RUN_BYTES: Final = 256 * PAGE_SIZE  # what is noted to be written, or not, as one


def _pages(size: int) -> int:
    return -(-size // PAGE_SIZE)


def aligned(size: int) -> int:
    """The size in whole pages."""
    return _pages(size) * PAGE_SIZE


class RamBlock:
    """`size` bytes of guest memory, used from the start; a resizable block may grow to `max_size`.

    `data` is the memory, zero at first, to be read; `write` is how the guest changes it. `used_length` is migrated.
    """

    __slots__ = (
        "_lock",
        "_log",
        "_logging",
        "_written",
        "data",
        "max_size",
        "name",
        "resizable",
        "used_length",
    )

    def __init__(self, name: str, size: int, *, max_size: int | None = None, resizable: bool = False) -> None:
        self.name = name
        self.used_length = size
        self.max_size = max(size, max_size or 0)
        self.resizable = resizable
        room = max(_pages(self.max_size), 1) * PAGE_SIZE
        # private, so that reading a page that was never written takes no memory
        self.data = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._written = bytearray(-(-room // _RUN_BYTES))
        self._log = bytearray()
        self._logging = 0
        self._lock = threading.Lock()

    @property
    def pages(self) -> int:
        """Pages in use."""
        return _pages(self.used_length)

    def resize(self, size: int) -> None:
        """Use `size` bytes; ValueError unless the block is resizable and that fits."""
        if size == self.used_length:
            return
        if not self.resizable or size > self.max_size:
            raise ValueError(f"{self.name!r} has {self.used_length} bytes, {size} wanted")
        self.used_length = size

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write as the guest does: the bytes, then the marks."""
        end = offset + len(data)
        if offset < 0 or end > self.used_length:
            raise ValueError(f"{self.name!r} has no bytes {offset} to {end}")
        self.store(offset, data)
        if self._logging and data:
            self.mark(offset // PAGE_SIZE, _pages(end))

    def store(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write without marks, as a stream that is loaded does; it must fit."""
        end = offset + len(data)
        self.data[offset:end] = data
        first, last = offset // _RUN_BYTES, -(-end // _RUN_BYTES)
        self._written[first:last] = b"\1" * (last - first)

    def untouched(self, offset: int, end: int) -> bool:
        """Whether these bytes and their neighbours were never written; they are zero then."""
        return self._written.find(1, offset // _RUN_BYTES, -(-end // _RUN_BYTES)) < 0

    def mark(self, first: int, end: int) -> None:
        """Mark pages from `first` up to `end`, after somebody wrote to `data` directly."""
        with self._lock:
            self._log[first:end] = b"\1" * (end - first)

    def start_log(self) -> None:
        """Begin to mark what is written, with nothing marked."""
        with self._lock:
            self._log = bytearray(_pages(self.max_size))
            self._logging += 1

    def stop_log(self) -> None:
        """Stop marking, and drop the log."""
        with self._lock:
            self._logging = 0
            self._log = bytearray()

    def take_log(self) -> bytes:
        """Return the marks since the last call, one byte (1 or 0) for each page in use, and clear them."""
        with self._lock:
            taken = bytes(self._log[: self.pages])
            self._log = bytearray(len(self._log))
        return taken

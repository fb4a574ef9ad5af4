# SPDX-License-Identifier: Apache-2.0
"""Guest memory: blocks of anonymous memory that know which of their pages were written.

1. One byte per page in the log, so that the next dirty page is found by `bytearray.find`.
2. A writer changes the data first and marks it afterwards; a reader takes the marks first and reads afterwards.
   So a page that is sent half written is always marked again.
3. Logging costs nothing while no migration runs: pages are only marked between `start_log` and `stop_log`.
4. Only `write`, `touch` and `store` change memory. So a block knows its runs of pages that were never written: they are zero,
   and nothing has to read them, which would cost a page fault each. Most of a new guest's memory is such pages.
5. Pages may be missing: a guest that runs before all of its memory came (postcopy). `read` and `write` wait for them.
6. Shared memory is a file's. Other processes write it, too, so it has no runs that were never written; and they may
   wait for a page, so `place` puts all of one there at once, and `drop` takes it away from them.
"""

from __future__ import annotations

import mmap
import os
import threading
from typing import TYPE_CHECKING, Any, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PAGE_SIZE", "ZERO_PAGE", "PageFaults", "PageMissingError", "RamBlock", "Sharer", "aligned"]

PAGE_SIZE: Final = 4096
ZERO_PAGE: Final = bytes(PAGE_SIZE)
_DIRTY: Final = 1
_RUN_BYTES: Final = 256 * PAGE_SIZE  # what is noted to be written, or not, as one


def _pages(size: int) -> int:
    return -(-size // PAGE_SIZE)


def aligned(size: int) -> int:
    """The size in whole pages."""
    return _pages(size) * PAGE_SIZE


class PageFaults(Protocol):
    """Who gets pages that are not here."""

    def wait(self, block: RamBlock, page: int) -> None:
        """Ask for a page and return when it is here."""


class Sharer(Protocol):
    """Another process that maps shared memory, and what a migration asks of it; errors are its own."""

    def blocks(self) -> str:
        """Why the guest cannot be sent, "" when it can."""

    def start_log(self) -> None:
        """Begin to note which pages it writes."""

    def take_log(self) -> bytes:
        """The pages from the guest's address 0 on that it wrote since the last call, one bit for each."""

    def stop_log(self) -> None:
        """Note nothing any more."""

    def probe(self) -> str:
        """Why no postcopy can come, "" when it can."""

    def advise(self) -> None:
        """One may come."""

    def listen(self, missing: Any) -> None:
        """It comes: `missing` (`migration.pagefaults`) brings pages."""

    def end(self) -> None:
        """All pages are here."""


class PageMissingError(Exception):
    """A page that `need` did not find: `block` and number."""

    def __init__(self, block: RamBlock, page: int) -> None:
        super().__init__(f"page {page} of {block.name!r} is not here")
        self.block = block
        self.page = page


class RamBlock:
    """`size` bytes of guest memory, used from the start; a resizable block may grow to `max_size`.

    `data` is the memory, zero at first; `read` and `write` are how the guest uses it. `used_length` is migrated.
    `received` has a byte for each page, 1 when it came, while somebody wants to know; `faults` gets what did not come.
    `page_size` is that of its memory backend: what a postcopy cannot divide. `guard` is called before the guest writes
    pages, first and end. `shared` memory is a file's, which other processes see; `fd` is for them, -1 for other memory.
    `no_faults`: it is on a file system of which the kernel cannot tell who misses a page.
    `writers` are processes that write shared memory while it is logged.
    """

    __slots__ = (
        "_lock",
        "_log",
        "_logging",
        "_written",
        "data",
        "faults",
        "fd",
        "guard",
        "max_size",
        "name",
        "no_faults",
        "page_size",
        "received",
        "resizable",
        "used_length",
        "writers",
    )

    def __init__(
        self,
        name: str,
        size: int,
        *,
        max_size: int | None = None,
        resizable: bool = False,
        page_size: int = PAGE_SIZE,
    ) -> None:
        self.name = name
        self.page_size = page_size
        self.fd = -1
        self.no_faults = False
        self.writers: Sequence[Sharer] = ()
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
        self.received: bytearray | None = None
        self.faults: PageFaults | None = None
        self.guard: Callable[[RamBlock, int, int], None] | None = None

    def map_file(self, fd: int, *, shared: bool) -> None:
        """Be the content of a file, which is long enough; `shared`: what is written goes there. OSError."""
        kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
        self.data = mmap.mmap(fd, len(self.data), flags=kind)
        self.fd = os.dup(fd) if shared else -1
        self._note_written(0, len(self.data))

    def __del__(self) -> None:
        if getattr(self, "fd", -1) >= 0:  # one that was never made has none
            os.close(self.fd)

    @property
    def shared(self) -> bool:
        """Whether other processes see what is written."""
        return self.fd >= 0

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

    def read(self, offset: int, size: int) -> bytes:
        """Bytes as the guest reads them; waits for pages that are not here."""
        self._wait(offset, offset + size)
        return self.data[offset : offset + size]

    def need(self, offset: int, size: int) -> None:
        """PageMissingError unless these bytes are here: for somebody who must not wait."""
        if self.faults is not None and (page := self._missing(offset, offset + size)) >= 0:
            raise PageMissingError(self, page)

    def _missing(self, offset: int, end: int) -> int:
        """The first page of these bytes that did not come; -1 for none."""
        return -1 if self.received is None else self.received.find(0, offset // PAGE_SIZE, _pages(end))

    def _wait(self, offset: int, end: int) -> None:
        while self.faults is not None and (page := self._missing(offset, end)) >= 0:
            self.faults.wait(self, page)

    def write(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write as the guest does: the bytes, then the marks."""
        end = offset + len(data)
        if offset < 0 or end > self.used_length:
            raise ValueError(f"{self.name!r} has no bytes {offset} to {end}")
        self._wait(offset, end)
        if self.guard is not None and data:
            self.guard(self, offset // PAGE_SIZE, _pages(end))
        self.store(offset, data)
        if self._logging and data:
            self.mark(offset // PAGE_SIZE, _pages(end))

    def store(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write without marks, as a stream that is loaded does; it must fit."""
        end = offset + len(data)
        self.data[offset:end] = data
        self.stored(offset, end)

    def stored(self, offset: int, end: int) -> None:
        """Note that these bytes of `data` were written as by `store`."""
        self._note_written(offset, end)
        if self.received is not None:
            self.came(offset // PAGE_SIZE, _pages(end))

    def clear(self, start: int, end: int) -> None:
        """Make whole pages zero, as a stream that is loaded does; those that are so already take no memory."""
        self.came(start // PAGE_SIZE, end // PAGE_SIZE)
        if self.untouched(start, end):
            return
        for at in range(start, end, PAGE_SIZE):
            if self.data[at : at + PAGE_SIZE] != ZERO_PAGE:
                self.store(at, ZERO_PAGE)

    def place(self, at: int, data: bytes) -> None:
        """Put whole pages where none are, as a postcopy does: nobody sees half of one."""
        if self.shared:  # a write to the file holds its page until it is complete
            os.pwrite(self.fd, data, at)
            self.came(at // PAGE_SIZE, (at + len(data)) // PAGE_SIZE)
        elif data == bytes(len(data)):
            self.clear(at, at + len(data))
        else:
            self.store(at, data)

    def drop(self, start: int, length: int) -> None:
        """Take whole pages away: they did not come, and others who map shared memory miss them, too. OSError."""
        if self.received is not None:
            self.received[start // PAGE_SIZE : (start + length) // PAGE_SIZE] = bytes(length // PAGE_SIZE)
        if self.shared and length:
            self.data.madvise(mmap.MADV_REMOVE, start, length)

    def _note_written(self, offset: int, end: int) -> None:
        first, last = offset // _RUN_BYTES, -(-end // _RUN_BYTES)
        self._written[first:last] = b"\1" * (last - first)

    def touch(self, first: int, end: int, value: int) -> None:
        """Write the first byte of each page from `first` up to `end`, as `write` does."""
        start, stop = first * PAGE_SIZE, end * PAGE_SIZE
        self._wait(start, stop)
        if self.guard is not None:
            self.guard(self, first, end)
        self.data[start:stop:PAGE_SIZE] = bytes((value,)) * (end - first)
        self._note_written(start, stop)
        if self._logging:
            self.mark(first, end)

    def first_bytes(self, first: int, end: int) -> bytes:
        """The first byte of each page from `first` up to `end`, as `read` reads them."""
        self._wait(first * PAGE_SIZE, end * PAGE_SIZE)
        return self.data[first * PAGE_SIZE : end * PAGE_SIZE : PAGE_SIZE]

    def came(self, first: int, end: int) -> None:
        """Note that pages from `first` up to `end` are here, while somebody wants to know."""
        if self.received is not None:
            self.received[first:end] = b"\1" * (end - first)

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
        for writer in self.writers:
            writer.start_log()

    def stop_log(self) -> None:
        """Stop marking, and drop the log."""
        with self._lock:
            self._logging = 0
            self._log = bytearray()
        for writer in self.writers:
            writer.stop_log()

    def take_log(self) -> bytes:
        """Return the marks since the last call, one byte (1 or 0) for each page in use, and clear them."""
        for writer in self.writers:
            self._mark_bits(writer.take_log())
        with self._lock:
            taken = bytes(self._log[: self.pages])
            self._log = bytearray(len(self._log))
        return taken

    def _mark_bits(self, bits: bytes) -> None:
        for at, byte in enumerate(bits):
            for bit in range(8) if byte else ():
                if byte >> bit & 1:
                    self.mark(8 * at + bit, 8 * at + bit + 1)

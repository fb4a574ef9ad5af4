# SPDX-License-Identifier: Apache-2.0
"""Faults of another process that maps the guest's memory, as they come by its descriptor (`userfaultfd`).

1. The process registered what it maps, and handed the descriptor over. This process needs no privilege to use it.
2. A fault is an address of that process; its regions say which page of the guest's memory that is.
3. The page is asked for as one that the guest misses. Once it is in the file that both map, the process is woken.

Figures: `linux/userfaultfd.h`.
"""

from __future__ import annotations

import fcntl
import os
import select
import struct
import threading
from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.errors import bug
from migmatrix.emulator.memory import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.pagefaults import MissingPages

__all__ = ["ClientFaults", "Mapped"]

_MESSAGE: Final = struct.Struct("<B7xQQ8x")  # event, flags, address
_FAULT: Final = 0x12
_WAKE: Final = 0x8010AA02
_MOST: Final = 64  # messages that are read at once


class Mapped(NamedTuple):
    """Where the process has a part of a block: address there, size, and the part's offset in the block."""

    address: int
    size: int
    block: RamBlock
    offset: int


class ClientFaults:
    """One process's faults, from `begin` to `close`. `say` prints a line; `descriptor` is closed at the end."""

    def __init__(self, descriptor: int, missing: MissingPages, say: Callable[[str], object]) -> None:
        self._descriptor = descriptor
        self._missing = missing
        self._say = say
        self._mapped: Sequence[Mapped] = ()
        self._over = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._thread = threading.Thread(target=self._run, name="client-fault", daemon=True)

    def begin(self, mapped: Sequence[Mapped]) -> None:
        """Listen to faults in these parts; again, when they are others."""
        self._mapped = mapped
        if not self._thread.is_alive():
            os.set_blocking(self._descriptor, False)
            self._thread.start()

    def close(self) -> None:
        """Listen no more; under the machine's lock."""
        if self._descriptor >= 0:
            os.eventfd_write(self._over, 1)

    def _run(self) -> None:
        poll = select.poll()
        for fd in (self._descriptor, self._over):
            poll.register(fd, select.POLLIN)
        try:
            while all(fd != self._over for fd, _ in poll.poll()):
                self._serve()
        except OSError as error:
            self._say(f"postcopy_ram_fault_thread: shared fd: {error.strerror}")
        except Exception as error:  # noqa: BLE001 - the last resort: that process waits on, this one does not
            bug(error)
        finally:
            with self._missing.change:
                os.close(self._descriptor)
                os.close(self._over)
                self._descriptor = -1

    def _serve(self) -> None:
        try:
            messages = os.read(self._descriptor, _MOST * _MESSAGE.size)
        except BlockingIOError:  # whoever waited was woken meanwhile
            return
        if not messages:
            raise OSError(0, "the process has ended")
        for event, _, address in _MESSAGE.iter_unpack(messages):
            if event == _FAULT:
                self._fault(address)

    def _fault(self, address: int) -> None:
        found = next((m for m in self._mapped if m.address <= address < m.address + m.size), None)
        if found is None:
            words = f"vhost_user_postcopy_fault_handler: Failed to find region for fault {address:x}"
            self._say(words)
            return
        start = address - address % PAGE_SIZE
        page = (found.offset + start - found.address) // PAGE_SIZE
        with self._missing.change:
            self._missing.when_here(found.block, page, lambda: self._wake(found.block, page, start))

    def _wake(self, block: RamBlock, page: int, address: int) -> None:
        """Let it go on; a page that is zero and was never written has to be there, too."""
        _ = block.data[page * PAGE_SIZE]
        if self._descriptor < 0:  # it has ended
            return
        try:
            fcntl.ioctl(self._descriptor, _WAKE, struct.pack("=QQ", address, PAGE_SIZE))
        except OSError as error:
            self._say(f"postcopy_wake_shared: Failed to wake: {address:x} in {block.name} ({error.strerror})")

# SPDX-License-Identifier: Apache-2.0
"""A device whose queues another process works on (vhost-user): when it begins and ends, and what a postcopy asks of it.

1. It works while the guest runs and its driver does.
2. The guest's memory is what it needs: without a file that can be shared it does not begin, which is told.
3. While the guest is sent it notes which pages it writes, a bit for each, in files that it is given one after the other.
4. In a postcopy it waits for pages as a guest does. Its faults come by a descriptor of its own
   (`migration.clientfaults`), with addresses of its own.
"""

from __future__ import annotations

import mmap
import os
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import BackEndError, DeviceError
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.clientfaults import ClientFaults, Mapped
from migmatrix.emulator.sockets import Socket
from migmatrix.emulator.vhostuser import FrontEnd, Queue, Region

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.devices.virtio.device import VirtIODevice
    from migmatrix.emulator.migration.pagefaults import MissingPages

__all__ = ["OtherProcess"]

_DRIVER_OK: Final = 4
_NOT_ITS: Final = 1 << 30  # features that say nothing about the device
_LOW: Final = 2 << 30
_HOLE: Final = 0xA0000, 0xC0000  # of the guest's addresses, where a graphics card has its memory
_NO_LOG: Final = "Migration disabled: vhost-user backend lacks VHOST_USER_PROTOCOL_F_LOG_SHMFD feature."
_NO_MEMORY: Final = (
    "Failed initializing vhost-user memory map, consider using -object memory-backend-file share=on"
)
_NOT_STARTED: Final = "vhost-user-blk: vhost start failed: Error starting vhost: Input/output error"


class OtherProcess:
    """The back end of `device`, at the other end of `fd`, which is not closed. DeviceError when it is none.

    `config` is the device's config as it gave it.
    """

    def __init__(self, device: VirtIODevice, fd: int, config_size: int) -> None:
        self._device = device
        self._machine = device.machine
        self._front = FrontEnd(Socket(fileno=os.dup(fd)), self._machine.bql)
        self._works = self._logs = False
        self._log: mmap.mmap | None = None
        self._descriptor = -1
        self._listens = False
        self._missing: MissingPages | None = None
        self._faults: ClientFaults | None = None
        try:
            self.config = self._front.begin(len(device.queue_sizes()), config_size)
        except BackEndError as error:
            raise DeviceError(error.lines[-1]) from error
        self._machine.sharers.append(self)
        if (memory := self._machine.main_ram) is not None:
            memory.writers = self._machine.sharers
        self._machine.on_change(lambda running, _: self.follow(running=running))

    def close(self) -> None:
        """The device is gone."""
        self.follow(running=False)
        self._machine.sharers.remove(self)
        self._front.close()

    @property
    def lacks(self) -> int:
        """Features that it does not offer, and so the device does not."""
        return ~self._front.features & ~_NOT_ITS

    # -- work ----------------------------------------------------------------------------------------

    def follow(self, *, running: bool) -> None:
        """Let it work, or stop, as the guest does."""
        wanted = running and self._device.realized and bool(self._device.status & _DRIVER_OK)
        if wanted == self._works:
            return
        self._works = wanted
        try:
            if wanted:
                self._start()
            else:
                self._stop()
        except BackEndError as error:
            self._works = False
            more = (_NOT_STARTED,) if wanted else ()
            for line in (*error.lines, *more):
                self._machine.migration.say(line)

    def _start(self) -> None:
        regions = self._regions()
        if not regions:
            raise BackEndError(_NO_MEMORY)
        hears = self._hears(regions) if self._listens else None
        self._front.start(self._device.guest_features, regions, self._queues(), hears)
        if self._logs:
            self._new_log()

    def _stop(self) -> None:
        for ring, base in zip(self._device.rings, self._front.stop(len(self._device.rings)), strict=True):
            ring.last_avail = base

    def _regions(self) -> list[Region]:
        """The guest's memory, without the hole in it that boards with a BIOS have."""
        memory = self._machine.main_ram
        if memory is None or not memory.shared:
            return []
        if memory.used_length > _LOW:  # the rest has other addresses, by board
            raise BackEndError("the emulator shares at most 2 GiB with another process")
        low, high = _HOLE
        return [Region(0, low, 0, memory.fd), Region(high, memory.used_length - high, high, memory.fd)]

    def _queues(self) -> list[Queue]:
        rings = self._device.rings
        return [Queue(r.size, r.last_avail, r.desc, *reversed(r.parts)) for r in rings]

    # -- the log of what it writes -------------------------------------------------------------------

    def blocks(self) -> str:
        """Why the guest cannot be sent, "" when it can."""
        return "" if self._front.can_log else _NO_LOG

    def start_log(self) -> None:
        """Begin to note which pages it writes."""
        with self._machine.bql:
            self._logs = True
            self._told(self._new_log)

    def take_log(self) -> bytes:
        """The pages that it wrote since the last call, one bit for each: it goes on in another file, this one is full."""
        with self._machine.bql:
            log = self._log
            self._told(self._new_log)
            if log is None:
                return b""
            bits = log[:]
            log[:] = bytes(len(bits))  # it is still used where the guest does not run
            return bits

    def stop_log(self) -> None:
        """Note nothing any more."""
        with self._machine.bql:
            self._logs, self._log = False, None
            if self._works:
                self._told(lambda: self._front.stop_log(self._device.guest_features, self._queues()))

    def _new_log(self) -> None:
        memory = self._machine.main_ram
        if not self._works or memory is None:
            return
        size = (memory.used_length // PAGE_SIZE // 64 + 1) * 8
        fd = os.memfd_create("vhost-log", os.MFD_CLOEXEC)
        try:
            os.ftruncate(fd, size)
            log = mmap.mmap(fd, size)
            self._front.log(self._device.guest_features, self._queues(), size, fd)
            self._log = log
        finally:
            os.close(fd)

    def _told(self, what: Callable[[], object]) -> None:
        """Do it; what the other process did not do is printed."""
        try:
            what()
        except BackEndError as error:
            for line in error.lines:
                self._machine.migration.say(line)

    # -- postcopy ------------------------------------------------------------------------------------

    def probe(self) -> str:
        """Why no postcopy can come, "" when it can."""
        return "" if self._front.can_wait else "vhost-user backend not capable of postcopy"

    def advise(self) -> None:
        """One may come. BackEndError, as for all of these."""
        self._descriptor = self._front.advise()

    def listen(self, missing: MissingPages) -> None:
        """It comes: `missing` brings pages."""
        self._front.listen()
        self._missing, self._listens = missing, True

    def _hears(self, regions: Sequence[Region]) -> Callable[[Sequence[int]], object]:
        """What begins to listen to its faults, when it has told where it has the regions."""
        memory, missing = self._machine.main_ram, self._missing
        assert memory is not None and missing is not None  # noqa: S101, PT018 - it has regions, and a postcopy is under way
        if self._faults is None:
            self._faults = ClientFaults(self._descriptor, missing, self._machine.migration.say)
            self._descriptor = -1
        faults = self._faults

        def begin(bases: Sequence[int]) -> None:
            where = zip(regions, bases, strict=True)
            faults.begin([Mapped(base, region.size, memory, region.offset) for region, base in where])

        return begin

    def end(self) -> None:
        """All pages are here. After a stream that was no postcopy it is told nothing."""
        try:
            if self._listens:
                self._front.end()
        finally:
            if self._faults is not None:
                self._faults.close()
            elif self._descriptor >= 0:
                os.close(self._descriptor)
            self._listens, self._missing, self._faults, self._descriptor = False, None, None, -1

# SPDX-License-Identifier: Apache-2.0
"""The source's multifd channels: a thread for each, which sends packets of pages.

1. The migration's thread collects pages of one block; a full packet goes to the next channel that is free.
2. A page is read when its packet is sent. The migration unmarked it before, so what a guest writes meanwhile is sent again.
3. `sync` returns when every channel has sent all it got, and a packet that tells the receiver so. Nothing that depends
   on the order of pages is sent before that: a page goes twice only with a sync in between.
4. The first error of any channel ends all; the migration's thread meets it as `ChannelError` at its next call.
"""

from __future__ import annotations

import struct
import threading
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import bug
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.channel import ChannelError
from migmatrix.emulator.migration.multifd_codec import FLAGS, packer
from migmatrix.emulator.migration.multifd_packets import INITIAL, PAGES, packet, runs
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.multifd import MultifdFlag

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.multifd import Counted, Multifd
    from migmatrix.emulator.migration.multifd_codec import Packer
    from migmatrix.emulator.migration.streams import Output

__all__ = ["Job", "Senders", "page_runs", "split_zeros"]

_ZERO_PAGE: Final = bytes(PAGE_SIZE)
_FLUSH: Final = struct.pack(">Q", RamFlag.MULTIFD_FLUSH)
_SYNC: Final = int(MultifdFlag.SYNC)


class Job:
    """A packet: its pages, and whether the receiver is to wait for all channels at it."""

    __slots__ = ("block", "flags", "number", "offsets")

    def __init__(self, block: RamBlock | None, offsets: Sequence[int], flags: int, number: int) -> None:
        self.block = block
        self.offsets = offsets
        self.flags = flags
        self.number = number


class _Sender:
    """A channel (None where threads write to one file), and the packets that it has to send."""

    def __init__(self, channel: Channel | None, number: int, pack: Packer) -> None:
        self.channel = channel
        self.number = number
        self.pack = pack
        self.jobs: list[Job] = []
        self.thread: threading.Thread | None = None


class Senders:
    """All channels of one outgoing migration. `counted` is called with normal pages, zero pages and bytes that were sent."""

    def __init__(self, multifd: Multifd, channels: Sequence[Channel | None], counted: Counted) -> None:
        self._multifd = multifd
        self._counted = counted
        self._changed = threading.Condition()
        self._senders = [
            _Sender(channel, number, packer(multifd.compression, multifd.level))
            for number, channel in enumerate(channels)
        ]
        self._next = 0  # channel to look at first
        self._number = 0  # of the next packet, of all channels
        self._block: RamBlock | None = None  # of the pages that are collected
        self._offsets: list[int] = []
        self._over = False
        self._postcopy = False
        self.error = ""
        for sender in self._senders:
            name = f"multifdsend_{sender.number}"
            sender.thread = threading.Thread(target=self._run, args=(sender,), name=name, daemon=True)
            sender.thread.start()

    # -- the migration's thread ------------------------------------------------------------------

    def send(self, block: RamBlock, start: int, stop: int, zeros: Callable[[int, int], object]) -> None:
        """Send pages; `zeros` puts a run of zero pages into the main stream, where they go there."""
        if self._multifd.zeros != "legacy":
            self._collect(block, range(start, stop, PAGE_SIZE))
        elif block.untouched(start, stop):
            zeros(start, stop)
        else:
            for at in range(start, stop, PAGE_SIZE):
                if block.data[at : at + PAGE_SIZE] == _ZERO_PAGE:
                    zeros(at, at + PAGE_SIZE)
                else:
                    self._collect(block, (at,))

    def _collect(self, block: RamBlock, offsets: Sequence[int]) -> None:
        if block is not self._block:
            self._send_collected()
            self._block = block
        for offset in offsets:
            self._offsets.append(offset)
            if len(self._offsets) == PAGES:
                self._send_collected()

    def _send_collected(self, flags: int = 0) -> _Sender | None:
        """Give what is collected to a channel that is free; that channel, or None when there was nothing."""
        if not self._offsets:
            return None
        offsets, self._offsets = self._offsets, []
        with self._changed:
            self._wait(lambda: any(not sender.jobs for sender in self._senders))
            count = len(self._senders)
            order = (self._senders[(self._next + i) % count] for i in range(count))
            sender = next(sender for sender in order if not sender.jobs)
            self._next = (sender.number + 1) % count
            self._give(sender, self._block, offsets, flags)
        return sender

    def _give(self, sender: _Sender, block: RamBlock | None, offsets: Sequence[int], flags: int) -> None:
        sender.jobs.append(Job(block, offsets, flags, self._number))
        self._number += 1
        self._changed.notify_all()

    def _wait(self, true: Callable[[], bool]) -> None:
        self._changed.wait_for(lambda: self.error or true())
        if self.error:
            raise ChannelError(self.error)

    def sync(self) -> None:
        """Wait until all is sent, and have the receiver wait there, too; ChannelError.

        Up to 8.2 the packet that says so may have pages; then one without any follows it.
        """
        with_pages = not self._multifd.traits.multifd_zero_pages
        last = self._send_collected(_SYNC if with_pages else 0)
        with self._changed:
            for sender in self._senders:
                told = with_pages and sender is last
                self._give(sender, None, (), 0 if told else _SYNC)
            self._wait(lambda: not any(sender.jobs for sender in self._senders))

    def check(self) -> None:
        """ChannelError if a channel failed."""
        with self._changed:
            self._wait(lambda: True)

    # -- where the main stream says that channels wait for each other ------------------------------

    def describe(self, out: Output, block: RamBlock) -> None:
        """The main stream's list of blocks says nothing of channels."""

    def flush(self, out: Output) -> None:
        """Wait for all channels, and say so in the main stream, unless the end of the part does.

        It is said at once: channels stand until it is read, and more may be sent before the part ends.
        """
        self.sync()
        if not self._multifd.per_section:
            out.put(_FLUSH)
            out.flush()

    def end_round(self, out: Output) -> None:
        """All blocks were gone through: what was sent may be sent again."""
        if not self._multifd.per_section and not self._postcopy:
            self.flush(out)

    def end_part(self, out: Output, *, done: bool) -> None:
        """A part ends; `done`: nothing is left to send."""
        if self._postcopy and not (self._multifd.per_section and self._multifd.traits.multifd_syncs_late):
            return
        if self._multifd.per_section or done:
            self.flush(out)

    def begin_postcopy(self) -> None:
        """No more pages come; only the end of a part still makes channels wait, where it does."""
        self._postcopy = True

    # -- the end ---------------------------------------------------------------------------------

    def interrupt(self) -> None:
        """End every wait, from any thread."""
        for sender in self._senders:
            if sender.channel is not None:
                sender.channel.interrupt()

    def close(self) -> None:
        """End all threads and close all channels. What is not sent yet is not sent."""
        with self._changed:
            self._over = True
            busy = any(sender.jobs for sender in self._senders)
            self._changed.notify_all()
        if busy:
            self.interrupt()
        for sender in self._senders:
            if sender.thread is not None:
                sender.thread.join()
            if sender.channel is not None:
                sender.channel.close()

    # -- a channel's thread ------------------------------------------------------------------------

    def _run(self, sender: _Sender) -> None:
        try:
            self._begin(sender)
            while (job := self._job(sender)) is not None:
                self._send(sender, job)
                with self._changed:
                    sender.jobs.pop(0)
                    self._changed.notify_all()
        except ChannelError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - the last resort: the migration must not wait for ever
            self._fail(bug(error))

    def _begin(self, _: _Sender) -> None:
        """The first packet was sent when the channel was connected."""
        self._count(0, 0, INITIAL if self._multifd.traits.multifd_zero_pages else 0)

    def _write(self, sender: _Sender, data: bytes) -> None:
        assert sender.channel is not None  # noqa: S101 - whoever has none writes elsewhere
        sender.channel.write(data)

    def _job(self, sender: _Sender) -> Job | None:
        """The next packet to send; None at the end. It stays in the list until it is sent."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or sender.jobs)
            return None if self._over else sender.jobs[0]

    def _fail(self, words: str) -> None:
        with self._changed:
            self.error = self.error or words
            self._over = True
            self._changed.notify_all()
        self.interrupt()

    def _count(self, normal: int, zero: int, size: int) -> None:
        with self._changed:
            self._counted(normal, zero, size)

    def _send(self, sender: _Sender, job: Job) -> None:
        block = job.block
        if block is None:
            alone = job.flags & _SYNC and self._multifd.traits.multifd_zero_pages
            raw = packet(job.flags, job.number, allocated=0 if alone else PAGES)
            self._write(sender, raw)
            self._count(0, 0, len(raw))
            return
        detects = self._multifd.zeros == "multifd"
        normal, zero = split_zeros(block, job.offsets) if detects else (job.offsets, ())
        data = sender.pack.pack(b"".join(page for _, page in page_runs(block, normal))) if normal else b""
        flags = job.flags | FLAGS[self._multifd.compression]
        raw = packet(flags, job.number, block, normal, zero, length=len(data)) + data
        self._write(sender, raw)
        self._count(len(normal), len(zero), len(raw))


def split_zeros(block: RamBlock, offsets: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """Offsets of pages with content, and of zero pages."""
    zero = [at for at in offsets if _is_zero(block, at)]
    if not zero:
        return offsets, ()
    found = set(zero)
    return [at for at in offsets if at not in found], zero


def _is_zero(block: RamBlock, at: int) -> bool:
    end = at + PAGE_SIZE
    return block.untouched(at, end) or block.data[at:end] == _ZERO_PAGE


def page_runs(block: RamBlock, offsets: Sequence[int]) -> list[tuple[int, bytes]]:
    """The pages, those that follow each other in one piece: its offset, and its content."""
    return [
        (offsets[first], block.data[offsets[first] : offsets[end - 1] + PAGE_SIZE])
        for first, end in runs(offsets)
    ]

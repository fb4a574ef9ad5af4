# SPDX-License-Identifier: Apache-2.0
"""The destination's multifd channels: a thread for each, which puts pages where they belong.

1. A channel stops at its SYNC packet. `sync` returns when all have stopped there, and lets them go on.
2. Nothing is written outside of a block's used length; a channel takes no more memory than a packet needs.
3. The first error of any channel, or its end while somebody waits for it, ends all: `sync` raises it as LoadFault.
4. The loader holds the machine's lock, and gives it up while it waits. A channel's thread never takes it.
"""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import bug
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.multifd import PacketError
from migmatrix.emulator.migration.multifd_codec import FLAGS, unpacker
from migmatrix.emulator.migration.multifd_packets import (
    HEADER,
    INITIAL,
    Packet,
    read_initial,
    read_packet,
    runs,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.channel import Channel
    from migmatrix.emulator.migration.multifd import Multifd
    from migmatrix.emulator.migration.multifd_codec import Unpacker
    from migmatrix.emulator.migration.streams import Input

__all__ = ["PacketReader", "Receivers"]

_COMPRESSION: Final = 0x3E  # flags of the packing method
_LONGEST: Final = 2 << 19  # bytes of data in a packet: no packing makes pages longer than that


class PacketReader:
    """Reads one channel's packets into memory. It knows nothing of threads and other channels."""

    def __init__(self, source: Input, number: int, multifd: Multifd, blocks: Mapping[str, RamBlock]) -> None:
        self._source = source
        self._number = number
        self._multifd = multifd
        self._blocks = blocks
        self._unpacker: Unpacker = unpacker(multifd.compression, number)

    def read(self) -> Packet | None:
        """The next packet, whose pages are where they belong; None at the end. PacketError."""
        raw = self._source.take(HEADER)
        if len(raw) < HEADER:
            if raw or self._source.error:
                raise PacketError(self._source.error or _cut(len(raw), self._multifd))
            return None
        packet = read_packet(raw, self._blocks, self._multifd.traits)
        if packet.block is not None:
            self._pages(packet, packet.block)
        return packet

    def _pages(self, packet: Packet, block: RamBlock) -> None:
        flags, expected = packet.flags & _COMPRESSION, FLAGS[self._multifd.compression]
        if flags != expected:
            opening = f"multifd {self._number}:"
            raise PacketError(f"{opening} flags received {flags:x} flags expected {expected:x}")
        for at in packet.zero:
            block.clear(at, at + PAGE_SIZE)
        if packet.normal:
            self._store(packet, block)
        elif packet.length and flags:
            raise PacketError(f"multifd {self._number}: expected empty packet")

    def _store(self, packet: Packet, block: RamBlock) -> None:
        size = len(packet.normal) * PAGE_SIZE
        length = packet.length if packet.flags & _COMPRESSION else size
        if length > _LONGEST:
            opening = f"multifd {self._number}:"
            raise PacketError(f"{opening} next_packet_size {length} exceeds allocated {_LONGEST}")
        data = self._source.take(length)
        if len(data) < length:
            raise PacketError(self._source.error or _END)
        data = self._unpacker.unpack(data, size)
        for first, end in runs(packet.normal):
            block.store(packet.normal[first], data[first * PAGE_SIZE : end * PAGE_SIZE])


_END: Final = "Unexpected end-of-file before all data were read"


def _cut(came: int, multifd: Multifd) -> str:
    """The words for a packet of which only the beginning came."""
    first = 12  # magic, version, flags: what a new release reads first
    if came == first and multifd.traits.multifd_exceeds:
        return "multifd: unexpected EOF after packet header"
    return _END


class _Receiver:
    """A channel, and whether it stands at a SYNC."""

    def __init__(self, channel: Channel, reader: PacketReader) -> None:
        self.channel = channel
        self.reader = reader
        self.stands = False
        self.ended = False
        self.thread: threading.Thread | None = None


class Receivers:
    """All channels of one incoming migration; `lock` is the machine's."""

    def __init__(self, multifd: Multifd, blocks: Mapping[str, RamBlock], lock: threading.RLock) -> None:
        self.multifd = multifd
        self._blocks = blocks
        self._lock = lock
        self._changed = threading.Condition()
        self._receivers: dict[int, _Receiver] = {}
        self._over = False
        self._failed: Callable[[], object] = lambda: None
        self.error = ""

    @property
    def complete(self) -> bool:
        """Whether all channels are here."""
        return len(self._receivers) == self.multifd.channels

    def add(self, channel: Channel, source: Input) -> None:
        """Read what a new channel says of itself, and start its thread; PacketError."""
        count = len(self._receivers)
        raw = source.take(INITIAL)
        opening = f"failed to receive packet via multifd channel {count}: "
        if len(raw) < INITIAL:
            raise PacketError(opening + (source.error or _END))
        try:
            number = read_initial(raw, self.multifd.uuid, self.multifd.channels, self.multifd.traits)
        except PacketError as error:
            raise PacketError(f"{opening}{error}") from error
        if number in self._receivers:
            raise PacketError(f"multifd: received id '{number}' already setup'")
        source.lock = None  # from now on its thread reads
        receiver = _Receiver(channel, PacketReader(source, number, self.multifd, self._blocks))
        self._receivers[number] = receiver
        receiver.thread = threading.Thread(
            target=self._run, args=(receiver,), name=f"multifdrecv_{number}", daemon=True
        )
        receiver.thread.start()

    # -- the loader --------------------------------------------------------------------------------

    def on_error(self, call: Callable[[], object]) -> None:
        """Call this when a channel fails, or at once if one did: the loader may wait for something else."""
        with self._changed:
            self._failed = call
            failed = bool(self.error)
        if failed:
            call()

    def end_part(self) -> None:
        """The main stream has reached the end of a part; LoadFault."""
        if self.multifd.per_section:
            self.sync()

    def sync(self) -> None:
        """Wait until all channels have reached their SYNC, and let them go on; LoadFault."""
        self._lock.release()
        try:
            self._meet()
        finally:
            self._lock.acquire()

    def _meet(self) -> None:
        receivers = self._receivers.values()
        with self._changed:
            self._changed.wait_for(lambda: self.error or all(each.stands or each.ended for each in receivers))
            if not self.error and any(not each.stands for each in receivers):
                self.error = _END  # QEMU waits for ever
            if self.error:
                raise LoadFault(self.error, errno=errno.EIO)
            for each in receivers:
                each.stands = False
            self._changed.notify_all()

    def close(self) -> None:
        """End all threads and close all channels."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        for receiver in self._receivers.values():
            receiver.channel.interrupt()
            if receiver.thread is not None:
                receiver.thread.join()
            receiver.channel.close()

    # -- a channel's thread --------------------------------------------------------------------------

    def _run(self, receiver: _Receiver) -> None:
        try:
            self._read(receiver)
        except PacketError as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - the last resort: the loader must not wait for ever
            self._fail(bug(error))
        with self._changed:
            receiver.ended = True
            self._changed.notify_all()

    def _read(self, receiver: _Receiver) -> None:
        while (packet := receiver.reader.read()) is not None:
            if packet.sync:
                with self._changed:
                    receiver.stands = True
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._over or not receiver.stands)
            if self._over:
                return

    def _fail(self, words: str) -> None:
        with self._changed:
            self.error = self.error or words
            self._changed.notify_all()
            failed = self._failed
        failed()

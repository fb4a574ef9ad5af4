# SPDX-License-Identifier: Apache-2.0
"""A main channel with its other channels: whose pages came when, so that `Stream.ram` is all of guest memory.

Rules:
1. A multifd channel tells with a SYNC packet where the main channel has a MULTIFD_FLUSH word; QEMU up to 8.0 sends none,
   and there each memory section ends such an epoch. In an epoch come the main channel's pages, then the packets of all
   channels by number: a page comes once.
2. Pages of a postcopy-preempt channel come after those of the main channel: a page that one sends the other does not.
3. A return path holds no memory; it is read to see that it is whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.record import Record, replace
from migmatrix.vmstate.view.stream import flat
from migmatrix.vmstate.wire.channel import PreemptReader
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.multifd import MAGIC, MultifdInit, MultifdPacket, MultifdReader, Unpack, inflate
from migmatrix.vmstate.wire.ram import RamState
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun, RamBlock, RamMark
from migmatrix.vmstate.wire.returnpath import ReturnPathReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from migmatrix.vmstate.view.stream import Stream
    from migmatrix.vmstate.wire.channel import ChannelReader
    from migmatrix.vmstate.wire.events import Event

__all__ = ["Channel", "joined", "read_channel"]


class Channel(Record):
    """One channel: ``multifd 1``, ``preempt`` or ``return path``, its size in bytes and its events."""

    kind: str
    size: int
    events: tuple[Event, ...]

    @property
    def pages(self) -> int:
        """Pages in it, those without content included."""
        packets = sum(e.normal + e.zero for e in self.events if isinstance(e, MultifdPacket))
        return packets + sum(e.count for e in self.events if isinstance(e, PageRun | PageMix))


def read_channel(data: bytes | memoryview, main: Stream, zstd: Callable[[], Unpack]) -> Channel:
    """Read a channel of `main`, whose events then hold views of `data`; StreamError for what is none, or damaged.

    `zstd` makes a decoder, which a channel needs whose pages are packed so.
    """
    if bytes(data[:4]) == MAGIC.to_bytes(4):
        events = _events(MultifdReader(main.page_size), data)
        packets = (e for e in events if isinstance(e, MultifdPacket))
        plain = tuple(inflate(packets, main.page_size, zstd()))
        number = next((e.channel for e in events if isinstance(e, MultifdInit)), 0)
        return Channel(f"multifd {number}", len(data), plain)
    if bytes(data[:1]) == b"\0" and bytes(data[1:2]) != b"\0":  # the number of a message
        return Channel("return path", len(data), _events(ReturnPathReader(), data))
    lengths = {e.name: e.used_length for e in main.flat if isinstance(e, RamBlock)}
    return Channel("preempt", len(data), _events(PreemptReader(RamState(main.page_size, lengths)), data))


def _events(reader: ChannelReader, data: bytes | memoryview) -> tuple[Event, ...]:
    reader.feed(data)
    reader.close()
    return tuple(reader.events())


def joined(main: Stream, channels: Sequence[Channel]) -> Stream:
    """The same stream, whose memory is that of all channels."""
    multifd = [channel for channel in channels if channel.kind.startswith("multifd")]
    urgent = [event for channel in channels if channel.kind == "preempt" for event in channel.events]
    return replace(main, memory=(*_by_epoch(main, multifd), *urgent))


def _by_epoch(main: Stream, channels: list[Channel]) -> Iterator[Event]:
    epochs = [_epochs(channel) for channel in channels]
    ends = _ends(main)
    epoch = 0
    for event in flat(main.events):
        if isinstance(event, RamMark) and event.flag is ends:
            yield from _pages(epochs, epoch, main.page_size)
            epoch += 1
        yield event
    for left in range(epoch, max(map(len, epochs), default=0)):
        yield from _pages(epochs, left, main.page_size)


def _ends(main: Stream) -> RamFlag:
    """The word that ends an epoch."""
    flags = {e.flag for e in flat(main.events) if isinstance(e, RamMark)}
    return RamFlag.MULTIFD_FLUSH if RamFlag.MULTIFD_FLUSH in flags else RamFlag.EOS


def _epochs(channel: Channel) -> list[list[MultifdPacket]]:
    found: list[list[MultifdPacket]] = [[]]
    for event in channel.events:
        if isinstance(event, MultifdPacket):
            found[-1].append(event)
            if event.sync:
                found.append([])
    return found


def _pages(epochs: list[list[list[MultifdPacket]]], epoch: int, page_size: int) -> Iterator[PageRun]:
    packets = [packet for channel in epochs if epoch < len(channel) for packet in channel[epoch]]
    for packet in sorted(packets, key=lambda packet: packet.number):
        yield from packet.pages(page_size)

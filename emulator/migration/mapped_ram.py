# SPDX-License-Identifier: Apache-2.0
"""mapped-ram: each page of memory has a place of its own in a file, where the stream leaves room for it.

1. After a block's entry in the list comes a header that says where its bitmap and its pages are; the stream goes on
   behind the pages. Offsets count from the file's start.
2. A page that is sent again overwrites what was there, so the file does not grow; a zero page has no bit and no bytes.
3. Bitmaps are written when nothing is left to send. A file whose migration failed has none that is right.
4. With multifd, threads write the pages; the file is the same.

Format: `vmstate.wire.ramevents.MappedHeader`; bits are those of little-endian words, as QEMU on x86 writes them.
"""

from __future__ import annotations

import errno
import struct
import threading
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.bitmaps import missing, wire_size
from migmatrix.emulator.migration.channel import Channel, ChannelError
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.multifd_send import Senders, page_runs, split_zeros
from migmatrix.vmstate.wire.ramevents import MappedHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.multifd import Counted, Multifd
    from migmatrix.emulator.migration.multifd_send import Job
    from migmatrix.emulator.migration.streams import Input, Output
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["FileSaver", "FileSenders", "load_block"]

_VERSION: Final = 1
_ALIGNMENT: Final = 1 << 20  # of where a block's pages begin
_HEADER: Final = struct.Struct(">IQQQ")
_MOST: Final = 256 * PAGE_SIZE  # bytes that are read at once


class _Place:
    """Where a block is in the file, and which of its pages are."""

    def __init__(self, block: RamBlock, bitmap: int) -> None:
        size = wire_size(block.pages)
        self.bits = bytearray(size)
        self.bitmap = bitmap
        self.pages = -(-(bitmap + size) // _ALIGNMENT) * _ALIGNMENT

    def set(self, at: int, *, here: bool) -> None:
        """Note whether the page at this offset is in the file."""
        index, bit = divmod(at // PAGE_SIZE, 8)
        self.bits[index] = self.bits[index] & ~(1 << bit) | here << bit


class FileSaver:
    """Puts pages into the file of a migration; it has what `RamSaver` asks of channels.

    `counted` is called with normal pages, zero pages and bytes that were written. Without `finds_zeros` a page of
    zeros is written like any other.
    """

    def __init__(self, channel: Channel, counted: Counted, *, finds_zeros: bool) -> None:
        self._channel = channel
        self._counted = counted
        self._finds_zeros = finds_zeros
        self._places: dict[str, _Place] = {}
        self._from = channel.position()  # of the file, which the stream had at `_mark`
        self._mark = 0
        self._lock = threading.Lock()

    def describe(self, out: Output, block: RamBlock) -> None:
        """Say where a block is, and leave room for it."""
        bitmap = self._from + out.offset - self._mark + _HEADER.size
        place = self._places[block.name] = _Place(block, bitmap)
        out.put(MappedHeader(_VERSION, PAGE_SIZE, place.bitmap, place.pages).encode())
        self._from = place.pages + block.used_length
        self._mark = out.offset
        out.jump(self._from)

    def store(self, block: RamBlock, offsets: Sequence[int]) -> None:
        """Write pages where they belong; ChannelError."""
        place = self._places[block.name]
        normal, zero = split_zeros(block, offsets) if self._finds_zeros else (offsets, ())
        for at, data in page_runs(block, normal):
            self._channel.write_at(data, place.pages + at)
        with self._lock:
            for at in normal:
                place.set(at, here=True)
            for at in zero:
                place.set(at, here=False)
            self._counted(len(normal), len(zero), len(normal) * PAGE_SIZE)

    def send(self, block: RamBlock, start: int, stop: int, _zeros: Callable[[int, int], object]) -> None:
        """Write a run of pages."""
        self.store(block, range(start, stop, PAGE_SIZE))

    def flush(self, out: Output) -> None:
        """Everything is written already."""

    def end_round(self, out: Output) -> None:
        """Nobody waits for anybody."""

    def end_part(self, _out: Output, *, done: bool) -> None:
        """Write the bitmaps when nothing is left to send."""
        if done:
            for place in self._places.values():
                self._channel.write_at(bytes(place.bits), place.bitmap)

    def begin_postcopy(self) -> None:
        """There is none with such a file."""

    def check(self) -> None:
        """It fails when it writes."""

    def interrupt(self) -> None:
        """A file does not make anybody wait."""

    def close(self) -> None:
        """The channel is the migration's."""


class FileSenders(Senders):
    """The same by several threads."""

    def __init__(self, multifd: Multifd, saver: FileSaver, counted: Counted) -> None:
        self._saver = saver
        super().__init__(multifd, [None] * multifd.channels, counted)

    def describe(self, out: Output, block: RamBlock) -> None:
        """Say where a block is."""
        self._saver.describe(out, block)

    def send(self, block: RamBlock, start: int, stop: int, _zeros: Callable[[int, int], object]) -> None:
        """Give a run of pages to a thread that is free."""
        self._collect(block, range(start, stop, PAGE_SIZE))

    def flush(self, out: Output) -> None:
        """Wait for all threads."""
        del out
        self.sync()

    def end_part(self, out: Output, *, done: bool) -> None:
        """Write the bitmaps when nothing is left to send."""
        if done:
            self.sync()
        self._saver.end_part(out, done=done)

    def _begin(self, sender: object) -> None:
        """A file does not say which thread wrote it."""

    def _send(self, _sender: object, job: Job) -> None:
        if job.block is not None:
            self._saver.store(job.block, job.offsets)


# -- loading -------------------------------------------------------------------------------------


def load_block(source: Input, block: RamBlock, traits: Traits) -> None:
    """Read a block's header, go to its pages and load them, and go on behind them; LoadFault."""
    channel = source.channel
    if not isinstance(channel, Channel):
        raise LoadFault("Migration requires seekable transport (e.g. file)")
    header = _header(source)
    if header.pages_offset % PAGE_SIZE:
        raise LoadFault(said=(f"Error reading ramblock {block.name} pages, region has bad alignment",))
    end = header.pages_offset + block.used_length
    if end <= source.offset:  # QEMU goes back, and a file may make it go round for ever
        raise LoadFault(said=(f"Error reading ramblock {block.name} pages, they end before their header",))
    bits = _bits(channel, block, header.bitmap_offset)
    try:
        _load_pages(channel, block, header.pages_offset, bits, traits)
        source.jump(end)
    except ChannelError as error:
        raise LoadFault(said=(str(error),)) from error


def _bits(channel: Channel, block: RamBlock, start: int) -> bytes:
    size = wire_size(block.pages)
    try:
        bits = channel.read_at(start, size)
    except ChannelError:  # there is no such place: QEMU has no other words for it
        bits = b""
    if len(bits) < size:
        raise LoadFault(said=("Error reading dirty bitmap",))
    return bits


def _header(source: Input) -> MappedHeader:
    raw = source.take(_HEADER.size)
    if len(raw) < _HEADER.size:
        want = f"expected {_HEADER.size}, got {len(raw)} bytes"
        raise LoadFault(
            said=(f"Could not read whole mapped-ram migration header ({want})",), errno=errno.EINVAL
        )
    header = MappedHeader(*_HEADER.unpack(raw))
    if header.version > _VERSION:
        words = f"(expected <= {_VERSION}, got {header.version})"
        raise LoadFault(said=(f"Migration mapped-ram capability version not supported {words}",))
    if header.page_size != PAGE_SIZE:
        words = f"invalid page_size {header.page_size} (expected {PAGE_SIZE})"
        raise LoadFault(said=(f"Migration mapped-ram header has {words}",))
    return header


def _load_pages(channel: Channel, block: RamBlock, start: int, bits: bytes, traits: Traits) -> None:
    """Load pages whose bits are set; the others are zero."""
    absent = missing(bits, block.pages)
    end = 0
    while end < block.pages:
        first, is_absent = end, absent[end]
        end = absent.find(1 - is_absent, first)
        end = block.pages if end < 0 else end
        if not is_absent:
            stop = min(end * PAGE_SIZE, block.used_length)
            _load_run(channel, block, start, range(first * PAGE_SIZE, stop), traits)
        else:
            block.clear(first * PAGE_SIZE, end * PAGE_SIZE)


def _load_run(channel: Channel, block: RamBlock, start: int, run: range, traits: Traits) -> None:
    for at in run[::_MOST]:
        size = min(run.stop - at, _MOST)
        data = channel.read_at(start + at, size)
        if len(data) < size:
            words = f"({block.name}) failed to read page {at:x}from file offset {start + at:x}"
            why = "Unexpected end-of-file before all data were read"
            if not traits.mapped_reads_all:
                why = f"Partial read of size {len(data)}, expected {size}"
            raise LoadFault(said=(f"{words}: {why}",))
        block.store(at, data)

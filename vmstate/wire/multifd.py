# SPDX-License-Identifier: Apache-2.0
"""Multifd channels: a 64-byte initial packet, then data packets of header, offset table and page data.

Rules:
1. `MultifdReader` reads one channel; the caller joins channels by packet number, which all of them share.
2. 5.2 and 7.2 count only "pages used" and may put SYNC on a packet with data, and leave a stale data length
   in packets without pages; from 10.0 a header counts normal and zero pages, and a SYNC packet is empty. One
   rule reads both: data follows when there are normal pages.
3. Records keep bytes that should be zero, so that `encode` gives the same bytes.

Source: captures with QEMU 5.2.0, 7.2.22, 10.0.2, 10.0.13 and 11.1.3 (1344-byte packets of 128 pages).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from enum import IntFlag
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.wire.channel import ChannelReader
from migmatrix.vmstate.wire.constants import PAGE_SIZE, RamFlag
from migmatrix.vmstate.wire.ramevents import PageRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.vmstate.wire.ram import Steps
    from migmatrix.vmstate.wire.window import Buffer

__all__ = [
    "HEAD",
    "INIT",
    "MAGIC",
    "PACKET",
    "VERSION",
    "DeviceStatePacket",
    "MultifdFlag",
    "MultifdInit",
    "MultifdPacket",
    "MultifdReader",
    "Unpack",
    "inflate",
]

Unpack = Callable[[bytes, int], bytes]
"""Decoder of one channel: a packet's bytes, and how many bytes of pages at most; ValueError for bad data."""

MAGIC: Final = 0x11223344
VERSION: Final = 1
PACKET: Final = 1 << 19  # bytes of pages in a full packet; it sets the length of the offset table
HEAD: Final = struct.Struct(">IIIIIIQII24s256s")
INIT: Final = struct.Struct(">II16sB39s")
_DEVICE: Final = struct.Struct(">III256sII")


class MultifdFlag(IntFlag):
    """Flags of a packet; bits 1 to 5 are the compression."""

    SYNC = 1
    ZLIB = 2
    ZSTD = 4
    QPL = 8
    UADK = 16
    QATZIP = 32
    DEVICE_STATE = 64  # not seen on a wire (VFIO)


class MultifdInit(Record):
    """First packet of a channel. `rest` is unused space, zero in every capture."""

    uuid: bytes
    channel: int
    rest: bytes = bytes(39)
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return INIT.pack(MAGIC, VERSION, self.uuid, self.channel, self.rest)


class MultifdPacket(Record):
    """Offsets (bytes in `block`) and data of up to `allocated` pages.

    `normal` pages have data, `zero` (10.0 and later) have none; `table` is the whole offset table as it came.
    `length` is the data length of the header, which may be stale when `normal` is 0.
    """

    flags: int
    allocated: int
    normal: int
    zero: int
    length: int
    number: int
    block_field: bytes
    table: bytes
    data: Buffer
    unused: tuple[int, bytes] = (0, bytes(24))
    offset: int = field(default=-1, compare=False)

    @property
    def block(self) -> str:
        """Name of the block; empty in a pure SYNC packet."""
        return self.block_field.split(b"\0", 1)[0].decode("latin-1")

    @property
    def offsets(self) -> tuple[int, ...]:
        """Of the normal pages, then of the zero pages."""
        return struct.unpack_from(f">{self.normal + self.zero}Q", self.table)

    @property
    def sync(self) -> bool:
        """True when the receiver is to wait for all channels here."""
        return bool(self.flags & MultifdFlag.SYNC)

    @property
    def compression(self) -> MultifdFlag:
        """The method that packed the data; 0 for none."""
        return MultifdFlag(self.flags & 0x3E)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        counts = (self.flags, self.allocated, self.normal, self.length, self.number, self.zero)
        head = HEAD.pack(MAGIC, VERSION, *counts, *self.unused, self.block_field)
        return head + self.table + bytes(self.data)

    def pages(self, page_size: int = PAGE_SIZE) -> Iterator[PageRun]:
        """Uncompressed pages as runs, for a `RamImage`; StreamError when the data is compressed."""
        if self.compression:
            name = self.compression.name or hex(self.flags)
            raise StreamError(self.offset, f"multifd/{self.block}", "plain pages", f"found {name.lower()}")
        view = memoryview(self.data)
        for i, address in enumerate(self.offsets):
            kind, body = RamFlag.ZERO, memoryview(b"\0")
            if i < self.normal:
                kind, body = RamFlag.PAGE, view[i * page_size : (i + 1) * page_size]
            yield _as_run(self.block, address, kind, page_size, body)


def _as_run(block: str, address: int, kind: RamFlag, page_size: int, body: memoryview) -> PageRun:
    """One page as the record that the main channel would have carried, without a name."""
    word = struct.pack(">Q", address | int(kind) | int(RamFlag.CONTINUE))
    return PageRun(block, address, 1, kind, page_size, False, word + bytes(body))


class DeviceStatePacket(Record):
    """A packet with a piece of a device's state (10.0 and later, VFIO). Layout not seen on a wire."""

    flags: int
    idstr_field: bytes
    instance_id: int
    data: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        values = (self.flags, self.idstr_field, self.instance_id, len(self.data))
        return _DEVICE.pack(MAGIC, VERSION, *values) + bytes(self.data)


def inflate(
    packets: Iterable[MultifdPacket], page_size: int = PAGE_SIZE, zstd: Unpack | None = None
) -> Iterator[MultifdPacket]:
    """Decompress one channel's packets, all of them and in order: together they are one stream of their method.

    The standard library has zlib; `zstd` is the caller's decoder (see `Unpack`). Packets of a method without
    a decoder pass unchanged. StreamError when the data is not what the header promises.
    """
    decoders = {MultifdFlag.ZLIB: _zlib_decoder()}
    if zstd is not None:
        decoders[MultifdFlag.ZSTD] = zstd
    for packet in packets:
        unpack = decoders.get(packet.compression)
        yield packet if unpack is None or not packet.normal else _unpacked(packet, unpack, page_size)


def _zlib_decoder() -> Unpack:
    decoder = zlib.decompressobj()

    def unpack(data: bytes, most: int) -> bytes:
        try:
            return decoder.decompress(data, most)
        except zlib.error as error:
            raise ValueError(str(error)) from error

    return unpack


def _unpacked(packet: MultifdPacket, unpack: Unpack, page_size: int) -> MultifdPacket:
    """The packet with plain pages."""
    size, name = packet.normal * page_size, (packet.compression.name or "").lower()
    try:
        data = unpack(bytes(packet.data), size + 1)
    except ValueError as error:
        raise StreamError(packet.offset, f"multifd.{name}", f"{name} data", f"found {error}") from error
    if len(data) != size:
        raise StreamError(packet.offset, f"multifd.{name}", f"{size} bytes", f"read {len(data)}")
    flags = packet.flags & ~int(packet.compression)
    counts = (flags, packet.allocated, packet.normal, packet.zero, size, packet.number)
    return MultifdPacket(*counts, packet.block_field, packet.table, data, packet.unused, packet.offset)


class MultifdReader(ChannelReader):
    """Reader of one multifd channel; it may end after any packet. `page_size` in bytes."""

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self._page_size = page_size
        super().__init__()

    def _read(self) -> Steps:
        window = self._window
        yield from window.want(INIT.size, "multifd.init")
        magic, version, uuid, channel, rest = INIT.unpack(window.peek(INIT.size))
        self._check(magic, version)
        window.take(INIT.size)
        yield MultifdInit(uuid, channel, rest, 0)
        while not (yield from self._ended()):
            yield from self._packet()

    def _check(self, magic: int, version: int) -> None:
        if (magic, version) != (MAGIC, VERSION):
            expected = f"magic {MAGIC:#x}, version {VERSION}"
            raise StreamError(self._window.offset, "multifd", expected, f"found {magic:#x}, {version}")

    def _packet(self) -> Steps:
        window = self._window
        yield from window.want(12, "multifd.packet")
        magic, version, flags = struct.unpack(">III", window.peek(12))
        self._check(magic, version)
        yield from self._device() if flags & MultifdFlag.DEVICE_STATE else self._pages()

    def _device(self) -> Steps:
        window, offset = self._window, self._window.offset
        yield from window.want(_DEVICE.size, "multifd.device")
        _, _, flags, name, instance, length = _DEVICE.unpack(window.peek(_DEVICE.size))
        yield from window.want(_DEVICE.size + length, "multifd.device.data")
        window.take(_DEVICE.size)
        yield DeviceStatePacket(flags, name, instance, window.take(length), offset)

    def _pages(self) -> Steps:
        window, offset = self._window, self._window.offset
        yield from window.want(HEAD.size, "multifd.packet")
        head = HEAD.unpack(window.peek(HEAD.size))
        _, _, flags, allocated, normal, length, number, zero, spare, unused, name = head
        slots = PACKET // self._page_size
        if max(allocated, normal + zero) > slots:
            found = f"found {allocated}, {normal} + {zero}"
            raise StreamError(offset, f"multifd.packet[{number}]", f"at most {slots} pages", found)
        table = slots * 8
        size = length if normal else 0
        yield from window.want(HEAD.size + table + size, f"multifd.packet[{number}]")
        window.take(HEAD.size)
        offsets = bytes(window.take(table))
        data = window.take(size)
        self._check_data(flags, normal, size, offset)
        counts = (flags, allocated, normal, zero, length, number)
        yield MultifdPacket(*counts, name, offsets, data, (spare, unused), offset)

    def _check_data(self, flags: int, normal: int, size: int, offset: int) -> None:
        if not flags & 0x3E and size != normal * self._page_size:
            expected = f"{normal * self._page_size} bytes of pages"
            raise StreamError(offset, "multifd.packet.len", expected, f"found {size}")

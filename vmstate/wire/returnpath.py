# SPDX-License-Identifier: Apache-2.0
"""The return path: messages of the destination to the source, u16 type, u16 length, data.

RECV_BITMAP continues beyond its length: u64 size, the bitmap (little-endian bits), u64 end mark.
Source: captures of all five builds; for REQ_PAGES and REQ_PAGES_ID, which they do not hold, QEMU's
`migration/migration.c`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.wire.channel import ChannelReader
from migmatrix.vmstate.wire.constants import ReturnCode
from migmatrix.vmstate.wire.events import pstr

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.ram import Steps

__all__ = ["END_MARK", "ReceivedBitmap", "RequestPages", "ReturnMessage", "ReturnPathReader"]

END_MARK: Final = 0x0123456789ABCDEF
_LENGTHS: Final = {
    ReturnCode.SHUT: 4,
    ReturnCode.PONG: 4,
    ReturnCode.REQ_PAGES: 12,
    ReturnCode.RESUME_ACK: 4,
    ReturnCode.SWITCHOVER_ACK: 0,
}


class ReturnMessage(Record):
    """SHUT (0 fine, 1 failed), PONG, RESUME_ACK with their u32 `value`; SWITCHOVER_ACK with none."""

    code: ReturnCode
    value: int | None = None
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        data = b"" if self.value is None else struct.pack(">I", self.value)
        return struct.pack(">HH", self.code, len(data)) + data


class RequestPages(Record):
    """The destination wants `length` bytes from `start` of `block` (None: that of the last request)."""

    start: int
    length: int
    block: str | None = None
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        code = ReturnCode.REQ_PAGES if self.block is None else ReturnCode.REQ_PAGES_ID
        data = struct.pack(">QI", self.start, self.length)
        if self.block is not None:
            data += pstr(self.block)
        return struct.pack(">HH", code, len(data)) + data


class ReceivedBitmap(Record):
    """Which pages of `block` have arrived: one bit each, lowest first."""

    block: str
    bitmap: bytes
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        name = pstr(self.block)
        head = struct.pack(">HH", ReturnCode.RECV_BITMAP, len(name)) + name
        return head + struct.pack(">Q", len(self.bitmap)) + self.bitmap + struct.pack(">Q", END_MARK)


class ReturnPathReader(ChannelReader):
    """Reader of one return path; it may end after any message."""

    def _read(self) -> Steps:
        while not (yield from self._ended()):
            yield from self._message()

    def _message(self) -> Steps:
        window, offset = self._window, self._window.offset
        yield from window.want(4, "return")
        number, length = struct.unpack(">HH", window.peek(4))
        try:
            code = ReturnCode(number)
        except ValueError as error:
            raise StreamError(offset, "return.type", "1 to 7", f"found {number}") from error
        path = f"return {code.name}"
        if _LENGTHS.get(code, length) != length:
            raise StreamError(offset + 2, f"{path}.len", f"{_LENGTHS[code]}", f"found {length}")
        yield from window.want(4 + length, path)
        window.take(4)
        data = bytes(window.take(length))
        if code is ReturnCode.RECV_BITMAP:
            yield from self._bitmap(_name(data, offset, path), offset)
        elif code in (ReturnCode.REQ_PAGES, ReturnCode.REQ_PAGES_ID):
            yield _request(data, offset, path)
        else:
            yield ReturnMessage(code, int.from_bytes(data) if data else None, offset)

    def _bitmap(self, block: str, offset: int) -> Steps:
        window, path = self._window, f"return RECV_BITMAP/{block}"
        yield from window.want(8, f"{path}.size")
        size = int.from_bytes(window.peek(8))
        yield from window.want(16 + size, path)
        window.take(8)
        bitmap = bytes(window.take(size))
        mark = int.from_bytes(window.peek(8))
        if mark != END_MARK:
            raise StreamError(window.offset, f"{path}.end", f"{END_MARK:#x}", f"found {mark:#x}")
        window.take(8)
        yield ReceivedBitmap(block, bitmap, offset)


def _request(data: bytes, offset: int, path: str) -> RequestPages:
    if len(data) < 12:  # noqa: PLR2004 - u64 and u32
        raise StreamError(offset, path, "at least 12 bytes", f"read {len(data)}")
    start, length = struct.unpack_from(">QI", data)
    block = _name(data[12:], offset, path) if len(data) > 12 else None  # noqa: PLR2004
    return RequestPages(start, length, block, offset)


def _name(data: bytes, offset: int, path: str) -> str:
    if not data or len(data) != 1 + data[0]:
        raise StreamError(offset, f"{path}.block", "a name that fills the message", f"found {data!r}")
    return data[1:].decode("latin-1")

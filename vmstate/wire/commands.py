# SPDX-License-Identifier: Apache-2.0
"""Payloads of the MIG_CMD elements: their lengths and their named values.

`check_length` refuses what QEMU's loader refuses; POSTCOPY_ADVISE may also be empty (dirty bitmaps only).
Source: captures of postcopy and recovery, 5.2 to 11.1.
"""

from __future__ import annotations

import struct
from typing import Any, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire.constants import CommandCode

__all__ = ["advise", "check_length", "describe", "discard", "ping", "recv_bitmap"]

_LENGTHS: Final = {
    CommandCode.OPEN_RETURN_PATH: (0,),
    CommandCode.PING: (4,),
    CommandCode.POSTCOPY_ADVISE: (16, 0),
    CommandCode.POSTCOPY_LISTEN: (0,),
    CommandCode.POSTCOPY_RUN: (0,),
    CommandCode.PACKAGED: (4,),
    CommandCode.ENABLE_COLO: (0,),
    CommandCode.POSTCOPY_RESUME: (0,),
    CommandCode.SWITCHOVER_START: (0,),
}


def check_length(code: CommandCode, length: int, offset: int) -> None:
    """StreamError unless a payload of `code` may have `length` bytes."""
    wanted = _LENGTHS.get(code)
    if wanted is not None and length not in wanted:
        raise StreamError(
            offset, f"command {code.name}.len", " or ".join(map(str, wanted)), f"found {length}"
        )


def describe(code: CommandCode, data: bytes, offset: int = -1) -> dict[str, Any]:
    """Named values of a payload; StreamError when it has another form."""
    check_length(code, len(data), offset)
    if code is CommandCode.PING:
        return {"value": int.from_bytes(data)}
    if code is CommandCode.POSTCOPY_ADVISE and data:
        sizes, page = struct.unpack(">QQ", data)
        return {"page_sizes": sizes, "target_page_size": page}
    if code is CommandCode.RECV_BITMAP:
        return {"block": _name(data, offset)[0]}
    if code is CommandCode.POSTCOPY_RAM_DISCARD:
        return _discard(data, offset)
    return {}


def _name(data: bytes, offset: int) -> tuple[str, bytes]:
    """The pstr at the start of `data`, and the rest."""
    if not data or len(data) <= data[0]:
        found = f"read {max(len(data) - 1, 0)}"
        raise StreamError(offset, "command.block", f"{data[0] if data else 1} bytes", found)
    return data[1 : 1 + data[0]].decode("latin-1"), data[1 + data[0] :]


def _discard(data: bytes, offset: int) -> dict[str, Any]:
    block, rest = _name(data[1:], offset)
    if data[0] or not rest or rest[0] or (len(rest) - 1) % 16:
        raise StreamError(offset, "command POSTCOPY_RAM_DISCARD", "version 0 and pairs", f"{len(data)} bytes")
    ranges = [tuple(pair) for pair in struct.iter_unpack(">QQ", rest[1:])]
    return {"block": block, "ranges": ranges}


def ping(value: int) -> bytes:
    """Payload of a PING."""
    return struct.pack(">I", value)


def advise(page_sizes: int, target_page_size: int) -> bytes:
    """Payload of a POSTCOPY_ADVISE: OR of all block page sizes in bytes, and the target's page size."""
    return struct.pack(">QQ", page_sizes, target_page_size)


def discard(block: str, ranges: list[tuple[int, int]]) -> bytes:
    """Payload of a POSTCOPY_RAM_DISCARD: (start, length) pairs in bytes."""
    pairs = b"".join(struct.pack(">QQ", *pair) for pair in ranges)
    return b"\0" + recv_bitmap(block) + b"\0" + pairs


def recv_bitmap(block: str) -> bytes:
    """Payload of a RECV_BITMAP."""
    name = block.encode("latin-1")
    return bytes((len(name),)) + name

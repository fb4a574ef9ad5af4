# SPDX-License-Identifier: Apache-2.0
"""How the pages of a packet become its data, and back: as they are, or packed by zlib or zstd.

1. A channel is one stream of its method: a packer or unpacker belongs to one channel and sees its packets in order.
2. An unpacker makes exactly as many bytes as are asked for, or raises `PacketError` with QEMU's words; it never makes
   more than that.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final, Protocol

from migmatrix.emulator.migration.multifd import PacketError
from migmatrix.vmstate.wire.multifd import MultifdFlag

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FLAGS", "Packer", "Unpacker", "packer", "unpacker"]

FLAGS: Final[dict[str, int]] = {"none": 0, "zlib": int(MultifdFlag.ZLIB), "zstd": int(MultifdFlag.ZSTD)}


class Packer(Protocol):
    """Pages of a channel, packet by packet."""

    def pack(self, pages: bytes) -> bytes:
        """The data of a packet."""


class Unpacker(Protocol):
    """The other way round."""

    def unpack(self, data: bytes, size: int) -> bytes:
        """Exactly `size` bytes of pages; PacketError."""


class _Plain:
    """Pages as they are."""

    def pack(self, pages: bytes) -> bytes:
        """The pages."""
        return pages

    def unpack(self, data: bytes, size: int) -> bytes:
        """The pages; their size was checked."""
        del size
        return data


class _Deflate:
    def __init__(self, level: int) -> None:
        self._stream = zlib.compressobj(level)

    def pack(self, pages: bytes) -> bytes:
        """All that went in comes out with this packet."""
        return self._stream.compress(pages) + self._stream.flush(zlib.Z_SYNC_FLUSH)


class _Inflate:
    def __init__(self, channel: int) -> None:
        self._stream = zlib.decompressobj()
        self._opening = f"multifd {channel}:"

    def unpack(self, data: bytes, size: int) -> bytes:
        """As many bytes as the pages have."""
        try:
            pages = self._stream.decompress(data, size + 1)  # or the mark at the end of a packet stays behind
        except zlib.error as error:
            code = "".join(c for c in str(error).split(":")[0] if c in "-0123456789") or "-3"
            raise PacketError(f"{self._opening} inflate returned {code} instead of Z_OK") from error
        if len(pages) < size:
            raise PacketError(f"{self._opening} inflate generated too few output")
        if len(pages) > size:
            raise PacketError(f"{self._opening} packet size received {len(pages)} size expected {size}")
        return pages


def _zstd_packer(level: int) -> Packer:
    from migmatrix.emulator.migration.multifd_zstd import Compressor  # noqa: PLC0415 - needs a library

    return Compressor(level)


def _zstd_unpacker(channel: int) -> Unpacker:
    from migmatrix.emulator.migration.multifd_zstd import Decompressor  # noqa: PLC0415 - as above

    return Decompressor(channel)


_PACKERS: Final[dict[str, Callable[[int], Packer]]] = {
    "none": lambda _: _Plain(), "zlib": _Deflate, "zstd": _zstd_packer,
}  # fmt: skip
_UNPACKERS: Final[dict[str, Callable[[int], Unpacker]]] = {
    "none": lambda _: _Plain(), "zlib": _Inflate, "zstd": _zstd_unpacker,
}  # fmt: skip


def packer(method: str, level: int) -> Packer:
    """A packer for one channel."""
    return _PACKERS[method](level)


def unpacker(method: str, channel: int) -> Unpacker:
    """An unpacker for the channel of this number."""
    return _UNPACKERS[method](channel)

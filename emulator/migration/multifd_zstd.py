# SPDX-License-Identifier: Apache-2.0
"""zstd for multifd, by the system's `libzstd`: a stream for each channel, flushed with each packet.

The emulator runs on a bare Python without packages (`harness/builds/bundle.py`), so it calls the library itself. Where
there is none it is like a QEMU that was built without zstd. Names and numbers: `zstd.h`, stable since 1.4.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any, Final

from migmatrix.emulator.migration.multifd import PacketError

__all__ = ["Compressor", "Decompressor", "available"]

_NAME: Final = "libzstd.so.1"
_LEVEL: Final = 100  # ZSTD_c_compressionLevel
_FLUSH: Final = 1  # ZSTD_e_flush
_SPARE: Final = 1 << 16  # room beside the bound of what pages become


class _Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer. Not made by `cast`, whose reference cycles keep data until they are collected."""

    _fields_ = (("data", ctypes.c_char_p), ("size", ctypes.c_size_t), ("at", ctypes.c_size_t))


@cache
def _library() -> Any:
    """The library with the types of what is called; None where there is none."""
    try:
        library = ctypes.CDLL(_NAME)
    except OSError:
        return None
    pointer, size, buffer = ctypes.c_void_p, ctypes.c_size_t, ctypes.POINTER(_Buffer)
    types: dict[str, tuple[Any, tuple[Any, ...]]] = {
        "ZSTD_createCCtx": (pointer, ()),
        "ZSTD_freeCCtx": (size, (pointer,)),
        "ZSTD_CCtx_setParameter": (size, (pointer, ctypes.c_int, ctypes.c_int)),
        "ZSTD_compressStream2": (size, (pointer, buffer, buffer, ctypes.c_int)),
        "ZSTD_createDCtx": (pointer, ()),
        "ZSTD_freeDCtx": (size, (pointer,)),
        "ZSTD_decompressStream": (size, (pointer, buffer, buffer)),
        "ZSTD_compressBound": (size, (size,)),
        "ZSTD_isError": (ctypes.c_uint, (size,)),
        "ZSTD_getErrorName": (ctypes.c_char_p, (size,)),
    }
    for name, (result, arguments) in types.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def available() -> bool:
    """Whether there is such a library."""
    return _library() is not None


def _input(data: bytes) -> _Buffer:
    return _Buffer(data, len(data), 0)


def _output(size: int) -> tuple[Any, _Buffer]:
    room = ctypes.create_string_buffer(size)
    return room, _Buffer(ctypes.addressof(room), size, 0)


class Compressor:
    """One channel's pages, packed."""

    def __init__(self, level: int) -> None:
        self._library = _library()
        self._context = self._library.ZSTD_createCCtx()
        self._library.ZSTD_CCtx_setParameter(self._context, _LEVEL, level)

    def __del__(self) -> None:
        self._library.ZSTD_freeCCtx(self._context)

    def pack(self, pages: bytes) -> bytes:
        """All that went in comes out with this packet."""
        source = _input(pages)
        room, out = _output(self._library.ZSTD_compressBound(len(pages)) + _SPARE)
        left = self._library.ZSTD_compressStream2(
            self._context, ctypes.byref(out), ctypes.byref(source), _FLUSH
        )
        if self._library.ZSTD_isError(left):
            raise RuntimeError(self._library.ZSTD_getErrorName(left).decode())
        assert not left and source.at == source.size  # noqa: S101, PT018 - the room is the library's own bound
        return bytes(memoryview(room)[: out.at])


class Decompressor:
    """The other way round, for the channel of this number."""

    def __init__(self, channel: int) -> None:
        self._library = _library()
        self._context = self._library.ZSTD_createDCtx()
        self._opening = f"multifd {channel}:"

    def __del__(self) -> None:
        self._library.ZSTD_freeDCtx(self._context)

    def unpack(self, data: bytes, size: int) -> bytes:
        """Exactly `size` bytes of pages, or PacketError."""
        source = _input(data)
        room, out = _output(size + 1)
        before = -1, -1
        while (source.at, out.at) != before:  # all that came is to be used, for the next packet follows it
            before = source.at, out.at
            code = self._library.ZSTD_decompressStream(self._context, ctypes.byref(out), ctypes.byref(source))
            if self._library.ZSTD_isError(code):
                words = self._library.ZSTD_getErrorName(code).decode()
                raise PacketError(f"{self._opening} decompressStream returned {words}")
        if out.at != size:
            words = "decompressStream buffer too small"
            if out.at > size:
                words = f"packet size received {out.at} size expected {size}"
            raise PacketError(f"{self._opening} {words}")
        return bytes(memoryview(room)[: out.at])

# SPDX-License-Identifier: Apache-2.0
"""Copies what cannot be mapped as it is to a temporary file: packed streams, and pipes; see `harness.streams.file`."""

from __future__ import annotations

import bz2
import lzma
import shutil
import tempfile
import zlib
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile
from typing import IO, TYPE_CHECKING, Final

import zstandard

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["copied", "unpacked"]

_PIECE: Final = 1 << 20
_ZSTD_PIECE: Final = 1 << 10  # packed bytes at once: these become 32 MB at most


@contextmanager
def copied(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """A temporary file with all that comes out of `file`."""
    with tempfile.TemporaryFile() as plain:
        shutil.copyfileobj(file, plain, _PIECE)
        plain.flush()
        yield plain


@contextmanager
def unpacked(file: IO[bytes], path: str, packing: str) -> Iterator[IO[bytes]]:
    """A temporary file with what is packed from the place of `file` on; UserError when that is damaged or ends early."""
    with tempfile.TemporaryFile() as plain:
        try:
            for piece in _UNPACK[packing](file):
                plain.write(piece)
        except EOFError as error:
            raise UserError(f"cannot unpack {path!r}: the {packing} data ends early") from error
        except (BadGzipFile, zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
            raise UserError(f"cannot unpack {path!r}: {error}") from error
        plain.flush()
        yield plain


def _pieces(
    packed: IO[bytes] | GzipFile | lzma.LZMAFile | bz2.BZ2File, size: int = _PIECE
) -> Iterator[bytes]:
    return iter(lambda: packed.read(size), b"")


def _gzip(file: IO[bytes]) -> Iterator[bytes]:
    return _pieces(GzipFile(fileobj=file))


def _xz(file: IO[bytes]) -> Iterator[bytes]:
    return _pieces(lzma.LZMAFile(file))


def _bzip2(file: IO[bytes]) -> Iterator[bytes]:
    packed = bz2.BZ2File(file)
    try:
        yield from _pieces(packed)
    except OSError as error:
        if error.errno is not None:
            raise
        raise lzma.LZMAError(str(error)) from error  # bz2 has no error of its own


def _zstd(file: IO[bytes]) -> Iterator[bytes]:
    """All frames; EOFError for one that is cut off, which `copy_stream` takes as whole."""
    frame = zstandard.ZstdDecompressor().decompressobj()
    for piece in _pieces(file, _ZSTD_PIECE):
        rest = piece
        while rest:
            if frame.eof:
                frame = zstandard.ZstdDecompressor().decompressobj()
            yield frame.decompress(rest)
            rest = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise EOFError


_UNPACK: Final[dict[str, Callable[[IO[bytes]], Iterator[bytes]]]] = {
    "gzip": _gzip,
    "zstd": _zstd,
    "xz": _xz,
    "bzip2": _bzip2,
}

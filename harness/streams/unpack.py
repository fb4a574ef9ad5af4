# SPDX-License-Identifier: Apache-2.0
"""Copies what cannot be mapped as it is to a temporary file: packed streams, and pipes; see `harness.streams.file`.

Python or a library unpacks what they know; lz4 and lzop are unpacked by the programs of these names, where they are
installed.
"""

from __future__ import annotations

import bz2
import lzma
import os
import shutil
import subprocess
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
            if packing in _UNPACK:
                plain.writelines(_UNPACK[packing](file))
            else:
                _run(packing, file, path, plain)
        except EOFError as error:
            raise UserError(f"cannot unpack {path!r}: the {packing} data ends early") from error
        except (BadGzipFile, zlib.error, zstandard.ZstdError, lzma.LZMAError) as error:
            raise UserError(f"cannot unpack {path!r}: {error}") from error
        plain.flush()
        yield plain


def _run(program: str, file: IO[bytes], path: str, plain: IO[bytes]) -> None:
    """Let `program` unpack; UserError when it is not installed, or does not like what it gets."""
    found = shutil.which(program)
    if found is None:
        raise UserError(
            f"{path!r} is packed by {program}, which is not installed: install or unpack it first"
        )
    os.lseek(file.fileno(), file.tell(), os.SEEK_SET)  # where `file` is, whatever it has read ahead
    done = subprocess.run([found, "-dc"], stdin=file, stdout=plain, stderr=subprocess.PIPE, check=False)
    if done.returncode:
        said = done.stderr.decode(errors="replace").split("\n")
        why = next((line.strip() for line in reversed(said) if line.strip()), f"exit code {done.returncode}")
        raise UserError(f"cannot unpack {path!r}: {why}")


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

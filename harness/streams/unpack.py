# SPDX-License-Identifier: Apache-2.0
"""Unpacks a compressed stream to a temporary file, so that it can be mapped; see `harness.streams.file`."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from contextlib import contextmanager
from gzip import BadGzipFile, GzipFile
from typing import IO, TYPE_CHECKING

import zstandard

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["unpacked"]


@contextmanager
def unpacked(file: IO[bytes], path: str, *, gzip: bool) -> Iterator[IO[bytes]]:
    """A temporary file with the contents of `file`, zstd or `gzip`; UserError when it is damaged."""
    with tempfile.TemporaryFile() as plain:
        try:
            (_gzip if gzip else _zstd)(file, plain)
        except (EOFError, BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise UserError(f"cannot unpack {path!r}: {error}") from error
        plain.flush()
        yield plain


def _gzip(file: IO[bytes], plain: IO[bytes]) -> None:
    with GzipFile(fileobj=file) as packed:
        shutil.copyfileobj(packed, plain, 1 << 20)


def _zstd(file: IO[bytes], plain: IO[bytes]) -> None:
    zstandard.ZstdDecompressor().copy_stream(file, plain)

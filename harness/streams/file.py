# SPDX-License-Identifier: Apache-2.0
"""Open a stream file: map it, and give the memory of what was read back to the system.

So memory stays small whatever the file's size. Compressed files (zstd, gzip) are unpacked to a temporary file; the
import for that comes with such a file only, as it takes longer than reading a small stream.
"""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Final

from migmatrix.harness.errors import UserError
from migmatrix.vmstate.errors import StreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source", "open_stream"]

_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class Source:
    """A mapped file. `data` is the buffer, `release` gives memory of a range back to the system."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file.fileno()
        self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        self.data = memoryview(self._map)

    def release(self, start: int, end: int) -> None:
        """Give back the memory of the bytes from `start` to `end`; they can be read again."""
        first = (
            start // mmap.PAGESIZE * mmap.PAGESIZE
        )  # outwards: records of a page and 8 bytes hold no whole page
        last = min(-(-end // mmap.PAGESIZE) * mmap.PAGESIZE, len(self.data))
        if last > first:
            self._map.madvise(mmap.MADV_DONTNEED, first, last - first)

    def read(self, start: int, into: memoryview) -> None:
        """Fill `into` from offset `start`; OSError when the file has become shorter."""
        if os.preadv(self._file, (into,), start) != len(into):
            raise OSError(errno.EIO, "it became shorter while it was read")


@contextmanager
def open_stream(path: str) -> Iterator[Source]:
    """Map the file at `path`; UserError when it cannot be read or is empty."""
    try:
        with open(path, "rb") as file, _plain(file, path) as plain:  # noqa: PTH123 - pathlib takes 4 ms to import
            yield Source(plain)
    except OSError as error:
        raise UserError(f"cannot read {path!r}: {error.strerror or error}") from error
    except ValueError as error:
        if isinstance(error, StreamError):
            raise
        raise UserError(f"{path!r} is empty") from error


@contextmanager
def _plain(file: IO[bytes], path: str) -> Iterator[IO[bytes]]:
    """The file itself, or a temporary one with its unpacked contents."""
    magic = file.read(4)
    file.seek(0)
    if magic != _ZSTD and magic[:2] != _GZIP:
        yield file
        return
    from migmatrix.harness.streams.unpack import unpacked  # noqa: PLC0415 - see the docstring

    with unpacked(file, path, gzip=magic != _ZSTD) as plain:
        yield plain

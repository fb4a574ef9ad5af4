# SPDX-License-Identifier: Apache-2.0
"""Writes guest memory of a stream to files, one for each block, with holes where pages are zero; gives one page.

A block's name is the sender's, so that all but plain characters of it are written as ``%2f``; no file is overwritten.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import UserError
from migmatrix.harness.streams.file import byte_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.ramimage import BlockImage
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["dumped", "extract", "page"]

_LINE: Final = 16  # bytes
_OTHER: Final = re.compile(r"[^\w@.-]|^\.", re.ASCII)


def extract(stream: Stream, directory: str) -> Iterator[dict[str, Any]]:
    """Write all blocks to `directory`, made when it is not there: of each its name, file, and size in bytes.

    UserError for a file that is there or cannot be written; StreamError for a damaged page.
    """
    for block in stream.ram.blocks.values():
        path = Path(directory) / _OTHER.sub(lambda found: f"%{ord(found[0]):02x}", block.name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                _write(block, out, path)
        except OSError as error:
            raise UserError(f"cannot write {str(path)!r}: {error.strerror or error}") from error
        yield {"block": block.name, "file": str(path), "size": block.used_length}


def _write(block: BlockImage, out: IO[bytes], path: Path) -> None:
    """Fill the new file; what is not whole does not stay."""
    try:
        for offset, page in block.pages():
            out.seek(offset)
            out.write(page)
        out.truncate(block.used_length)
    except BaseException:
        path.unlink()
        raise


def page(stream: Stream, place: str) -> tuple[str, int, bytes]:
    """The page at a place as ``pc.ram:0x1f000``: block, offset of the page, its bytes; UserError for no such place."""
    name, _, number = place.rpartition(":")
    block = stream.ram.blocks.get(name)
    if block is None:
        raise UserError(f"there is no memory block {name!r}, only {', '.join(map(repr, stream.ram.blocks))}")
    offset = byte_count(number)
    if offset >= block.used_length:
        raise UserError(f"memory block {name!r} has {block.used_length:#x} bytes, so none at {offset:#x}")
    start = offset - offset % block.page_size
    found = (bytes(data) for at, data in block.pages() if at == start)
    return name, start, next(found, bytes(block.page_size))


def dumped(start: int, data: bytes) -> Iterator[str]:
    """Lines of 16 bytes with their offset, as hex and as text; more that are the same are one ``*``."""
    for line, places in groupby(range(0, len(data), _LINE), lambda at: data[at : at + _LINE]):
        first, *more = places
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in line)  # noqa: PLR2004 - ASCII
        yield f"{start + first:#010x}  {line.hex(' ')}  {text}"
        if more:
            yield "*"

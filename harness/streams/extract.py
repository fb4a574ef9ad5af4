# SPDX-License-Identifier: Apache-2.0
"""Writes guest memory of a stream to files, one for each block, with holes where pages are zero.

A block's name is the sender's, so that all but plain characters of it are written as ``%2f``; no file is overwritten.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.view.ramimage import BlockImage
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["extract"]

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

# SPDX-License-Identifier: Apache-2.0
"""Which pages of a block came, as a destination tells it after a broken link; or are in a file, as `mapped_ram` has it.

On the wire a bit for each page, lowest first, 1 for a page that came, in whole words of 64 bits; in memory a byte for
each page. Both ways take time that grows with the pages and no faster.
"""

from __future__ import annotations

from typing import Final

__all__ = ["missing", "packed", "wire_size"]

_WORD: Final = 64
_TO_DIGITS: Final = bytes.maketrans(b"\0\1", b"01")
_INVERTED: Final = bytes.maketrans(b"01", b"\1\0")


def wire_size(pages: int) -> int:
    """Bytes of the bitmap of a block."""
    return -(-pages // _WORD) * _WORD // 8


def packed(received: bytes | bytearray, pages: int) -> bytes:
    """The bitmap of the first `pages` pages, from bytes that are 1 for a page that came."""
    digits = bytes(received[:pages][::-1]).translate(_TO_DIGITS)
    return int(digits or b"0", 2).to_bytes(wire_size(pages), "little")


def missing(bitmap: bytes, pages: int) -> bytearray:
    """A byte for each page, 1 for one that did not come."""
    bits = int.from_bytes(bitmap, "little") & ((1 << pages) - 1)
    digits = f"{bits:0{pages}b}".encode() if pages else b""
    return bytearray(digits[::-1].translate(_INVERTED))

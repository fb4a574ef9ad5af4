# SPDX-License-Identifier: Apache-2.0
"""XBZRLE: a page as its difference from the page before, in runs.

Runs of unchanged bytes and runs of new bytes alternate, each with its length as a ULEB128 number; the new bytes
follow their length. Source: QEMU's `docs/devel/migration/features` on XBZRLE, checked with crafted pages.
"""

from __future__ import annotations

from typing import Final

__all__ = ["decode_page"]

_LONGEST: Final = 2  # bytes of a length: pages have 4096


def decode_page(encoded: bytes, old: bytes) -> bytes | None:
    """`old` with the differences applied; None when they do not fit."""
    page = bytearray(old)
    at = offset = 0
    fresh = False
    while at < len(encoded):
        length, at = _length(encoded, at)
        if length is None or offset + length > len(page) or (not length and (fresh or at > _LONGEST)):
            return None
        if fresh:
            if at + length > len(encoded):
                return None
            page[offset : offset + length] = encoded[at : at + length]
            at += length
        offset += length
        fresh = not fresh
    return bytes(page)


def _length(encoded: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for index in range(_LONGEST):
        if at + index >= len(encoded):
            return None, at
        byte = encoded[at + index]
        value |= (byte & 0x7F) << 7 * index
        if not byte & 0x80:
            return value, at + index + 1
    return None, at

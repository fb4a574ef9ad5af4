# SPDX-License-Identifier: Apache-2.0
"""XBZRLE: a page as its difference from the page before, in runs.

Runs of unchanged bytes and runs of new bytes alternate, each with its length as a ULEB128 number; the new bytes
follow their length. Source: QEMU's `docs/devel/migration/features` on XBZRLE, checked with crafted pages.
The source keeps pages as it sent them in a `PageCache`, which behaves as QEMU's: a page has one place in it, by its
address, and a fresh page there is not driven out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.memory import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PageCache", "decode_page", "encode_page"]

_LONGEST: Final = 2  # bytes of a length: pages have 4096
_FRESH: Final = 2  # passes for which a page keeps its place
_CHANGED: Final = re.compile(rb"[^\0]+")


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


def encode_page(old: bytes, new: bytes) -> bytes | None:
    """What makes `new` of `old`, empty when they are equal; None when it is no shorter than a page."""
    pieces: list[bytes] = []
    at = size = 0
    difference = int.from_bytes(old, "little") ^ int.from_bytes(new, "little")
    for run in _CHANGED.finditer(difference.to_bytes(len(new), "little")):
        first, end = run.span()
        piece = b"%b%b%b" % (_uleb(first - at), _uleb(end - first), new[first:end])
        size += len(piece)
        if size > len(new):
            return None
        pieces.append(piece)
        at = end
    return b"".join(pieces)


def _uleb(value: int) -> bytes:
    return bytes((value,)) if value < 0x80 else bytes((value & 0x7F | 0x80, value >> 7))  # noqa: PLR2004 - 7 bits a byte


class PageCache:
    """Pages as they were sent; the figures are those of `query-migrate`.

    Its size is looked up in `parameters` at each page: a new one empties it.
    """

    def __init__(self, parameters: Mapping[str, Any]) -> None:
        self._parameters = parameters
        self._slots: dict[int, tuple[int, int, bytes]] = {}  # address, pass of the last use, content
        self._places = 0
        self.started = False  # after the first round: before it no page was sent twice
        self.pages = self.bytes = self.misses = self.overflows = 0
        self.miss_rate = self.encoding_rate = 0.0
        self._before = (0, 0, 0)  # pages, bytes and misses at the beginning of the period

    def _slot(self, address: int) -> int:
        places: int = self._parameters["xbzrle-cache-size"] // PAGE_SIZE
        if places != self._places:
            self._places, self._slots = places, {}
        return address // PAGE_SIZE & (places - 1)

    def keep(self, address: int, content: bytes, number: int) -> None:
        """A page is being sent as it is in pass `number`: keep it if its place is free for it."""
        slot = self._slot(address)
        kept = self._slots.get(slot)
        if kept is None or kept[0] == address or kept[1] + _FRESH <= number:
            self._slots[slot] = (address, number, content)

    def encode(self, address: int, content: bytes, number: int, *, last: bool) -> bytes | None:
        """The encoded page, b"" if nothing need be sent, None if the whole page must be.

        In the `last` stage nothing is kept any more.
        """
        slot = self._slot(address)
        kept = self._slots.get(slot)
        if kept is None or kept[0] != address:
            self.misses += 1
            if not last:
                self.keep(address, content, number)
            return None
        self.pages += 1
        encoded = encode_page(kept[2], content)
        if not last:
            self.keep(address, content, number)
        if encoded is None:
            self.overflows += 1
        self.bytes += PAGE_SIZE if encoded is None else len(encoded) + 3 if encoded else 0
        return encoded

    def period(self, sent: int) -> None:
        """A period is over in which so many pages were sent."""
        pages, size, misses = (now - before for now, before in zip(self._now(), self._before, strict=True))
        if sent:
            self.miss_rate = misses / sent
            self.encoding_rate = pages * PAGE_SIZE / size if pages and size else 0.0
        self._before = self._now()

    def _now(self) -> tuple[int, int, int]:
        return self.pages, self.bytes, self.misses

    def figures(self) -> dict[str, Any]:
        """`xbzrle-cache` of `query-migrate`."""
        return {
            "cache-size": self._parameters["xbzrle-cache-size"],
            "bytes": self.bytes,
            "pages": self.pages,
            "cache-miss": self.misses,
            "cache-miss-rate": self.miss_rate,
            "encoding-rate": self.encoding_rate,
            "overflow": self.overflows,
        }

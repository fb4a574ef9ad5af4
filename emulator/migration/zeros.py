# SPDX-License-Identifier: Apache-2.0
"""Records of zero pages, many at once: what an idle guest's memory is in a stream.

A record is a word (the page's offset and flags, 8 bytes) and the fill byte 0. Those of a run differ by a page each,
so a run is one big number: the run at offset 0, plus the offset in each word. No record is made by itself.
"""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.vmstate.wire.constants import RamFlag

__all__ = ["MOST", "RECORD", "ZERO", "zero_records"]

ZERO: Final = int(RamFlag.ZERO | RamFlag.CONTINUE)  # of a record that does not name its block
RECORD: Final = 9  # bytes
MOST: Final = 256  # pages


def _number(words: list[int]) -> int:
    return int.from_bytes(b"".join(word.to_bytes(8) + b"\0" for word in words))


_FIRST: Final = _number([page * PAGE_SIZE | ZERO for page in range(MOST)])
_ONES: Final = _number([1] * MOST)


def zero_records(start: int, count: int) -> bytes:
    """The records of `count` pages, at most `MOST`, from the offset `start` on."""
    return (_FIRST + start * _ONES).to_bytes(RECORD * MOST)[: RECORD * count]

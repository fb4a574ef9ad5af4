# SPDX-License-Identifier: Apache-2.0
"""A link that strikes when a migration is at a chosen place of its stream, after exactly so many bytes.

The destination gets what is before the place and nothing behind it; what the source has written meanwhile is lost.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, NamedTuple

from cut_link import NEVER, CutLink

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["FatalLink", "Moment"]

_PACKAGED = b"\x08\x00\x07\x00\x04"  # MIG_CMD_PACKAGED, with its four bytes of length


class Moment(NamedTuple):
    """`part` of a stage: of `size` bytes from the `begin` or behind the package (`pages`), or of the `package`; `end`: never."""

    stage: str
    part: float
    size: int = 0


class FatalLink(CutLink):
    """Calls `strike` at the moment, once, then closes both ends."""

    def __init__(self, front: Path, back: Path, moment: Moment, strike: Callable[[], object]) -> None:
        self._moment, self._strike = moment, strike
        self._package: tuple[int, int] | None = None  # where it begins and ends
        self.struck = threading.Event()
        super().__init__(front, back, keeps=True)

    def _room(self, way: int, kept: bytearray | None, data: bytes) -> int:
        if way or kept is None:
            return NEVER
        if self._package is None:
            self._package = _package(bytes(kept) + data)
        place = self._place()
        return NEVER if place is None else max(0, place - len(kept))

    def _place(self) -> int | None:
        """The byte of the moment, as soon as it is known."""
        stage, part, size = self._moment
        if stage == "begin":
            return int(part * size)
        if self._package is None or stage == "end":
            return None
        begin, end = self._package
        return begin + int(part * (end - begin)) if stage == "package" else end + int(part * size)

    def _cut(self) -> None:
        if not self.struck.is_set():
            self._strike()
            self.struck.set()
        super()._cut()


def _package(data: bytes) -> tuple[int, int] | None:
    """Where the package of a stream begins and ends."""
    begin = data.find(_PACKAGED)
    if begin < 0 or len(data) < begin + 9:
        return None
    return begin, begin + 9 + int.from_bytes(data[begin + 5 : begin + 9])

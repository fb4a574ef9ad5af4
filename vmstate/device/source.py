# SPDX-License-Identifier: Apache-2.0
"""Inputs of a load: all bytes at once, or a `Window` that a caller fills on demand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.wire.window import Window

__all__ = ["BytesSource", "WindowSource"]


class BytesSource:
    """A section's payload in memory; `base` is its offset in the stream. It may end where the stream goes on."""

    fell_short = False

    def __init__(self, data: bytes | bytearray | memoryview, base: int = 0) -> None:
        self._data = memoryview(data).cast("B")
        self._base = base
        self._at = 0

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._base + self._at

    @property
    def left(self) -> int:
        """Bytes that remain."""
        return len(self._data) - self._at

    def take(self, count: int) -> memoryview:
        """Consume up to `count` bytes; a view without a copy."""
        taken = self._data[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Up to `count` bytes from `skip` bytes ahead."""
        first = self._at + skip
        return bytes(self._data[first : first + count])


class WindowSource:
    """A `Window` that `fill` feeds during the load: in live loading a payload has no length of its own.

    `fill` feeds the window at least one more byte and returns True, or returns False at the end.
    """

    fell_short = False  # nobody asks for QEMU's words here

    def __init__(self, window: Window, fill: Callable[[], bool]) -> None:
        self._window = window
        self._fill = fill

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        return self._window.offset

    def _want(self, count: int) -> int:
        while self._window.available < count:
            if not self._fill():
                break
        return min(count, self._window.available)

    def take(self, count: int) -> bytes | memoryview:
        """Wait for up to `count` bytes and consume them; holds no more than has arrived."""
        return self._window.take(self._want(count))

    def peek(self, count: int, skip: int = 0) -> bytes:
        """Wait for up to `count` bytes from `skip` bytes ahead; consumes nothing."""
        self._want(skip + count)
        return self._window.peek(count, skip)

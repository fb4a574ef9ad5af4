# SPDX-License-Identifier: Apache-2.0
"""The one error of this package: the bytes are not what the format asks for.

`StreamError` says where (offset from the start of the stream, in bytes, and a path of names such as
``serial/fifo[3].len``), what the format expects there and what the reader found. Every kind of bad or cut-off
input raises it; anything else that escapes from this package is a bug of ours.
"""

from __future__ import annotations

__all__ = ["StreamError"]


class StreamError(ValueError):
    """Bytes that are not a valid stream.

    `offset` counts bytes from the start of the stream (0 when the input is not a stream but, say, a
    description); `path` names the element, outermost first; `expected` and `found` are plain phrases
    (``8 bytes``, ``read 3``). The message is
    ``offset 0x1234 (serial/fifo[3].len): expected 8 bytes, read 3``.
    """

    def __init__(self, offset: int, path: str, expected: str, found: str) -> None:
        super().__init__(offset, path, expected, found)
        self.offset = offset
        self.path = path
        self.expected = expected
        self.found = found

    def __str__(self) -> str:
        return f"offset {self.offset:#x} ({self.path}): expected {self.expected}, {self.found}"

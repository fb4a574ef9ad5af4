# SPDX-License-Identifier: Apache-2.0
"""Uncompressed streams that loads of this run read: a bounded cache in front of the leg store.

Streams are large and soon not needed any more: the least recently used go first once all take more than the limit.
One that is being loaded is pinned and stays.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["StreamCache"]


class StreamCache:
    """Files named by leg keys in `directory`, together at most `limit` bytes but for pinned ones."""

    def __init__(self, directory: Path, limit: int) -> None:
        self._directory = directory
        self._limit = limit
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._pins: Counter[str] = Counter()

    def __contains__(self, key: str) -> bool:
        return key in self._sizes

    def path(self, key: str) -> Path:
        """Where the stream of a leg is, or will be written."""
        return self._directory / key

    def draft(self, key: str) -> Path:
        """Where a leg may write a stream that is not yet complete."""
        return self._directory / f"{key}.new"

    def add(self, key: str) -> None:
        """Take the file at `path` in."""
        self._sizes[key] = self.path(key).stat().st_size
        self._sizes.move_to_end(key)
        self._evict()

    @contextmanager
    def pinned(self, key: str) -> Iterator[Path]:
        """The file, which stays while the context lasts."""
        self._pins[key] += 1
        self._sizes.move_to_end(key)
        try:
            yield self.path(key)
        finally:
            self._pins[key] -= 1
            if not self._pins[key]:
                del self._pins[key]

    def _evict(self) -> None:
        excess = sum(self._sizes.values()) - self._limit
        newest = next(reversed(self._sizes))
        for key in [k for k in self._sizes if k not in self._pins and k != newest]:
            if excess <= 0:
                return
            excess -= self._sizes.pop(key)
            self.path(key).unlink()

"""Two streams read side by side, for comparing: `read_pair(a, b) -> (Stream, Stream)`.

Memory is most of a stream. A run of pages that is the same in both is compared while its bytes are at hand; the
second stream's event then holds the very view of the first one's, by which `vmstate.ramimage.differ` knows it as equal
without looking again. So a comparison goes over equal memory once. Runs that are cut at other places are not shared,
and compared later as ever.
"""

from __future__ import annotations

from typing import Protocol

from vmstate.ramevents import PageRun
from vmstate.record import replace
from vmstate.stream import Reading, Stream
from vmstate.window import same
from vmstate.wire import RamFlag

__all__ = ["Mapped", "read_pair"]


class Mapped(Protocol):
    """A file that its holder has mapped; `release` gives the memory of a range of offsets back to the system."""

    data: memoryview

    def release(self, start: int, end: int, /) -> None:
        """Called for bytes that are not needed at the moment; they can be read again."""


def read_pair(a: Mapped, b: Mapped) -> tuple[Stream, Stream]:
    """Read both as `read_stream(..., strict=False)` does; the buffers of both must live as long as either stream."""
    first, second = Reading(a.data, release=a.release), Reading(b.data, release=b.release)
    while not (first.done and second.done):
        # The one that is behind goes on, so that like runs meet although the sizes before them differ.
        behind = second if first.done or (not second.done and second.offset < first.offset) else first
        if behind.step():
            _share(first, second)
    return first.stream(), second.stream()


def _share(first: Reading, second: Reading) -> None:
    """Let the last event of `second` hold the bytes of that of `first`, if both are the same run of pages."""
    x, y = first.last, second.last
    if isinstance(x, PageRun) and isinstance(y, PageRun) and _alike(x, y) and same(x.raw, y.raw):
        second.last = replace(y, raw=x.raw)


def _alike(x: PageRun, y: PageRun) -> bool:
    """Whether both are runs with content of the same pages."""
    content = x.kind is RamFlag.PAGE and y.kind is RamFlag.PAGE
    return content and (x.block, x.first, x.count, x.named) == (y.block, y.first, y.count, y.named)

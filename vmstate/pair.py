"""Two streams read side by side, for comparing: `read_pair(a, b) -> (Stream, Stream)`.

Memory is most of a stream. Where one has just read a run of pages and the other is to read one, the bytes are compared
as a whole before any record is looked at; when they are the same, so is the run, and its event holds the very view of
the other one's, by which `vmstate.ramimage.differ` knows it as equal. So a comparison goes over equal memory once.
Runs that are cut at other places are not shared, and compared later as ever.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vmstate.ramevents import PageRun
from vmstate.stream import Reading, Stream

if TYPE_CHECKING:
    from vmstate.window import Buffer

__all__ = ["Mapped", "read_pair"]


class Mapped(Protocol):
    """A file that its holder has mapped; `release` gives the memory of a range of offsets back to the system."""

    data: memoryview

    def release(self, start: int, end: int, /) -> None:
        """Called for bytes that are not needed at the moment; they can be read again."""

    def holds(self, start: int, data: Buffer, /) -> bool:
        """Whether `data` stands at offset `start`."""


def read_pair(a: Mapped, b: Mapped) -> tuple[Stream, Stream]:
    """Read both as `read_stream(..., strict=False)` does; the buffers of both must live as long as either stream."""
    first, second = Reading(a.data, release=a.release), Reading(b.data, release=b.release)
    while not (first.done and second.done):
        # The one that is behind goes on, so that like runs meet although the sizes before them differ.
        ahead, behind, holds = first, second, b.holds
        if second.done or (not first.done and first.offset <= second.offset):
            ahead, behind, holds = second, first, a.holds
        behind.expect(ahead.last if isinstance(ahead.last, PageRun) else None, holds)
        behind.step()
    return first.stream(), second.stream()

# SPDX-License-Identifier: Apache-2.0
"""Whether every byte of a stream is inside a named element, and the elements give the same bytes again.

`account(stream, data)` walks the events in order. It holds when each event starts where the one before ended,
encodes to exactly its bytes of the input, and the last one ends at the end of the input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.ramimage import unpacked
from migmatrix.vmstate.view.stream import Stream, flat
from migmatrix.vmstate.wire.events import Event, Guessed, Trailing, Undelimited
from migmatrix.vmstate.wire.ramevents import MappedData, PageMix, PageRun, RamCompressed, RamXbzrle
from migmatrix.vmstate.wire.window import same

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.wire.window import Buffer

__all__ = ["NO_DESCRIPTION", "Accounting", "account"]

NO_DESCRIPTION: Final = ": the file has no description of its devices, or is cut off before it"

_RELEASE: Final = 1 << 22  # bytes between two calls of `release`
_LONG: Final = 1 << 16  # bytes; to compare fewer takes no longer than to find out where they are


class Accounting(Record):
    """Bytes by kind of element, in order of first appearance, and what is wrong (empty: nothing).

    `stopped` is the offset from which on nothing was understood.
    """

    size: int
    elements: int
    by_kind: dict[str, int]
    problems: tuple[str, ...]
    stopped: int | None = None

    @property
    def complete(self) -> bool:
        """True when nothing is wrong."""
        return not self.problems


def account(stream: Stream, data: bytes | memoryview) -> Accounting:
    """Check a stream that `read_stream(data, strict=False)` gave."""
    view, at, kept = memoryview(data), 0, 0
    by_kind: dict[str, int] = {}
    problems = [] if stream.error is None else [str(stream.error)]
    for event in stream.events:
        length, problem = _check(event, at, view)
        if problem:
            problems.append(problem)
            break
        name = type(event).__name__
        by_kind[name] = by_kind.get(name, 0) + length
        at += length
        if stream.release is not None and at - kept >= _RELEASE:
            stream.release(kept, at)
            kept = at
    if stream.release is not None:
        stream.release(kept, at)
    problems.extend(_leftovers(stream, at, len(view)))
    problems.extend(_damaged(stream))
    lost = stream.error or stream.undelimited
    stopped = None if lost is None else lost.offset
    return Accounting(len(view), len(stream.events), by_kind, tuple(problems), stopped)


def _check(event: Event, at: int, view: memoryview) -> tuple[int, str]:
    """Length of an event on the wire, and what is wrong with it."""
    name = type(event).__name__
    if event.offset != at:
        return 0, f"offset {at:#x}: bytes up to {event.offset:#x} belong to no element, next is {name}"
    if isinstance(event, PageRun | PageMix | MappedData) and _is(event.raw, view, at):
        return len(event.raw), ""
    raw = event.encode()
    if not same(raw, view[at : at + len(raw)]):
        return 0, f"offset {at:#x}: {name} does not encode to the bytes that were read"
    return len(raw), ""


def _is(raw: Buffer, view: memoryview, at: int) -> bool:
    """Whether what a long event holds, and gives back as it is, is that very part of the input."""
    if len(raw) < _LONG or not isinstance(raw, memoryview):
        return False
    from migmatrix.vmstate.view.sameplace import same_place  # noqa: PLC0415 - small streams need none

    return same_place(raw, view[at : at + len(raw)])


def _damaged(stream: Stream) -> Iterator[str]:
    """Packed pages that do not unpack, and differences that do not fit a page."""
    size = stream.page_size
    for event in flat(stream.events):
        if isinstance(event, RamXbzrle | RamCompressed):
            try:
                unpacked(event, bytes(size))
            except StreamError as error:
                yield str(error)


def _guess(event: Guessed) -> str:
    name = f"{event.section.idstr}#{event.section.instance_id}"
    return (
        f"offset {event.offset:#x}: nothing tells the length of the payload of {name}; it ends at "
        f"{event.offset + len(event.raw):#x} by a guess"
    )


def _leftovers(stream: Stream, at: int, size: int) -> list[str]:
    problems = [] if stream.flaw is None else [f"the devices are not read: {stream.flaw}"]
    if at != size and stream.error is None:
        problems.append(f"offset {at:#x}: {size - at} bytes belong to no element")
    lost = next((e for e in flat(stream.events) if isinstance(e, Undelimited)), None)
    if lost is not None:
        name = f"{lost.section.idstr}#{lost.section.instance_id}"
        problems.append(
            f"offset {lost.offset:#x}: nothing tells the length of the payload of {name}, "
            f"{len(lost.raw)} bytes not read" + ("" if stream.vmdesc or stream.flaw else NO_DESCRIPTION)
        )
    problems.extend(_guess(event) for event in stream.guessed)
    trailing = (e for e in flat(stream.events) if isinstance(e, Trailing))
    problems.extend(f"offset {e.offset:#x}: {len(e.raw)} bytes after the end" for e in trailing)
    return problems

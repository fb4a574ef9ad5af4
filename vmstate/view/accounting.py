# SPDX-License-Identifier: Apache-2.0
"""Whether every byte of a stream is inside a named element, and the elements give the same bytes again.

`account(stream, data)` walks the events in order. It holds when each event starts where the one before ended,
encodes to exactly its bytes of the input, and the last one ends at the end of the input.
"""

from __future__ import annotations

from typing import Final

from migmatrix.vmstate.record import Record
from migmatrix.vmstate.view.stream import Stream, flat
from migmatrix.vmstate.wire.events import Event, Trailing, Undelimited
from migmatrix.vmstate.wire.window import same

__all__ = ["Accounting", "account"]

_RELEASE: Final = 1 << 22  # bytes between two calls of `release`


class Accounting(Record):
    """Bytes by kind of element, in order of first appearance, and what is wrong (empty: nothing)."""

    size: int
    elements: int
    by_kind: dict[str, int]
    problems: tuple[str, ...]

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
    return Accounting(len(view), len(stream.events), by_kind, tuple(problems))


def _check(event: Event, at: int, view: memoryview) -> tuple[int, str]:
    """Length of an event on the wire, and what is wrong with it."""
    name = type(event).__name__
    if event.offset != at:
        return 0, f"offset {at:#x}: bytes up to {event.offset:#x} belong to no element, next is {name}"
    raw = event.encode()
    if not same(raw, view[at : at + len(raw)]):
        return 0, f"offset {at:#x}: {name} does not encode to the bytes that were read"
    return len(raw), ""


def _leftovers(stream: Stream, at: int, size: int) -> list[str]:
    problems = []
    if at != size and stream.error is None:
        problems.append(f"offset {at:#x}: {size - at} bytes belong to no element")
    lost = next((e for e in flat(stream.events) if isinstance(e, Undelimited)), None)
    if lost is not None:
        name = f"{lost.section.idstr}#{lost.section.instance_id}"
        problems.append(
            f"offset {lost.offset:#x}: nothing tells the length of the payload of {name}, "
            f"{len(lost.raw)} bytes not read"
        )
    trailing = (e for e in flat(stream.events) if isinstance(e, Trailing))
    problems.extend(f"offset {e.offset:#x}: {len(e.raw)} bytes after the end" for e in trailing)
    return problems

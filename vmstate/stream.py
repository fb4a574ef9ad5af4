"""A whole stream in memory (or mapped): `read_stream(buffer) -> Stream`.

Two passes: the VM description is located at the end, then the stream is read from the start with it. What the
description does not cover stays undelimited and is reported as such. The buffer is not copied: the events hold
views, so keep it alive.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from vmstate import wire
from vmstate.errors import StreamError
from vmstate.events import (
    Command,
    Configuration,
    Eof,
    Event,
    Footer,
    Header,
    Packaged,
    Payload,
    SectionStart,
    Trailing,
    Undelimited,
)
from vmstate.ramimage import RamImage, Release
from vmstate.reader import Delimiter, StreamReader
from vmstate.record import Record, field
from vmstate.vmdesc import VmDesc, find_vmdesc, parse_vmdesc

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Section", "Stream", "read_stream"]

_RELEASE: Final = 1 << 24  # bytes between two calls of `release`


class Section(Record):
    """One section; `events` are what stands between its start and its footer."""

    start: SectionStart
    events: tuple[Event, ...]
    footer: Footer | None

    @property
    def key(self) -> tuple[str, int]:
        """(idstr, instance id): what a loader looks it up by."""
        return self.start.idstr, self.start.instance_id

    @property
    def payload(self) -> Payload | None:
        """The payload of a device's section; None for RAM and for undelimited ones."""
        first = self.events[0] if self.events else None
        return first if isinstance(first, Payload) else None


class Stream(Record, attributes=True):
    """All events of one main channel. `error` is why reading stopped early, if it did; `size` in bytes."""

    events: tuple[Event, ...]
    vmdesc: VmDesc | None
    size: int
    error: StreamError | None = None
    release: Release | None = field(default=None, repr=False, compare=False)

    @property
    def header(self) -> Header | None:
        """Magic and version; None when the stream failed before."""
        return next((e for e in self.events if isinstance(e, Header)), None)

    @property
    def configuration(self) -> Configuration | None:
        """Machine type and must-match properties; None in streams of machine types up to 2.3."""
        return next((e for e in self.events if isinstance(e, Configuration)), None)

    @property
    def machine(self) -> str | None:
        """The machine type of the source, None when the stream does not say."""
        return self.configuration.machine if self.configuration else None

    @property
    def commands(self) -> tuple[Command | Packaged, ...]:
        """Commands of the outer level, in stream order."""
        return tuple(e for e in self.events if isinstance(e, Command | Packaged))

    @property
    def trailing(self) -> bytes:
        """Bytes after the end that belong to nothing."""
        return b"".join(e.encode() for e in self.events if isinstance(e, Trailing))

    @property
    def undelimited(self) -> Undelimited | None:
        """The payload at which reading had to stop for want of a description."""
        return next((e for e in flat(self.events) if isinstance(e, Undelimited)), None)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Sections in stream order, those in packages included."""
        return tuple(_sections(flat(self.events)))

    @cached_property
    def ram(self) -> RamImage:
        """Guest memory as this stream has it, block by block."""
        if self.release is None:
            return RamImage(flat(self.events))
        return RamImage(flat(self.events), self.release)

    def encode(self) -> bytes:
        """The stream's bytes again."""
        return b"".join(e.encode() for e in self.events)


def flat(events: tuple[Event, ...]) -> Iterator[Event]:
    """Events with those of packages in place of the packages."""
    for event in events:
        if isinstance(event, Packaged):
            yield from event.events
        else:
            yield event


def _sections(events: Iterator[Event]) -> Iterator[Section]:
    start: SectionStart | None = None
    inside: list[Event] = []
    for event in events:
        ends = isinstance(event, SectionStart | Command | Eof)
        if start is not None and (ends or isinstance(event, Footer)):
            yield Section(start, tuple(inside), event if isinstance(event, Footer) else None)
            start, inside = None, []
        if isinstance(event, SectionStart):
            start = event
        elif start is not None:
            inside.append(event)
    if start is not None:
        yield Section(start, tuple(inside), None)


def read_stream(
    data: bytes | memoryview,
    *,
    delimiter: Delimiter | None = None,
    strict: bool = True,
    release: Release | None = None,
    page_size: int = wire.PAGE_SIZE,
) -> Stream:
    """Read all of `data`; a `delimiter` takes the place of the stream's own VM description.

    With `strict` bad input raises StreamError, else the stream up to there is returned with `error` set.
    `release(start, end)` is told which bytes are not needed at the moment: a caller with a mapped file can give
    their memory back; it is called again by `Stream.ram` and what uses it.
    """
    view = memoryview(data).cast("B")
    error: StreamError | None = None
    desc: VmDesc | None = None
    events: list[Event] = []
    try:
        desc = _description(view)
        walker = delimiter or (desc.delimiter() if desc else None)
        reader = StreamReader(delimiter=walker, page_size=page_size)
        reader.feed(view)
        reader.close()
        events.extend(_released(reader, release or (lambda _start, _end: None)))
    except StreamError as found:
        if strict:
            raise
        error = found
    return Stream(tuple(events), desc, len(view), error, release)


def _description(view: memoryview) -> VmDesc | None:
    place = find_vmdesc(view)
    if place is None:
        return None
    offset, length = place
    return parse_vmdesc(view[offset + 5 : offset + 5 + length], offset + 5)


def _released(reader: StreamReader, release: Release) -> Iterator[Event]:
    done = 0
    for event in reader.events():
        yield event
        if reader.offset - done >= _RELEASE:
            release(done, reader.offset)
            done = reader.offset

# SPDX-License-Identifier: Apache-2.0
"""A whole stream in memory (or mapped): `read_stream(buffer) -> Stream`.

Two passes: `read_stream` locates the VM description at the end, then reads the stream from the start with it.
What the description does not cover stays undelimited. The events hold views of the buffer, so keep it alive.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.view.ramimage import RamImage, Release
from migmatrix.vmstate.view.vmdesc import VmDesc, find_vmdesc, parse_vmdesc
from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.events import (
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
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun
from migmatrix.vmstate.wire.reader import Delimiter, Signal, StreamReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.wire.ram import LookAhead

__all__ = ["Reading", "Section", "Stream", "flat", "page_runs", "read_stream"]

_RELEASE: Final = 1 << 24  # bytes between two calls of `release`


class Section(Record):
    """One section; `events` are those between its start and its footer."""

    start: SectionStart
    events: tuple[Event, ...]
    footer: Footer | None

    @property
    def key(self) -> tuple[str, int]:
        """(idstr, instance id): the key by which a loader finds the device."""
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
        """Magic and version; None for a stream that failed before."""
        return next((e for e in self.events if isinstance(e, Header)), None)

    @property
    def configuration(self) -> Configuration | None:
        """Machine type and must-match properties; None in streams of machine types up to 2.3."""
        return next((e for e in self.events if isinstance(e, Configuration)), None)

    @property
    def machine(self) -> str | None:
        """The machine type of the source; None without a configuration."""
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
        """The payload without a description at which the reader had to stop."""
        return next((e for e in flat(self.events) if isinstance(e, Undelimited)), None)

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Sections in stream order, those in packages included."""
        return tuple(_sections(flat(self.events)))

    @cached_property
    def ram(self) -> RamImage:
        """Guest memory by this stream, block by block."""
        if self.release is None:
            return RamImage(flat(self.events))
        return RamImage(flat(self.events), self.release)

    def encode(self) -> bytes:
        """The stream's bytes again."""
        return b"".join(e.encode() for e in self.events)


def flat(events: tuple[Event, ...]) -> Iterator[Event]:
    """All events; those inside a package instead of the package."""
    for event in events:
        if isinstance(event, Packaged):
            yield from event.events
        else:
            yield event


def page_runs(stream: Stream) -> Iterator[PageRun]:
    """All runs of pages in stream order, those inside mixes and packages included."""
    for event in flat(stream.events):
        if isinstance(event, PageMix):
            yield from event.runs()
        elif isinstance(event, PageRun):
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
    vmdesc: VmDesc | None = None,
) -> Stream:
    """Read all of `data`; a `delimiter` replaces the stream's own VM description, `vmdesc` stands in where it has none.

    With `strict` bad input raises StreamError; without, the result is the stream up to there with `error`
    set. `release(start, end)` hears which bytes nobody needs at the moment, so that a caller with a mapped
    file can give their memory back. `Stream.ram` and what uses it call it too.
    """
    reading = Reading(data, delimiter=delimiter, release=release, page_size=page_size, vmdesc=vmdesc)
    while reading.step():
        pass
    if strict and reading.error is not None:
        raise reading.error
    return reading.stream()


class Reading:
    """One read of a stream, event by event. `done` is true at its end and after an error, which `error` keeps.

    `vmdesc` is the parsed text `described`; a reading `like` another shares it when both texts are the same.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        delimiter: Delimiter | None = None,
        release: Release | None = None,
        page_size: int = wire.PAGE_SIZE,
        like: Reading | None = None,
        look_ahead: LookAhead | None = None,
        vmdesc: VmDesc | None = None,
    ) -> None:
        self._view = memoryview(data).cast("B")
        self._release = release
        self._released = 0
        self.described = b""
        self.vmdesc = vmdesc
        self._events: list[Event] = []
        self.error: StreamError | None = None
        self.done = False
        try:
            self._describe(like)
        except StreamError as error:
            self._fail(error)
        walker = delimiter or (self.vmdesc.delimiter() if self.vmdesc else None)
        self._reader = StreamReader(delimiter=walker, page_size=page_size, look_ahead=look_ahead)
        self._reader.feed(self._view)
        self._reader.close()

    @property
    def offset(self) -> int:
        """Offset of the next byte to read."""
        return self._reader.offset

    @property
    def last(self) -> Event | None:
        """The event read last."""
        return self._events[-1] if self._events else None

    def step(self) -> bool:
        """Read one event; False when there is none. May give back the memory of events before the last one."""
        self._give_back()
        try:
            event = Signal.END if self.done else self._reader.next_event()
        except StreamError as error:
            self._fail(error)
            return False
        if isinstance(event, Signal):
            self.done = True
            return False
        self._events.append(event)
        return True

    def stream(self) -> Stream:
        """The stream up to here."""
        return Stream(tuple(self._events), self.vmdesc, len(self._view), self.error, self._release)

    def _describe(self, like: Reading | None) -> None:
        found = find_vmdesc(self._view)
        if found is None:
            return
        offset, length = found
        self.described = bytes(self._view[offset + 5 : offset + 5 + length])
        if like is not None and like.vmdesc is not None and like.described == self.described:
            self.vmdesc = like.vmdesc
        else:
            self.vmdesc = parse_vmdesc(self.described, offset + 5)

    def _fail(self, error: StreamError) -> None:
        self.error, self.done = error, True

    def _give_back(self) -> None:
        if self._release is not None and self.offset - self._released >= _RELEASE:
            self._release(self._released, self.offset)
            self._released = self.offset

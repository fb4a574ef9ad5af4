# SPDX-License-Identifier: Apache-2.0
"""A whole stream in memory (or mapped): `read_stream(buffer) -> Stream`.

Two passes: `read_stream` locates the VM description at the end, then reads the stream from the start with it.
What the description does not cover stays undelimited, or its end is guessed and said to be so. The events hold views of the buffer, so keep it alive.
"""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.view.described import Described
from migmatrix.vmstate.view.ramimage import RamImage, Release
from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.events import (
    Command,
    Configuration,
    Eof,
    Event,
    Footer,
    Guessed,
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

    from migmatrix.vmstate.view.vmdesc import VmDesc
    from migmatrix.vmstate.wire.ram import LookAhead

__all__ = ["Reading", "Section", "Stream", "flat", "page_runs", "read_stream"]

_OTHER_SIZES: Final = (
    1024,
    8192,
    256,
)  # pages of Arm, of SPARC64 and Alpha, of AVR; for a stream that does not tell
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
    """All events of one main channel. `error` is why reading stopped early, if it did; `size` in bytes.

    `flaw` is what is wrong with the description, whose devices are then not read; `page_size` in bytes is the
    target's. `memory` are the events of all channels that tell of memory, in order, where it came by more than the
    main channel (`vmstate.view.channels`).
    """

    events: tuple[Event, ...]
    vmdesc: VmDesc | None
    size: int
    error: StreamError | None = None
    release: Release | None = field(default=None, repr=False, compare=False)
    flaw: StreamError | None = None
    page_size: int = wire.PAGE_SIZE
    memory: tuple[Event, ...] | None = field(default=None, repr=False)

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

    @property
    def flat(self) -> Iterator[Event]:
        """All events, those inside a package instead of the package."""
        return flat(self.events)

    @property
    def guessed(self) -> tuple[Guessed, ...]:
        """The payloads whose end was guessed."""
        return tuple(e for e in flat(self.events) if isinstance(e, Guessed))

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """Sections in stream order, those in packages included."""
        return tuple(_sections(flat(self.events)))

    @cached_property
    def ram(self) -> RamImage:
        """Guest memory by this stream, block by block."""
        events = flat(self.events) if self.memory is None else self.memory
        if self.release is None or self.memory is not None:  # `release` is for offsets of the main channel
            return RamImage(events)
        return RamImage(events, self.release)

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
    page_size: int | None = None,
    vmdesc: VmDesc | None = None,
    file_start: int = 0,
) -> Stream:
    """Read all of `data`; a `delimiter` replaces the stream's own VM description, `vmdesc` stands in where it has none.

    `page_size` replaces that of the stream's target, in bytes. `file_start` is where `data` begins in its file, in bytes:
    mapped-ram tells offsets in the file.

    With `strict` bad input raises StreamError; without, the result is the stream up to there with `error`
    set. `release(start, end)` hears which bytes nobody needs at the moment, so that a caller with a mapped
    file can give their memory back. `Stream.ram` and what uses it call it too.
    """
    reading = Reading(
        data,
        delimiter=delimiter,
        release=release,
        page_size=page_size,
        vmdesc=vmdesc,
        file_start=file_start,
    )
    while reading.step():
        pass
    stream = reading.stream()
    wrong = stream.error or stream.flaw
    if strict and wrong is not None:
        raise wrong
    return stream


def _through_memory(reader: StreamReader) -> list[Event] | None:
    """Events up to the section after the first one with pages; None when one cannot be read."""
    events: list[Event] = []
    pages = False
    try:
        for event in reader.events():
            events.append(event)
            pages = pages or isinstance(event, PageRun | PageMix)
            if pages and isinstance(event, SectionStart):
                break
    except StreamError:
        return None
    return events


class Reading:
    """One read of a stream, event by event. `done` is true at its end and after an error, which `error` keeps.

    `described` is its description; a reading `like` another shares what is the same.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        delimiter: Delimiter | None = None,
        release: Release | None = None,
        page_size: int | None = None,
        like: Reading | None = None,
        look_ahead: LookAhead | None = None,
        vmdesc: VmDesc | None = None,
        file_start: int = 0,
    ) -> None:
        self._view = memoryview(data).cast("B")
        self._release = release
        self._released = 0
        self.described: Described = Described(self._view, like.described if like else None, vmdesc)
        self._events: list[Event] = []
        self.error: StreamError | None = None
        self.done = False
        self._sizes = () if page_size or self.described.page_size else _OTHER_SIZES
        self._begin = partial(
            StreamReader,
            delimiter=delimiter or self.described,
            guess=None if delimiter else self.described.names,
            file_start=file_start,
        )
        self._reader = self._from_start(page_size or self.described.page_size or wire.PAGE_SIZE, look_ahead)

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
            self.error, self.done = error, True
            return error.path.startswith("ram/") and self._read_other_size()
        if isinstance(event, Signal):
            self.done = True
            return False
        self._events.append(event)
        return True

    def stream(self) -> Stream:
        """The stream up to here."""
        known = self.described
        size = len(self._view)
        return Stream(
            tuple(self._events),
            known.vmdesc,
            size,
            self.error,
            self._release,
            known.flaw,
            self._reader.ram.page_size,
        )

    def _from_start(self, page_size: int, look_ahead: LookAhead | None = None) -> StreamReader:
        reader = self._begin(page_size=page_size, look_ahead=look_ahead)
        reader.feed(self._view)
        reader.close()
        return reader

    def _read_other_size(self) -> bool:
        """Read again with the page size of another target, where nothing tells it and one goes through memory."""
        if self._reader.ram.told or not self._reader.ram.lengths:
            return False
        sizes, self._sizes = self._sizes, ()
        for size in sizes:
            trial = self._from_start(size)
            if (events := _through_memory(trial)) is not None:
                self._reader, self._events = trial, events
                self.error, self.done = None, False
                return True
        return False

    def _give_back(self) -> None:
        if self._release is not None and self.offset - self._released >= _RELEASE:
            self._release(self._released, self.offset)
            self._released = self.offset

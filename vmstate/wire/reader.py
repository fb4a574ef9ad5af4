# SPDX-License-Identifier: Apache-2.0
"""`StreamReader`: bytes of one main channel in, events out; knows the framing, not the devices.

Rules:
1. `feed` bytes in any pieces, call `next_event` until it returns NEED_DATA, `close` at the end of the input.
2. The cuts do not change the events, except that long runs of pages and the bytes after an undelimited
   payload may be split at other offsets.
3. A device's payload carries no length. The `delimiter` walks it; without one the reader reports
   `Undelimited`, and everything after belongs to that, unless it is told to `guess`. Iterated sections other than
   `ram` have formats of their own (`vmstate.wire.iterated`).
4. Any bytes give events or `StreamError`. Memory is bounded by the bytes fed and not yet returned, never by a
   length that the stream announces.
5. `vmstate.wire.phases` holds the state and its rules: a method here reads one thing and returns what it met.

Format: QEMU `docs/devel/migration/main.rst`; `vmstate.wire.constants` names what was measured.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Generator
from typing import Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.channel import ChannelReader
from migmatrix.vmstate.wire.commands import check_length, describe
from migmatrix.vmstate.wire.constants import CommandCode, SectionType
from migmatrix.vmstate.wire.events import (
    Command,
    Configuration,
    ConfigurationSubsection,
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
    VmDescription,
)
from migmatrix.vmstate.wire.phases import Met, Phase, Progress
from migmatrix.vmstate.wire.ram import LookAhead, RamReader, RamState, Steps
from migmatrix.vmstate.wire.signal import Signal

__all__ = ["Delimiter", "Signal", "StreamReader", "Walk"]

Walk = Generator[tuple[int, int], bytes, int]
"""A walk over a payload: it yields (at, count), gets these bytes of the payload, returns the length."""

Delimiter = Callable[[SectionStart], Walk | None]
"""Starts a walk for a section, or None when its layout is not known."""

Guess = Callable[[int], frozenset[tuple[str, int]]]

_Reading = Generator[Event | None, None, Met]

_AFTER_SECTION: Final = (
    *range(SectionType.FULL + 1),
    SectionType.COMMAND,
)  # what may follow one without a footer
_PAGE_SIZES: Final = tuple(1 << bits for bits in range(wire.PAGE_BITS[0], wire.PAGE_BITS[1] + 1))
_MAX_CAPABILITIES: Final = 1000  # QEMU 11.1 knows 23

_CONFIGURATION: Final = {
    "configuration/target-page-bits": 4,
    "configuration/capabilities": None,
    "configuration/uuid": 16,
}


class StreamReader(ChannelReader):
    """Reader of one main channel.

    `header=False` starts among the sections: a recovery channel, which goes on with the sections and the RAM
    state of the `earlier` reader of the broken one. `package_at` is the stream offset of the inside of a
    package of `earlier`. `page_size` in bytes is the target's, unless the stream announces another.
    `look_ahead` is what the caller knows of the pages to come. `guess` lets it search the end of a payload of unknown
    length (`vmstate.wire.guess`), and knows the sections to come for a reader at some offset. `sections` are those started so far, by id;
    `progress` is where the reader is.
    """

    def __init__(
        self,
        *,
        delimiter: Delimiter | None = None,
        header: bool = True,
        page_size: int = wire.PAGE_SIZE,
        earlier: StreamReader | None = None,
        package_at: int | None = None,
        look_ahead: LookAhead | None = None,
        guess: Guess | None = None,
        file_start: int = 0,
    ) -> None:
        super().__init__(package_at or 0)
        self._delimiter = delimiter
        self._look_ahead = look_ahead
        self._guess = guess
        self.sections: dict[int, SectionStart] = earlier.sections if earlier else {}
        self.ram: RamState = earlier.ram if earlier else RamState(page_size)
        if not earlier:
            self.ram.file_start = file_start
        begin = Phase.PACKAGE if package_at is not None else Phase.HEADER if header else Phase.SECTIONS
        self.progress: Progress = Progress(begin)
        if earlier is not None:
            self.progress.footers = earlier.progress.footers
            self.progress.configured = earlier.progress.configured

    def _read(self) -> Steps:
        readers = {
            Phase.HEADER: self._header,
            Phase.CONFIGURATION: self._configuration,
            Phase.SECTIONS: self._element,
            Phase.PACKAGE: self._element,
            Phase.DESCRIPTION: self._description,
            Phase.TRAILING: self._trailing,
        }
        while self.progress.phase is not Phase.END:
            met = yield from readers[self.progress.phase]()
            self.progress.advance(met)

    # -- header and configuration --------------------------------------------------------------

    def _header(self) -> _Reading:
        window = self._window
        yield from window.want(4, "header.magic")
        magic = int.from_bytes(window.peek(4))
        if magic != wire.FILE_MAGIC:
            raise StreamError(0, "header.magic", f"{wire.FILE_MAGIC:#x}", f"found {magic:#x}")
        yield from window.want(8, "header.version")
        version = int.from_bytes(window.peek(4, 4))
        if version != wire.FILE_VERSION:
            raise StreamError(4, "header.version", f"{wire.FILE_VERSION}", f"found {version}")
        window.take(8)
        yield Header(version, 0)
        return Met.HEADER

    def _configuration(self) -> _Reading:
        window, offset = self._window, self._window.offset
        yield from window.want(1, "configuration.type")
        if window.peek(1)[0] != SectionType.CONFIGURATION:
            self.ram.may_share = True
            return Met.NO_CONFIGURATION
        yield from window.want(5, "configuration.len")
        length = int.from_bytes(window.peek(4, 1))
        yield from window.want(5 + length, "configuration.name")
        window.take(5)
        name = bytes(window.take(length)).decode("latin-1")
        subsections = []
        while True:
            yield from window.want(1, "configuration")
            if window.peek(1)[0] != SectionType.SUBSECTION:
                break
            subsection = yield from self._subsection()
            subsections.append(subsection)
        event = Configuration(name, tuple(subsections), offset)
        self._configure(event)
        yield event
        return Met.CONFIGURATION

    def _subsection(self) -> Generator[None, None, ConfigurationSubsection]:
        window, offset = self._window, self._window.offset
        yield from window.want(2, "configuration/subsection.len")
        length = window.peek(1, 1)[0]
        yield from window.want(6 + length, "configuration/subsection")
        name = window.peek(length, 2).decode("latin-1")
        if name not in _CONFIGURATION:
            raise StreamError(offset + 2, "configuration/subsection", "a known name", f"found {name!r}")
        version = int.from_bytes(window.peek(4, 2 + length))
        window.take(6 + length)
        value = yield from self._subsection_value(name)
        return ConfigurationSubsection(name, version, value)

    def _subsection_value(self, name: str) -> Generator[None, None, int | tuple[str, ...] | bytes]:
        window, size = self._window, _CONFIGURATION[name]
        if size is not None:
            yield from window.want(size, name)
            value = bytes(window.take(size))
            return int.from_bytes(value) if size == 4 else value  # noqa: PLR2004 - u32
        yield from window.want(4, f"{name}.count")
        names: list[str] = []
        count = int.from_bytes(window.take(4))
        if count > _MAX_CAPABILITIES:
            raise StreamError(window.offset - 4, name, f"at most {_MAX_CAPABILITIES} names", f"found {count}")
        for i in range(count):
            yield from window.want(1, f"{name}[{i}].len")
            length = window.peek(1)[0]
            yield from window.want(1 + length, f"{name}[{i}]")
            names.append(bytes(window.take(1 + length))[1:].decode("latin-1"))
        return tuple(names)

    def _configure(self, event: Configuration) -> None:
        self.ram.ignore_shared = wire.CAPABILITY_IGNORE_SHARED in event.capabilities
        self.ram.mapped = wire.CAPABILITY_MAPPED_RAM in event.capabilities
        bits = event.value("target-page-bits")
        if isinstance(bits, int):
            if not wire.PAGE_BITS[0] <= bits <= wire.PAGE_BITS[1]:
                low, high = wire.PAGE_BITS
                path = "configuration/target-page-bits"
                raise StreamError(event.offset, path, f"{low} to {high}", f"found {bits}")
            self.ram.page_size, self.ram.told = 1 << bits, True

    # -- elements ------------------------------------------------------------------------------

    def _element(self) -> _Reading:
        """One section, one command or the end byte; nothing where a package ends."""
        window = self._window
        if self.progress.phase is Phase.PACKAGE and not window.available:
            return Met.CLOSED
        yield from window.want(1, "section.type")
        kind = window.peek(1)[0]
        if kind == SectionType.EOF:
            yield Eof(window.offset)
            window.take(1)
            return Met.EOF
        if kind == SectionType.COMMAND:
            yield from self._command()
            return Met.ELEMENT
        if SectionType.START <= kind <= SectionType.FULL:
            return (yield from self._section(SectionType(kind)))
        raise StreamError(window.offset, "section.type", "a section or the end", f"found {kind:#x}")

    def _description(self) -> _Reading:
        window = self._window
        ended = yield from self._ended()
        if ended or window.peek(1)[0] != SectionType.VMDESCRIPTION:
            return Met.NO_DESCRIPTION
        offset = window.offset
        yield from window.want(5, "vmdescription.len")
        length = int.from_bytes(window.peek(4, 1))
        try:
            yield from window.want(5 + length, "vmdescription")
        except StreamError as error:
            cut = f"read {window.available - 5}: the description at the end is cut off"
            raise StreamError(offset, error.path, f"{length} bytes", cut) from error
        window.take(5)
        yield VmDescription(window.take(length), offset)
        return Met.DESCRIPTION

    def _trailing(self) -> _Reading:
        yield from self._rest(Trailing)
        return Met.CLOSED

    def _rest(self, make: Callable[[memoryview | bytes, int], Event]) -> Steps:
        """Everything up to the end of the input."""
        window = self._window
        while not (yield from self._ended()):
            offset = window.offset
            yield make(window.take(window.available), offset)

    def _section(self, kind: SectionType) -> _Reading:
        start = yield from self._section_start(kind)
        yield start
        if start.idstr == wire.RAM_SECTION and kind is not SectionType.FULL:
            yield from RamReader(self._window, self.ram, self._look_ahead).payload()
        else:
            walk = self._walk_of(start)
            if walk is None:
                length = yield from self._guessed(start)
                if length is None:
                    yield from self._rest(lambda raw, offset: Undelimited(start, raw, offset))
                    return Met.UNDELIMITED
                offset = self._window.offset
                yield Guessed(start, self._window.take(length), offset)
            else:
                yield from self._payload(start, walk)
        yield from self._footer(start)
        return Met.ELEMENT

    def _walk_of(self, start: SectionStart) -> Walk | None:
        if start.kind is not SectionType.FULL:
            from migmatrix.vmstate.wire import iterated  # noqa: PLC0415 - most streams have only memory

            if (known := iterated.walk(start, self.ram.page_size)) is not None:
                return known
        return self._delimiter(start) if self._delimiter else None

    def _section_start(self, kind: SectionType) -> Generator[None, None, SectionStart]:
        window, offset = self._window, self._window.offset
        yield from window.want(5, "section.id")
        section_id = int.from_bytes(window.peek(4, 1))
        if kind in (SectionType.PART, SectionType.END):
            known = self.sections.get(section_id)
            if known is None:
                raise StreamError(offset + 1, "section.id", "a started section", f"found {section_id}")
            window.take(5)
            return SectionStart(kind, section_id, known.idstr, known.instance_id, known.version_id, offset)
        yield from window.want(6, "section.idstr.len")
        length = window.peek(1, 5)[0]
        yield from window.want(14 + length, "section.idstr")
        idstr = window.peek(length, 6).decode("latin-1")
        instance, version = struct.unpack(">II", window.peek(8, 6 + length))
        if idstr == wire.RAM_SECTION and version != wire.RAM_VERSION:
            raise StreamError(offset, "ram.version_id", f"{wire.RAM_VERSION}", f"found {version}")
        window.take(14 + length)
        start = SectionStart(kind, section_id, idstr, instance, version, offset)
        self.sections[section_id] = start
        return start

    def _guessed(self, start: SectionStart) -> Generator[None, None, int | None]:
        """Length of a payload by what looks like its end; the whole input has to be there."""
        described = self._guess(start.offset) if self._guess else frozenset()
        if not described:
            return None
        while not self._window.closed:
            yield
        from migmatrix.vmstate.wire.guess import find_end  # noqa: PLC0415 - few streams need one

        return find_end(self._window.rest(), start.section_id, started=self.sections, described=described)

    def _payload(self, start: SectionStart, walk: Walk) -> Steps:
        window, offset = self._window, self._window.offset
        length = yield from self._walk(start, walk)
        yield from window.want(length, start.idstr)
        yield Payload(window.take(length), offset)

    def _walk(self, start: SectionStart, walk: Walk) -> Generator[None, None, int]:
        """Length of a payload; throws the StreamError into the walk when the input ends before its bytes."""
        window, offset = self._window, self._window.offset
        ended: StreamError | None = None
        try:
            at, count = next(walk)
            while True:
                try:
                    yield from window.want(at + count, start.idstr)
                except StreamError as error:
                    ended = error
                    at, count = walk.throw(error)
                else:
                    at, count = walk.send(window.peek(count, at))
        except StopIteration as done:
            return int(done.value)
        except StreamError as error:
            if error is ended:
                raise
            where = offset + error.offset  # a walk counts from the payload's start
            raise StreamError(where, error.path, error.expected, error.found) from error

    def _footer(self, start: SectionStart) -> Steps:
        window, path = self._window, f"{start.idstr}/footer"
        if not self.progress.configured and (yield from self._ended()):
            return
        yield from window.want(1, path)
        offset, kind = window.offset, window.peek(1)[0]
        if self.progress.footers is False or (not self.progress.footers and kind in _AFTER_SECTION):
            self.progress.footer(found=False)
            return
        if kind != SectionType.FOOTER:
            raise StreamError(offset, path, f"{SectionType.FOOTER:#x}", f"found {kind:#x}")
        yield from window.want(5, path)
        found = int.from_bytes(window.peek(4, 1))
        if found != start.section_id:
            raise StreamError(offset + 1, path, f"id {start.section_id}", f"found {found}")
        window.take(5)
        self.progress.footer(found=True)
        yield Footer(found, offset)

    # -- commands ------------------------------------------------------------------------------

    def _command(self) -> Steps:
        window, offset = self._window, self._window.offset
        yield from window.want(5, "command")
        number, length = struct.unpack(">HH", window.peek(4, 1))
        try:
            code = CommandCode(number)
        except ValueError as error:
            raise StreamError(offset + 1, "command", "a known command", f"found {number}") from error
        check_length(code, length, offset + 3)
        yield from window.want(5 + length, f"command {code.name}")
        window.take(5)
        data = bytes(window.take(length))
        if code is CommandCode.PACKAGED:
            yield from self._packaged(int.from_bytes(data), offset)
            return
        values = describe(code, data, offset)
        if code is CommandCode.POSTCOPY_ADVISE:
            self._advised(**values)
        yield Command(code, data, offset)

    def _advised(self, page_sizes: int = 0, target_page_size: int = 0) -> None:
        self.ram.page_sizes = page_sizes
        if target_page_size in _PAGE_SIZES:
            self.ram.page_size, self.ram.told = target_page_size, True

    def _packaged(self, length: int, offset: int) -> Steps:
        window = self._window
        if self.progress.phase is Phase.PACKAGE:
            found = f"found one of {length} bytes"
            raise StreamError(offset, "command PACKAGED", "no package inside of a package", found)
        yield from window.want(length, "command PACKAGED")
        inner = StreamReader(
            delimiter=self._delimiter,
            earlier=self,
            package_at=window.offset,
            look_ahead=self._look_ahead,
            guess=self._guess,
        )
        inner.feed(window.take(length))
        inner.close()
        yield Packaged(tuple(inner.events()), offset)

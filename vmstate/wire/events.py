# SPDX-License-Identifier: Apache-2.0
"""The elements of a stream: one frozen record per framing element.

Every event has `offset` (bytes from the start of the stream; -1 for one made by hand) and `encode()`, the
exact bytes. Joining `encode()` of all events of a stream gives the stream back. Equality ignores `offset`.
Payloads stay as the reader took them (`bytes`, or a view of the caller's buffer); `encode` makes numbers and
names anew. RAM records are in `vmstate.wire.ramevents`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.commands import describe
from migmatrix.vmstate.wire.constants import SectionType

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.window import Buffer

__all__ = [
    "Command",
    "Configuration",
    "ConfigurationSubsection",
    "Eof",
    "Event",
    "Footer",
    "Guessed",
    "Header",
    "Packaged",
    "Payload",
    "SectionStart",
    "Trailing",
    "Undelimited",
    "VmDescription",
    "pstr",
]


def pstr(text: str) -> bytes:
    """One length byte and the bytes of `text` (latin-1, so that any byte survives); ValueError above 255."""
    raw = text.encode("latin-1")
    if len(raw) > 255:  # noqa: PLR2004 - the length is one byte
        raise ValueError(f"name of {len(raw)} bytes does not fit a length byte")
    return bytes((len(raw),)) + raw


@runtime_checkable
class Event(Protocol):
    """One element of a stream."""

    @property
    def offset(self) -> int:
        """Bytes from the start of the stream; -1 when made by hand."""
        ...

    def encode(self) -> bytes:
        """The bytes of this element."""
        ...


class Header(Record):
    """Magic and version, 8 bytes; first in every file and main channel."""

    version: int = wire.FILE_VERSION
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">II", wire.FILE_MAGIC, self.version)


class ConfigurationSubsection(Record):
    """One of three subsections; `value` is an int (page bits), a tuple of names or 16 bytes (uuid)."""

    name: str
    version: int
    value: int | tuple[str, ...] | bytes

    def encode(self) -> bytes:
        """The bytes on the wire."""
        head = bytes((SectionType.SUBSECTION,)) + pstr(self.name) + struct.pack(">I", self.version)
        if isinstance(self.value, int):
            return head + struct.pack(">I", self.value)
        if isinstance(self.value, bytes):
            return head + self.value
        return head + struct.pack(">I", len(self.value)) + b"".join(map(pstr, self.value))


class Configuration(Record):
    """Machine type and must-match properties of the source; no header, no footer."""

    machine: str
    subsections: tuple[ConfigurationSubsection, ...] = ()
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        name = self.machine.encode("latin-1")
        head = struct.pack(">BI", SectionType.CONFIGURATION, len(name)) + name
        return head + b"".join(s.encode() for s in self.subsections)

    def value(self, name: str) -> int | tuple[str, ...] | bytes | None:
        """Value of subsection `configuration/<name>`; None without it."""
        return next((s.value for s in self.subsections if s.name == f"configuration/{name}"), None)

    @property
    def capabilities(self) -> tuple[str, ...]:
        """The announced must-match capabilities; multifd, postcopy and xbzrle are never announced."""
        value = self.value("capabilities")
        return value if isinstance(value, tuple) else ()


class SectionStart(Record):
    """Start of a START, PART, END or FULL section.

    Only START and FULL have names and a version on the wire; PART and END take those of the START with their
    id.
    """

    kind: SectionType
    section_id: int
    idstr: str
    instance_id: int
    version_id: int
    offset: int = field(default=-1, compare=False)

    @property
    def whole(self) -> bool:
        """True when the names are on the wire."""
        return self.kind in (SectionType.START, SectionType.FULL)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        head = struct.pack(">BI", self.kind, self.section_id)
        if not self.whole:
            return head
        return head + pstr(self.idstr) + struct.pack(">II", self.instance_id, self.version_id)


class Payload(Record):
    """All bytes of a device's section between its header and its footer."""

    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)


class Footer(Record):
    """End mark of a section; absent for machine types up to 2.3."""

    section_id: int
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">BI", SectionType.FOOTER, self.section_id)


class Command(Record):
    """A MIG_CMD other than PACKAGED; `data` is the payload. `arguments` decodes it."""

    code: int
    data: bytes = b""
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">BHH", SectionType.COMMAND, self.code, len(self.data)) + self.data

    @property
    def name(self) -> str:
        """``PING`` and so on."""
        return wire.CommandCode(self.code).name

    @property
    def arguments(self) -> dict[str, Any]:
        """Named values of the payload, for instance ``{"value": 1}`` of a PING."""
        return describe(wire.CommandCode(self.code), self.data, self.offset)


class Packaged(Record):
    """MIG_CMD_PACKAGED with the events of the section stream inside it."""

    events: tuple[Event, ...]
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        inner = b"".join(e.encode() for e in self.events)
        head = struct.pack(">BHHI", SectionType.COMMAND, wire.CommandCode.PACKAGED, 4, len(inner))
        return head + inner


class Eof(Record):
    """The end byte; a VM description may still follow it."""

    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes((SectionType.EOF,))


class VmDescription(Record):
    """The JSON text after the end byte, not parsed (see `vmstate.view.vmdesc`)."""

    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return struct.pack(">BI", SectionType.VMDESCRIPTION, len(self.raw)) + bytes(self.raw)


class Trailing(Record):
    """Bytes after the end that belong to nothing; a loader complains and ignores them."""

    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)


class Undelimited(Record):
    """Bytes from a payload of unknown length to the end of the input; `section` is the payload's."""

    section: SectionStart
    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)


class Guessed(Record):
    """A payload of `section` whose length nothing tells: up to what looks like its footer (`vmstate.wire.guess`)."""

    section: SectionStart
    raw: Buffer
    offset: int = field(default=-1, compare=False)

    def encode(self) -> bytes:
        """The bytes on the wire."""
        return bytes(self.raw)

# SPDX-License-Identifier: Apache-2.0
"""Would this build's loader take this stream? `acceptance` answers, `accepts` lists the reasons against it.

    acceptance(stream, own)                 `own`: a stream that the destination build saved for this machine and profile
    acceptance(stream, own, schema=schema)  its schema adds the subsections that an idle device does not send
    acceptance(stream, schema)              its `-dump-vmstate` alone: refuses or may, never takes

1. Both read only what they are given; nothing runs.
2. Reasons come in the order in which the loader would meet them. QEMU stops at the first; `accepts` goes on
   with the next section, as each may have its own cause.
3. `certain` is False where the input does not tell: a subsection or an empty section that the destination may
   know, a resizable block that may be too large.
4. Nothing here sees the checks that devices make in their own code (features of a virtio device, hooks,
   `validate`) or the limits of resizable RAM blocks.
5. A schema knows device classes only: not the machine, its memory, its capabilities, nor what is no device
   (timers).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.check.refusal import Acceptance, Answer, LocalSection, Refusal, RefusalKind
from migmatrix.vmstate.check.schema import Schema
from migmatrix.vmstate.check.section import compare_section, compare_section_to_schema
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.stream import Section, Stream
from migmatrix.vmstate.wire.constants import RAM_SECTION, CommandCode, SectionType
from migmatrix.vmstate.wire.events import Command
from migmatrix.vmstate.wire.ramevents import RamBlock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from migmatrix.vmstate.view.vmdesc import DeviceDesc
    from migmatrix.vmstate.wire.events import SectionStart

__all__ = [
    "Acceptance",
    "Answer",
    "Local",
    "LocalSection",
    "Refusal",
    "RefusalKind",
    "acceptance",
    "accepts",
]


# Source: hw_compat_9_2 of QEMU 10.0 turns it off for older machine types; 5.2 and 7.2 were seen to refuse it.
_SINCE: Final[dict[int, str]] = {CommandCode.SWITCHOVER_START: "10.0"}
_WITH: Final[dict[tuple[int, bool], str]] = {  # an advice without sizes is of dirty bitmaps, and taken
    (CommandCode.POSTCOPY_ADVISE, True): "postcopy-ram",
    (CommandCode.ENABLE_COLO, False): "x-colo",
}


@dataclass(frozen=True)
class Local:
    """What the destination has. `blocks` are RAM block lengths in bytes; `page_bits` is None when unknown.

    `release` (``11.1``) decides which checks this build makes; without it, checks of some builds are
    uncertain.
    """

    machine: str
    sections: Mapping[tuple[str, int], LocalSection]
    blocks: Mapping[str, int] = field(default_factory=dict)
    capabilities: frozenset[str] = frozenset()
    page_bits: int | None = None
    uuid: bytes | None = None
    schema: Schema | None = None
    release: str = ""
    commands: frozenset[tuple[int, bool]] = frozenset()  # code, and whether it has arguments

    @classmethod
    def of_stream(cls, stream: Stream, schema: Schema | None = None, release: str = "") -> Local:
        """From a stream that the destination build saved itself."""
        configuration = stream.configuration
        uuid = configuration.value("uuid") if configuration else None
        bits = configuration.value("target-page-bits") if configuration else None
        return cls(
            machine=stream.machine or "",
            sections={section.key: _local(stream, section) for section in _first(stream)},
            blocks={block.name: block.used_length for block in blocks_of(stream)},
            capabilities=frozenset(configuration.capabilities if configuration else ()),
            page_bits=bits if isinstance(bits, int) else None,
            uuid=uuid if isinstance(uuid, bytes) else None,
            schema=schema,
            release=release,
            commands=frozenset(_commands_of(stream)),
        )

    def find(self, idstr: str, instance_id: int) -> LocalSection | None:
        """The section of this name, else the one that old streams name so, without its path."""
        found = self.sections.get((idstr, instance_id))
        if found is not None:
            return found
        by_old_name = [
            s for (name, _), s in self.sections.items() if name.rpartition("/")[2] == idstr and "/" in name
        ]
        return by_old_name[instance_id] if instance_id < len(by_old_name) else None


def _first(stream: Stream) -> Iterator[Section]:
    """Sections with names, in order."""
    return (section for section in stream.sections if section.start.whole)


def _local(stream: Stream, section: Section) -> LocalSection:
    payload = section.payload
    raw = bytes(payload.raw) if payload else b""
    return LocalSection(section.start.version_id, _description(stream, section), raw)


def _description(stream: Stream, section: Section) -> DeviceDesc | None:
    """What the stream's own VM description says of a section."""
    return stream.vmdesc.find(*section.key) if stream.vmdesc else None


def blocks_of(stream: Stream) -> list[RamBlock]:
    """The RAM block list of a stream."""
    return [event for section in stream.sections for event in section.events if isinstance(event, RamBlock)]


def acceptance(
    stream: Stream, by: Stream | Schema | Local, *, schema: Schema | None = None, release: str = ""
) -> Acceptance:
    """Whether the destination's loader takes `stream`, and every reason against it.

    `by` tells of the destination: a stream that it saved itself, its parsed schema, or a `Local` made of them.
    `schema` and `release` (``11.1``) complete its own stream; with the others they have no use. One certain reason
    makes the answer `REFUSES`, one that only may hold `MAY`. A schema alone, and a stream that its reader could
    not read to the end, prove no more than `MAY`; and by an own stream of that kind no reason is certain.
    """
    local = Local.of_stream(by, schema, release) if isinstance(by, Stream) else by
    reasons = tuple(accepts(stream, local))
    if isinstance(by, Stream) and _partial(by):
        reasons = tuple(replace(reason, certain=False) for reason in reasons)
    if any(reason.certain for reason in reasons):
        return Acceptance(Answer.REFUSES, reasons)
    proved = not reasons and not isinstance(by, Schema) and not _partial(stream)
    return Acceptance(Answer.TAKES if proved else Answer.MAY, reasons)


def _partial(stream: Stream) -> bool:
    """Whether the reader had to stop: at an error, or at a payload of unknown length."""
    return stream.error is not None or stream.undelimited is not None


def accepts(stream: Stream, local: Local | Schema) -> list[Refusal]:
    """Every reason why the destination's loader would refuse `stream`; empty when none is known."""
    return list(_by_schema(stream, local) if isinstance(local, Schema) else _by_local(stream, local))


def _by_local(stream: Stream, local: Local) -> Iterator[Refusal]:
    yield from _configuration(stream, local)
    elements: list[Section | Refusal] = [*_first(stream), *_commands(stream, local)]
    for element in sorted(elements, key=_offset):
        if isinstance(element, Refusal):
            yield element
        elif element.start.kind is SectionType.START:
            yield from _iterated(element, local)
        else:
            yield from _device(stream, element, local)


def _offset(element: Section | Refusal) -> int:
    return element.offset if isinstance(element, Refusal) else element.start.offset


# -- commands ----------------------------------------------------------------------------------


def _commands_of(stream: Stream) -> dict[tuple[int, bool], Command]:
    """The first command of each code, with and without arguments."""
    found: dict[tuple[int, bool], Command] = {}
    for event in stream.flat:
        if isinstance(event, Command):
            found.setdefault((event.code, bool(event.data)), event)
    return found


def _commands(stream: Stream, local: Local) -> Iterator[Refusal]:
    """Commands that a build is too old for, or takes only with a capability on; own streams show which it takes."""
    for (code, arguments), command in _commands_of(stream).items():
        if (code, arguments) in local.commands:
            continue
        since, capability = _SINCE.get(code, ""), _WITH.get((code, arguments), "")
        old = bool(since and local.release) and release_key(local.release) < release_key(since)
        if old or (since and not local.release):
            message = f"command {command.name} is sent, which builds read from {since} on"
        elif capability:
            message = f"command {command.name} is sent, which is read with capability {capability!r} on only"
        else:
            continue
        yield Refusal(
            RefusalKind.COMMAND, message, "command", field=command.name, certain=old, offset=command.offset
        )


# -- configuration -----------------------------------------------------------------------------


def _configuration(stream: Stream, local: Local) -> Iterator[Refusal]:
    configuration = stream.configuration
    if configuration is None:
        return
    machine = configuration.machine
    if not local.machine.startswith(machine):  # a strict prefix passes, in every version
        message = f"machine type is {machine!r}, here it is {local.machine!r}"
        yield Refusal(RefusalKind.MACHINE, message, "configuration", offset=configuration.offset)
    for name in sorted(local.capabilities ^ set(configuration.capabilities)):
        side = "source" if name in configuration.capabilities else "destination"
        message = f"capability {name!r} is on in the {side} only"
        yield Refusal(
            RefusalKind.CAPABILITY, message, "configuration", field=name, offset=configuration.offset
        )
    yield from _identity(configuration.value("target-page-bits"), configuration.value("uuid"), local)


def _identity(bits: object, uuid: object, local: Local) -> Iterator[Refusal]:
    if bits is not None and local.page_bits is not None and bits != local.page_bits:
        message = f"target pages have {bits} bits, here {local.page_bits}"
        yield Refusal(RefusalKind.PAGE_BITS, message, "configuration", field="target-page-bits")
    if uuid is not None and local.uuid is not None and uuid != local.uuid:
        yield Refusal(RefusalKind.UUID, "the machine's uuid is another", "configuration", field="uuid")


# -- RAM ---------------------------------------------------------------------------------------


def _iterated(section: Section, local: Local) -> Iterator[Refusal]:
    """RAM's block list (the reader checks its version); of other iterated sections only whether they exist."""
    start = section.start
    if start.idstr != RAM_SECTION:
        if local.find(*section.key) is None:
            yield _unknown(start, certain=False)
        return
    for event in section.events:
        if isinstance(event, RamBlock):
            yield from _block(event, local)


def _block(block: RamBlock, local: Local) -> Iterator[Refusal]:
    here = local.blocks.get(block.name)
    if here is None:
        message = f"there is no RAM block {block.name!r} here"
        yield Refusal(RefusalKind.UNKNOWN_BLOCK, message, RAM_SECTION, field=block.name, offset=block.offset)
    elif here != block.used_length and not _resizable(block.name):
        message = f"RAM block {block.name!r} has {block.used_length:#x} bytes, here {here:#x}"
        yield Refusal(RefusalKind.BLOCK_SIZE, message, RAM_SECTION, field=block.name, offset=block.offset)


def _resizable(name: str) -> bool:
    """Firmware tables take any size up to a limit that no stream tells and few reach."""
    return name.startswith("/rom@etc/")


def _unknown(start: SectionStart, *, certain: bool = True) -> Refusal:
    message = f"there is no section {start.idstr!r} with instance {start.instance_id} here"
    return _refusal(RefusalKind.UNKNOWN_SECTION, message, start, certain=certain)


def _refusal(kind: RefusalKind, message: str, start: SectionStart, *, certain: bool = True) -> Refusal:
    """A reason that concerns the section as a whole."""
    return Refusal(kind, message, start.idstr, start.instance_id, certain=certain, offset=start.offset)


# -- devices -----------------------------------------------------------------------------------


def _empty(section: Section) -> bool:
    """A section without content depends on a condition: the destination may know it unsent (``audio``)."""
    return section.payload is not None and not section.payload.raw


def _device(stream: Stream, section: Section, local: Local) -> Iterator[Refusal]:
    start = section.start
    here = local.find(*section.key)
    if here is None:
        yield _unknown(start, certain=not _empty(section))
    elif start.version_id > here.version_id:
        message = f"version {start.version_id} of {start.idstr!r} is sent, at most {here.version_id} is read"
        yield _refusal(RefusalKind.SECTION_VERSION, message, start)
    else:
        desc = _description(stream, section)
        yield from compare_section(section, desc, here, local.schema, local.release)


# -- by a schema alone -------------------------------------------------------------------------


def _by_schema(stream: Stream, schema: Schema) -> Iterator[Refusal]:
    """What device classes alone tell of a stream."""
    if stream.machine and schema.machine and not schema.machine.startswith(stream.machine):
        message = f"machine type is {stream.machine!r}, the schema was made with {schema.machine!r}"
        yield Refusal(RefusalKind.MACHINE, message, "configuration", certain=False)
    for section in _first(stream):
        if section.start.idstr != RAM_SECTION:
            yield from _device_class(stream, section, schema)


def _device_class(stream: Stream, section: Section, schema: Schema) -> Iterator[Refusal]:
    start, devices = section.start, schema.for_section(section.start.idstr)
    if not devices:
        message = f"the schema has no section {start.idstr!r}, and tells of device classes only"
        yield _refusal(RefusalKind.UNKNOWN_SECTION, message, start, certain=False)
    elif start.version_id > (most := max(device.description.version_id for device in devices)):
        message = f"version {start.version_id} of {start.idstr!r} is sent, at most {most} is read"
        yield _refusal(RefusalKind.SECTION_VERSION, message, start)
    else:
        yield from compare_section_to_schema(section, _description(stream, section), schema)

"""Would a build's loader take this stream? Told from a stream that it wrote itself, or from its ``-dump-vmstate``.

`vmstate.check.accept` decides what two streams tell. A schema tells less: versions of sections and subsections, and
which subsections there are. It has neither values nor layout on the wire, and lacks all that is no device class of its
own (timers, the common part of CPUs), so that a section which it does not have is a possible refusal only.
"""

from __future__ import annotations

from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.streams.file import open_stream
from migmatrix.vmstate.check.accept import Local, LocalSection, Refusal, RefusalKind, accepts, blocks_of
from migmatrix.vmstate.check.schema import load_schema
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.decode import decode
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from migmatrix.vmstate.check.schema import Schema, SchemaDescription, SchemaDevice
    from migmatrix.vmstate.view.decode import Node
    from migmatrix.vmstate.view.stream import Section, Stream

__all__ = ["Answer", "answer_of", "refusals"]

_NO_MACHINE: Final = ("", "none")  # of a dump that was made without a machine type


class Answer(IntEnum):
    """What a loader does with a stream; the values are exit codes."""

    TAKES = ExitCode.OK
    REFUSES = ExitCode.REGRESSIONS
    MAY = ExitCode.INCOMPLETE

    @property
    def word(self) -> str:
        """``takes``, ``refuses`` or ``may``, as JSON has it."""
        return self.name.lower()

    @property
    def text(self) -> str:
        """The predicate of a sentence about the loader."""
        return {"takes": "takes it", "refuses": "refuses it", "may": "may refuse it"}[self.word]


def answer_of(found: Sequence[Refusal]) -> Answer:
    """One certain reason refuses; without one, a possible reason leaves it open."""
    if any(refusal.certain for refusal in found):
        return Answer.REFUSES
    return Answer.MAY if found else Answer.TAKES


def refusals(path: str, by: str, release: str = "") -> list[Refusal]:
    """Why the loader of the build that wrote the stream `by`, or whose schema it is, would refuse the stream `path`.

    `release` is the version of that build, if known. UserError for a file that is neither, is damaged or is not there.
    """
    _check_release(release)
    with open_stream(by) as known, _stream(path) as stream:
        if bytes(known.data[:64]).lstrip().startswith(b"{"):
            return _by_schema(stream, _schema(by, bytes(known.data)), release)
        own = read_stream(known.data, strict=False, release=known.release)
        _refuse_damaged(own, by)
        return [*accepts(stream, Local.of_stream(own, release=release)), *_unread(stream)]


def _check_release(release: str) -> None:
    try:
        if release:
            release_key(release)
    except ValueError as err:
        raise UserError(str(err)) from err


@contextmanager
def _stream(path: str) -> Iterator[Stream]:
    with open_stream(path) as source:
        stream = read_stream(source.data, strict=False, release=source.release)
        _refuse_damaged(stream, path)
        yield stream


def _refuse_damaged(stream: Stream, path: str) -> None:
    if stream.error is not None:
        raise UserError(f"{path!r} is no whole stream: {stream.error}")


def _schema(path: str, text: bytes) -> Schema:
    try:
        return load_schema(text)
    except StreamError as err:
        raise UserError(f"{path!r} is no output of -dump-vmstate: {err}") from err


def _unread(stream: Stream) -> Iterator[Refusal]:
    """A stream that does not describe its devices, as one with postcopy, is compared up to the first of them."""
    lost = stream.undelimited
    if lost is not None:
        message = f"nothing tells the length of this section: {len(lost.raw)} bytes are not compared"
        start = lost.section
        yield Refusal(
            RefusalKind.LAYOUT, message, start.idstr, start.instance_id, certain=False, offset=lost.offset
        )


# -- by a schema -------------------------------------------------------------------------------


def _by_schema(stream: Stream, schema: Schema, release: str) -> list[Refusal]:
    """Refusals that a schema tells; everything else is taken to be as in the stream."""
    sections = {section.key: _local(stream, section, schema) for section in stream.sections}
    configuration = stream.configuration
    machine = (stream.machine or "") if schema.machine in _NO_MACHINE else schema.machine
    local = Local(
        machine=machine,
        sections=sections,
        blocks={block.name: block.used_length for block in blocks_of(stream)},
        capabilities=frozenset(configuration.capabilities if configuration else ()),
        schema=schema,
        release=release,
    )
    inside = (refusal for section in stream.sections for refusal in _inside(stream, section, schema))
    return [*accepts(stream, local), *inside, *_unread(stream)]


def _local(stream: Stream, section: Section, schema: Schema) -> LocalSection:
    """The section as the build has it: with its highest version, otherwise as it is sent."""
    devices = schema.for_section(section.start.idstr)
    version = max((device.version_id for device in devices), default=section.start.version_id)
    desc = stream.vmdesc.find(*section.key) if stream.vmdesc else None
    return LocalSection(version, desc, bytes(section.payload.raw) if section.payload else b"")


def _inside(stream: Stream, section: Section, schema: Schema) -> Iterator[Refusal]:
    start, payload = section.start, section.payload
    desc = stream.vmdesc.find(*section.key) if stream.vmdesc else None
    if payload is None or not start.whole:
        return
    devices = schema.for_section(start.idstr)
    if not devices:
        message = "no device class of the schema has this section, which may be of none"
        yield Refusal(
            RefusalKind.UNKNOWN_SECTION,
            message,
            start.idstr,
            start.instance_id,
            certain=False,
            offset=start.offset,
        )
    elif desc is not None:
        try:
            sent = decode(desc, payload.raw)
        except StreamError as err:
            message = f"the stream's own description does not fit: {err}"
            yield Refusal(RefusalKind.LAYOUT, message, start.idstr, start.instance_id, certain=False)
            return
        yield from _subsections(section, payload.offset, sent, devices)


def _subsections(
    section: Section, base: int, sent: Node, devices: tuple[SchemaDevice, ...]
) -> Iterator[Refusal]:
    start = section.start
    known: dict[str, list[SchemaDescription]] = {}
    for device in devices:
        for description in device.description.walk():
            known.setdefault(description.name, []).append(description)
    for node in _walk(sent):
        found = _subsection(node, known.get(node.name, []))
        if found is not None:
            kind, message = found
            yield Refusal(kind, message, start.idstr, start.instance_id, node.name, offset=base + node.offset)


def _walk(node: Node) -> Iterator[Node]:
    """Subsections at any depth; those of a subsection that is itself refused are told too."""
    for child in node.children:
        if child.kind == "subsection":
            yield child
        yield from _walk(child)


def _subsection(node: Node, known: Sequence[SchemaDescription]) -> tuple[RefusalKind, str] | None:
    if not known:
        return RefusalKind.SUBSECTION, f"there is no subsection {node.name!r} here"
    version = node.version or 0
    least, most = min(k.minimum_version_id for k in known), max(k.version_id for k in known)
    if least <= version <= most:
        return None
    return RefusalKind.VERSION, f"version {version} of {node.name!r} is sent, {least} to {most} are read"

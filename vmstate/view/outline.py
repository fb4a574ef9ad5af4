# SPDX-License-Identifier: Apache-2.0
"""A stream as plain data for people and programs: what `migmatrix stream show` prints.

Everything is JSON-able: numbers, strings, lists, dicts; bytes are hex strings. No rendering here. The first
section that a caller wants with its fields imports their decoder: without one, a program has no use for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.vmstate.view.stream import Section, Stream, page_runs
from migmatrix.vmstate.wire.events import Command, Packaged, Trailing, VmDescription
from migmatrix.vmstate.wire.ramevents import RamBlock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from migmatrix.vmstate.view.compare import Leaf
    from migmatrix.vmstate.view.ramimage import BlockImage
    from migmatrix.vmstate.wire.window import Buffer

__all__ = ["fields", "outline", "runs"]


def outline(stream: Stream, wanted: Callable[[Section], bool] | None = None) -> dict[str, Any]:
    """The whole stream; sections for which `wanted` is true come with their fields."""
    configuration = stream.configuration
    uuid = configuration.value("uuid") if configuration else None
    wrong = stream.error or stream.flaw
    described = next((e for e in stream.events if isinstance(e, VmDescription)), None)
    return {
        "size": stream.size,
        "version": stream.header.version if stream.header else None,
        "machine": stream.machine,
        "capabilities": list(configuration.capabilities) if configuration else [],
        "uuid": uuid.hex() if isinstance(uuid, bytes) else None,
        "ram": [_block(block) for block in stream.ram.blocks.values()],
        "sections": list(_sections(stream, wanted)),
        "commands": list(_commands(stream)),
        "description": None if described is None else _description(described, stream),
        "trailing": sum(len(e.raw) for e in stream.events if isinstance(e, Trailing)),
        "undelimited": _undelimited(stream),
        "guessed": [
            {"offset": e.offset, "section": e.section.idstr, "size": len(e.raw)} for e in stream.guessed
        ],
        "error": None if wrong is None else str(wrong),
    }


def _description(event: VmDescription, stream: Stream) -> dict[str, Any]:
    return {
        "offset": event.offset,
        "size": len(event.raw),
        "devices": len(stream.vmdesc.devices) if stream.vmdesc else 0,
        "page_size": stream.vmdesc.page_size if stream.vmdesc else None,
    }


def _undelimited(stream: Stream) -> dict[str, Any] | None:
    lost = stream.undelimited
    if lost is None:
        return None
    return {"offset": lost.offset, "section": lost.section.idstr, "size": len(lost.raw)}


def _block(block: BlockImage) -> dict[str, Any]:
    found: dict[str, Any] = {"name": block.name, "used_length": block.used_length, **block.counts}
    if block.address is not None:
        found["address"] = block.address
    return found


def _sections(stream: Stream, wanted: Callable[[Section], bool] | None) -> Iterator[dict[str, Any]]:
    seen: dict[tuple[str, int], int] = {}
    for section in stream.sections:
        entry = _section(section)
        if wanted is not None and wanted(section):
            entry["fields"] = fields(stream, section, seen.get(section.key, 0))
        seen[section.key] = seen.get(section.key, 0) + 1
        yield entry


def _section(section: Section) -> dict[str, Any]:
    start = section.start
    payload = section.payload
    first = section.events[0].offset if section.events else start.offset
    last = section.footer.offset if section.footer else first
    return {
        "offset": start.offset,
        "kind": start.kind.name.lower(),
        "id": start.section_id,
        "name": start.idstr,
        "instance": start.instance_id,
        "version": start.version_id,
        "size": len(payload.raw) if payload else last - first,
        "footer": section.footer is not None,
    }


def fields(stream: Stream, section: Section, nth: int = 0) -> list[dict[str, Any]]:
    """Values of a device's section in wire order; of RAM sections the block list."""
    if section.payload is None:
        blocks = (e for e in section.events if isinstance(e, RamBlock))
        return [{"path": b.name, "type": "block", "offset": b.offset, "value": b.used_length} for b in blocks]
    from migmatrix.vmstate.view.compare import section_values  # noqa: PLC0415 - see the docstring

    base = section.payload.offset
    found = section_values(stream, section, nth)
    raw = section.payload.raw
    return [
        _field(path, leaf, base, raw) | _named(section.start.idstr, path, leaf, found)
        for path, leaf in found.items()
        if path
    ]


def _named(idstr: str, path: str, leaf: Leaf, found: dict[str, Leaf]) -> dict[str, Any]:
    """Names of the registers of an x86 CPU."""
    from migmatrix.vmstate.view.registers import general_registers, segment  # noqa: PLC0415 - see the docstring

    if name := segment(idstr, path, found):
        return {"register": name}
    count = len(leaf.value) if isinstance(leaf.value, tuple) else 0
    names = general_registers(idstr, path, count, found)
    return {"registers": list(names)} if names else {}


def _field(path: str, leaf: Leaf, base: int, raw: Buffer) -> dict[str, Any]:
    value: Any = leaf.value
    if isinstance(value, bytes):
        value = value.hex()
    elif isinstance(value, tuple):
        value = list(value)
    place = {"offset": base + leaf.offset, "size": leaf.size}
    sent = bytes(raw[leaf.offset : leaf.offset + leaf.size]).hex()
    return {"path": path, "type": leaf.kind, **place, "value": value, "raw": sent}


def _commands(stream: Stream) -> Iterator[dict[str, Any]]:
    for event in stream.events:
        if isinstance(event, Packaged):
            yield {"offset": event.offset, "name": "PACKAGED", "elements": len(event.events)}
            yield from (_command(e) for e in event.events if isinstance(e, Command))
        elif isinstance(event, Command):
            yield _command(event)


def _command(event: Command) -> dict[str, Any]:
    found: dict[str, Any] = {"offset": event.offset, "name": event.name, **event.arguments}
    if "ranges" in found:
        found["ranges"] = [list(pair) for pair in found["ranges"]]
    return found


def runs(stream: Stream) -> Iterator[dict[str, Any]]:
    """Runs of pages in stream order: block, offset of the first page in bytes, how many, kind."""
    for run in page_runs(stream):
        yield {
            "offset": run.offset,
            "block": run.block,
            "first": run.first,
            "count": run.count,
            "kind": (run.kind.name or "").lower(),
        }

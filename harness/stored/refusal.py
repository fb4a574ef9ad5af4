# SPDX-License-Identifier: Apache-2.0
"""Show what a refused stream holds where it was refused: section, field or register, bytes.

This reads the stream that a failing leg loaded, with `vmstate`; it says nothing where the stream does not tell.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import zstandard

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.opaque import expand
from migmatrix.vmstate.view.pci import describe_offset
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from migmatrix.harness.model import Cause
    from migmatrix.vmstate.view.decode import Node
    from migmatrix.vmstate.view.stream import Section, Stream

__all__ = ["describe_refusal"]

_FEW = 24  # values of a section that is shown whole, when the cause names no field of it
_LONGEST = 16  # bytes that are shown of an opaque value
_PCI_CONFIG = "pci config"
_QUEUE = re.compile(r"VQ (\d+)")
# Part of a queue, by the name that QEMU's message gives it.
_RING = {"vring.num": "num", "address": "desc", "index": "last_avail"}


def describe_refusal(path: Path, cause: Cause) -> Iterator[str]:
    """Describe, line by line, the section that `cause` names in the zstd-compressed stream `path`."""
    with path.open("rb") as file:
        data = zstandard.ZstdDecompressor().stream_reader(file).read()
    stream = read_stream(memoryview(data), strict=False)
    for section in stream.sections:
        if section.start.idstr == cause.device and section.payload is not None:
            start = section.start
            where = f"instance {start.instance_id}, version {start.version_id}, at {start.offset:#x}"
            yield f"section   {start.idstr} {where} of the stream"
            yield from _fields(stream, section, cause)
            return


def _fields(stream: Stream, section: Section, cause: Cause) -> Iterator[str]:
    device = stream.vmdesc.find(*section.key) if stream.vmdesc else None
    if device is None or section.payload is None:
        yield "field     the stream does not describe this section"
        return
    try:
        values = list(leaves(decode(device, section.payload.raw)))
    except StreamError as err:
        yield f"field     {err}"
        return
    for name, node in values:
        if node.kind == _PCI_CONFIG and cause.field.startswith("0x"):
            yield _register(name, node, int(cause.field, 16))
            return
    if ring := list(_ring(section.start.idstr, values, cause)):
        yield from ring
        return
    named = [pair for pair in values if cause.field and cause.field in pair[0].split(".")]
    for name, node in named or (values if len(values) <= _FEW else []):
        yield f"field     {name} = {_value(node)}"


def _ring(idstr: str, values: list[tuple[str, Node]], cause: Cause) -> Iterator[str]:
    """Describe the part of a virtio queue that a message like ``VQ 0 vring.num 1024 exceeds`` names."""
    queue, part = _QUEUE.match(cause.message), _RING.get(cause.field)
    if queue is None or part is None:
        return
    for name, node in values:
        data = node.value if isinstance(node.value, bytes) else b""
        for found in expand(node.kind, data, idstr):
            if found.name == f"queue[{queue[1]}].{part}":
                raw = data[found.offset : found.offset + found.size]
                where = f"at {node.offset + found.offset:#x} of the section"
                yield f"field     {name}.{found.name} {where}: the stream holds {raw.hex(' ')} ({int.from_bytes(raw)})"


def _register(name: str, node: Node, offset: int) -> str:
    raw = bytes(node.value) if isinstance(node.value, bytes) else b""
    held = f"{raw[offset]:#04x}" if offset < len(raw) else "nothing"
    return f"register  {name}[{offset:#x}] {describe_offset(raw, offset)}: the stream holds {held}"


def _value(node: Node) -> str:
    if isinstance(node.value, bytes):
        more = "..." if len(node.value) > _LONGEST else ""
        return f"{node.value[:_LONGEST].hex(' ')}{more} ({len(node.value)} bytes)"
    return repr(node.value)

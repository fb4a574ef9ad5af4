# SPDX-License-Identifier: Apache-2.0
"""Where in the stream the two sides differ: section, field or register, what was sent and what is there.

The destination's own values come from a stream that the destination saved of the same machine and arguments. Only
the section that the failure names is compared; a difference that the failure's message points to is blamed. Pure:
streams in, records out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import ABSENT, Difference
from migmatrix.harness.judge.table import Place, load_table
from migmatrix.vmstate.view.compare import diff, label
from migmatrix.vmstate.view.decode import decode, leaves
from migmatrix.vmstate.view.pci import ConfigSpace
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.model import Cause
    from migmatrix.vmstate.view.compare import Change
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["compare_sides", "numbers", "sections_named"]

_NUMBER = re.compile(r"\b(?:0x[0-9a-fA-F]+|\d+)\b")
_MEMORY = "ram"


def compare_sides(sent: bytes, own: bytes, cause: Cause) -> tuple[Difference, ...]:
    """What differs in the section that `cause` names, blamed values first; StreamError for a damaged stream."""
    source = read_stream(memoryview(sent), strict=False)
    destination = read_stream(memoryview(own), strict=False)
    found = list(_differences(source, destination, cause))
    return tuple(sorted(found, key=lambda d: not d.blamed))


def _differences(source: Stream, destination: Stream, cause: Cause) -> Iterator[Difference]:
    sections = _labels(source, destination, cause)
    register = _register_at(source, cause)
    for change in diff(source, destination, ram=False):
        if change.section not in sections or change.volatile:
            continue
        blamed = _blamed(change, cause, register)
        yield Difference(change.section, _name(change), change.a or ABSENT, change.b or ABSENT, blamed)


def _labels(source: Stream, destination: Stream, cause: Cause) -> frozenset[str]:
    """The sections meant: by name, else by the name without its bus address; memory for its kinds."""
    if load_table().kind(cause.kind).place is Place.MEMORY:
        return frozenset({_MEMORY})
    return frozenset(label((*key, 0)) for key in sections_named(cause.device, source, destination))


def sections_named(device: str, *streams: Stream) -> list[tuple[str, int]]:
    """Keys of the sections that a failure means by `device`, in stream order: of that name, else without its bus address."""
    keys = dict.fromkeys(section.key for stream in streams for section in stream.sections)
    named = [key for key in keys if key[0] == device]
    if not named and device:
        named = [key for key in keys if key[0].rpartition("/")[2] == device.rpartition("/")[2]]
    return named


def _name(change: Change) -> str:
    return change.path or change.kind


def _blamed(change: Change, cause: Cause, register: str) -> bool:
    """Whether the failure's message points to this difference."""
    if register:
        return register in change.path
    match load_table().kind(cause.kind).place:
        case Place.VERSION | Place.SECTION as place:
            return change.kind == place.value
        case Place.MEMORY:
            return change.path == cause.device
        case Place.FIELD:
            return bool(cause.field) and _is_field(change, cause)
        case Place.NONE:
            return False


def _is_field(change: Change, cause: Cause) -> bool:
    """The same last name; when the message shows numbers, what was sent must be one of them."""
    wanted, has = cause.field.rpartition(".")[2], re.sub(r"\[\d+\]$", "", change.path).rpartition(".")[2]
    shown = numbers(cause.message)
    sent = numbers(change.a)
    return wanted == has.lstrip("/") and (not shown or not sent or bool(shown & sent))


def _register_at(stream: Stream, cause: Cause) -> str:
    """How the path of the register begins that holds the byte of `cause.field`; empty when it names no byte."""
    if not cause.field.startswith("0x"):
        return ""
    offset = int(cause.field, 16)
    for raw in _config_spaces(stream, cause.device):
        for register in ConfigSpace(raw).registers:
            if register.offset <= offset < register.offset + register.size:
                return f"[{register.offset:#x}]"
    return f"[{offset:#x}]"


def _config_spaces(stream: Stream, idstr: str) -> Iterator[bytes]:
    """The PCI config spaces in a section, as they were sent."""
    for section in stream.sections:
        device = stream.vmdesc.find(*section.key) if stream.vmdesc else None
        if section.key[0] == idstr and device is not None and section.payload is not None:
            for _, node in leaves(decode(device, section.payload.raw)):
                if node.kind == "pci config" and isinstance(node.value, bytes):
                    yield node.value


def numbers(text: str) -> frozenset[int]:
    """The numbers that a text shows."""
    return frozenset(int(word, 0) if word.startswith("0x") else int(word) for word in _NUMBER.findall(text))

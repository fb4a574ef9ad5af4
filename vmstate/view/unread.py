# SPDX-License-Identifier: Apache-2.0
"""What of a guest a file does not hold, so that nobody compares two guests by the rest.

`unread(stream)` is for a stream that was read without an error: bytes after its end, devices without a description, and
memory that went another way (multifd, postcopy, shared memory).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.wire import constants as wire
from migmatrix.vmstate.wire.constants import CommandCode, RamFlag
from migmatrix.vmstate.wire.events import Command
from migmatrix.vmstate.wire.ramevents import MappedData, RamMark

if TYPE_CHECKING:
    from migmatrix.vmstate.view.ramimage import BlockImage
    from migmatrix.vmstate.view.stream import Stream

__all__ = ["unread"]

_POSTCOPY = (CommandCode.POSTCOPY_LISTEN, CommandCode.POSTCOPY_RUN)


def unread(stream: Stream, *, devices: bool = True, contents: bool = True) -> str:
    """Why the file does not tell a guest's whole state, in one line; empty when it does.

    Without `devices` these are not asked for, without `contents` those of memory.
    """
    return (_devices(stream) if devices else "") or (_memory(stream) if contents else "")


def _devices(stream: Stream) -> str:
    if stream.flaw is not None:
        return f"the devices are not read: {stream.flaw}"
    if (lost := stream.undelimited) is not None:
        why = "" if stream.vmdesc else ": the file has no description of its devices"
        return f"nothing tells the length of {lost.section.idstr!r} at {lost.offset:#x}{why}"
    for guess in stream.guessed:
        return f"nothing tells the length of {guess.section.idstr!r} at {guess.offset:#x}: its end is a guess"
    if stream.trailing:
        return f"{len(stream.trailing)} bytes after the end are not read"
    return ""


def _memory(stream: Stream) -> str:
    if stream.memory is not None:
        return next(filter(None, map(_lacking, stream.ram.blocks.values())), "")
    events = list(stream.flat)
    if any(isinstance(e, Command) and e.code in _POSTCOPY for e in events):
        return "its memory came by postcopy, after this"
    if any(isinstance(e, RamMark) and e.flag is RamFlag.MULTIFD_FLUSH for e in events):
        return "its memory is in the multifd channels"
    capabilities = stream.configuration.capabilities if stream.configuration else ()
    mapped = {e.block for e in events if isinstance(e, MappedData)}
    for block in stream.ram.blocks.values():
        if block.name not in mapped and (missing := _missing(block)):
            shared = wire.CAPABILITY_IGNORE_SHARED in capabilities and not block.counts
            where = (
                "shared, and not in the file"
                if shared
                else "not in the file: multifd channels have their own"
            )
            return f"{missing} pages of memory block {block.name!r} are {where}"
    return ""


def _lacking(block: BlockImage) -> str:
    pages = _missing(block)
    return f"{pages} pages of memory block {block.name!r} are in none of the channels" if pages else ""


def _missing(block: BlockImage) -> int:
    """Pages of a block of which no record tells. Those of mapped-ram are not counted: zero pages have no record."""
    return max(0, -(-block.used_length // block.page_size) - sum(block.counts.values()))

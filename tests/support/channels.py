# SPDX-License-Identifier: Apache-2.0
"""Reads recorded channels to their ends and counts what was on them; AssertionError when a byte is left over."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from migmatrix.harness.streams.forms import HEAD, foreign
from migmatrix.vmstate.view.stream import flat, read_stream
from migmatrix.vmstate.wire.channel import ChannelReader, PreemptReader
from migmatrix.vmstate.wire.events import Command, Event
from migmatrix.vmstate.wire.multifd import MultifdPacket, MultifdReader, Unpack, inflate
from migmatrix.vmstate.wire.ramevents import PageMix, PageRun
from migmatrix.vmstate.wire.reader import StreamReader
from migmatrix.vmstate.wire.returnpath import RequestPages, ReturnMessage, ReturnPathReader
from migmatrix.vmstate.wire.signal import Signal

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.ram import RamState
    from migmatrix.vmstate.wire.reader import Delimiter

__all__ = ["Found", "read_broken", "read_main", "read_multifd", "read_preempt", "read_return"]

_PIECE = 1000  # bytes given to a reader at once
_RECORD = 4096 + 300  # most that a cut can leave of a record: a page, its word and a name


class Found(Counter[str]):
    """Elements by name, requests and commands by theirs, ``bytes`` in all; `compression` of multifd packets."""

    def __init__(self) -> None:
        super().__init__()
        self.compression: Counter[int] = Counter()

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.most_common())

    def note(self, events: list[Event], size: int) -> None:
        """Count the events of `size` bytes."""
        self["bytes"] += size
        for event in flat(tuple(events)):
            self[_name(event)] += 1
        self["Packaged"] += sum(type(event).__name__ == "Packaged" for event in events)


def _name(event: Event) -> str:
    if isinstance(event, Command):
        return event.name
    if isinstance(event, ReturnMessage):
        return event.code.name
    if isinstance(event, RequestPages):
        return "REQ_PAGES" if event.block is None else "REQ_PAGES_ID"
    return type(event).__name__


def _whole(reader: ChannelReader | StreamReader, data: bytes) -> list[Event]:
    """All events of a channel that came to its end."""
    events: list[Event] = []
    for at in range(0, len(data), _PIECE):
        reader.feed(data[at : at + _PIECE])
        events.extend(reader.events())
    reader.close()
    events.extend(reader.events())
    assert reader.next_event() is Signal.END
    assert b"".join(event.encode() for event in events) == data
    return events


def read_main(
    data: bytes, found: Found, delimiter: Delimiter | None = None, earlier: StreamReader | None = None
) -> StreamReader:
    """A main channel; without a `delimiter` by its own description. `earlier` read the one that broke."""
    if delimiter is None:
        described = read_stream(data).vmdesc
        assert described is not None
        delimiter = described.delimiter()
    reader = StreamReader(delimiter=delimiter, header=earlier is None, earlier=earlier)
    events = _whole(reader, data)
    assert not [event for event in flat(tuple(events)) if type(event).__name__ in {"Undelimited", "Trailing"}]
    found.note(events, len(data))
    return reader


def read_broken(data: bytes, found: Found, delimiter: Delimiter) -> StreamReader:
    """A main channel that was cut somewhere: all but a part of its last record is read."""
    reader = StreamReader(delimiter=delimiter)
    reader.feed(data)
    events = list(reader.events())
    read = b"".join(event.encode() for event in events)
    assert data.startswith(read)
    assert len(data) - len(read) < _RECORD
    found.note(events, len(data))
    found["cut off bytes"] += len(data) - len(read)
    return reader


def _named(data: bytes) -> str:
    """What the command says of such a file."""
    return foreign(data[:HEAD]) or ""


def read_return(data: bytes, found: Found) -> None:
    """A return path."""
    assert "a return path" in _named(data)
    found.note(_whole(ReturnPathReader(), data), len(data))


def read_preempt(data: bytes, ram: RamState, found: Found) -> None:
    """A postcopy-preempt channel."""
    assert "postcopy-preempt" in _named(data)
    events = _whole(PreemptReader(ram), data)
    found.note(events, len(data))
    found["urgent pages"] += sum(event.count for event in events if isinstance(event, PageRun | PageMix))


def read_multifd(data: bytes, found: Found, zstd: Unpack) -> None:
    """A multifd channel, its pages unpacked."""
    assert "a channel of multifd" in _named(data)
    events = _whole(MultifdReader(), data)
    found.note(events, len(data))
    packets = [event for event in events if isinstance(event, MultifdPacket)]
    found.compression.update(int(packet.compression) for packet in packets if packet.normal)
    for packet in inflate(packets, zstd=zstd):
        found["unpacked pages"] += sum(run.count for run in packet.pages())

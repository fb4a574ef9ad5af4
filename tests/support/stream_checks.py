# SPDX-License-Identifier: Apache-2.0
"""What has to hold for every stream that a real QEMU saved, as a list of what does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.compare import diff
from migmatrix.vmstate.view.decode import Node, decode, leaves
from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.stream import page_runs, read_stream
from migmatrix.vmstate.view.volatile import RULES
from migmatrix.vmstate.wire.constants import RamFlag
from migmatrix.vmstate.wire.events import Payload

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator

    from migmatrix.vmstate.view.compare import Change
    from migmatrix.vmstate.view.stream import Section, Stream
    from migmatrix.vmstate.wire.ramevents import PageRun

__all__ = ["Counts", "check_flips", "check_stream", "check_twice"]

_HARD = 2  # of a processor's interrupt_request: an interrupt controller asks for it
_NO_VALUE = ("nullptr", "ptr-marker", "unused_buffer")  # how things are sent; what no loader looks at


@dataclass
class Counts:
    """What was looked at."""

    streams: int = 0
    size: int = 0
    sections: int = 0
    values: int = 0
    undecoded: Counter[str] = field(
        default_factory=Counter
    )  # structs kept as bytes: their description is wrong
    by_kind: Counter[str] = field(default_factory=Counter)  # bytes by element
    flips: int = 0
    twice: int = 0

    def add(self, record: dict[str, Any]) -> None:
        """Add other counts, as `record` gives them."""
        for name, count in record.items():
            mine = getattr(self, name)
            setattr(self, name, mine + (Counter(count) if isinstance(mine, Counter) else count))

    def record(self) -> dict[str, Any]:
        """As JSON-able data."""
        return dict(vars(self))

    def __str__(self) -> str:
        kinds = ", ".join(f"{name} {size}" for name, size in self.by_kind.most_common())
        return (
            f"{self.streams} streams, {self.size} bytes, all accounted for and equal when written back ({kinds}); "
            f"{self.sections} sections, {self.values} values; {self.twice} saved twice with equal digests; "
            f"{self.flips} flipped bits, each with another digest; not decoded: {dict(self.undecoded)}"
        )


def check_stream(data: bytes, counts: Counts) -> list[str]:
    """Every byte is in a named element, the same bytes come out again, every payload is decoded."""
    stream = read_stream(data, strict=False)
    found = account(stream, data)
    problems = list(found.problems)
    if not problems and stream.encode() != data:
        problems.append("written back it is another stream")
    if sum(found.by_kind.values()) != len(data):
        problems.append(f"{sum(found.by_kind.values())} of {len(data)} bytes are accounted for")
    counts.streams += 1
    counts.size += len(data)
    counts.by_kind.update(found.by_kind)
    for section, node in _decoded(stream):
        counts.sections += 1
        if node is None:
            problems.append(f"{section.start.idstr}: its description does not fit it")
        else:
            _count_values(section, node, counts)
    return problems


def _count_values(section: Section, node: Node, counts: Counts) -> None:
    for path, leaf in leaves(node):
        counts.values += 1
        if leaf.problem:
            counts.undecoded[f"{section.start.idstr.rpartition('/')[2]} {path}"] += 1


def _decoded(stream: Stream) -> Iterator[tuple[Section, Node | None]]:
    """Sections of devices with their values; None where the description does not fit."""
    seen: Counter[tuple[str, int]] = Counter()
    for section in stream.sections:
        payload = section.payload
        if payload is None:
            continue
        nth, seen[section.key] = seen[section.key], seen[section.key] + 1
        desc = stream.vmdesc.find(*section.key, nth) if stream.vmdesc else None
        try:
            yield section, decode(desc, bytes(payload.raw)) if desc else None
        except StreamError:
            yield section, None


def check_twice(one: bytes, two: bytes, counts: Counts) -> list[str]:
    """Two saves of the same paused guest have one digest."""
    a, b = read_stream(one), read_stream(two)
    counts.twice += 1
    if digest(a) == digest(b):
        return []
    lasting = [
        f"{c.section} {c.path}: {c.a} {c.b}" for c in diff(a, b) if not (c.volatile or _is_raised_late(c))
    ]
    if not lasting and any(map(_is_raised_late, diff(a, b))):
        return []
    return [f"saved twice, the digests differ: {'; '.join(lasting[:5]) or 'but not by diff'}"]


def _is_raised_late(change: Change) -> bool:
    """Whether two saves differ in what a load leaves to a processor's thread, which may not have come to it yet.

    What the controllers ask for is in their own state; 10.0 was seen to have one flag less in one of hundreds of loads.
    """
    return (
        change.path.endswith("interrupt_request")
        and change.kind == "value"
        and int(change.a, 0) ^ int(change.b, 0) == _HARD
    )


def check_flips(data: bytes, chosen: random.Random, counts: Counts) -> list[str]:
    """Another bit of one device value, and of one byte of memory, gives another digest."""
    stream = read_stream(data)
    before, problems = digest(stream), []
    for where, offset, bit in _bits(stream, chosen):
        changed = bytearray(data)
        changed[offset] ^= bit
        counts.flips += 1
        if digest(read_stream(bytes(changed), strict=False)) == before:
            problems.append(f"{where}: bit {bit:#x} at {offset:#x} does not change the digest")
    return problems


def _bits(stream: Stream, chosen: random.Random) -> Iterator[tuple[str, int, int]]:
    """(what, offset in the stream, mask) of one value of one device and of one byte of memory."""
    sections = [(s, node) for s, node in _decoded(stream) if node is not None and _visible(s, node)]
    if sections:
        section, node = chosen.choice(sections)
        path, leaf = chosen.choice(_visible(section, node))
        payload = section.payload
        assert isinstance(payload, Payload)
        at = payload.offset + leaf.offset + chosen.randrange(leaf.size)
        yield f"{section.start.idstr} {path}", at, 1 if leaf.kind == "bool" else 1 << chosen.randrange(8)
    if pages := _lasting_pages(stream):
        run, index = chosen.choice(pages)
        at = run.offset + run.lead + run.stride * index
        yield f"ram {run.block}", at + chosen.randrange(run.page_size), 1 << chosen.randrange(8)


def _lasting_pages(stream: Stream) -> list[tuple[PageRun, int]]:
    """(run, index in it) of pages with content; of a page that a running guest wrote, the last that was sent."""
    last: dict[tuple[str, int], tuple[PageRun, int]] = {}
    for run in page_runs(stream):
        last.update({(run.block, offset): (run, i) for i, (offset, _) in enumerate(run.pages())})
    return [(run, index) for run, index in last.values() if run.kind is RamFlag.PAGE]


def _visible(section: Section, node: Node) -> list[tuple[str, Node]]:
    """Values of which no rule says that they change by themselves."""
    return [
        (path, leaf)
        for path, leaf in leaves(node)
        if leaf.size and leaf.kind not in _NO_VALUE and not _volatile(section.start.idstr, path)
    ]


def _volatile(idstr: str, path: str) -> bool:
    return any(fnmatchcase(idstr, r.section) and fnmatchcase(path, r.path) for r in RULES)

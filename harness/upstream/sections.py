# SPDX-License-Identifier: Apache-2.0
"""The bytes of the failing section on both sides, about the first field that differs. Pure: streams in, records out.

1. The section is the one that the failure names: of several with that name, the first that one side alone has, else the
   first that is of another shape. A side that does not have it has no bytes. A failure that names none means those that
   the nearest command line that passes does not send.
2. What is shown begins shortly before the first difference that a loader notices: a field that only one side has or
   that is of another size, else the value that the failure's message points to, else the first other value.
3. A field under another name at the same place, with the same bytes, is no difference: a loader reads by place.
4. At most `_MOST` bytes of each side are shown, and at most `_FIELDS` fields.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.harness.explain.where import compare_sides, sections_named
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.compare import section_values
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from migmatrix.harness.model import Cause
    from migmatrix.harness.upstream.facts import Streams
    from migmatrix.vmstate.view.compare import Leaf
    from migmatrix.vmstate.view.stream import Section, Stream
    from migmatrix.vmstate.view.vmdesc import DeviceDesc

__all__ = ["Bytes", "FieldRow", "Side", "look", "read"]

_MOST = 192
_BEFORE = 32
_FIELDS = 16
_ROW = 16
_FIRST = 8  # bytes of a field
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Side:
    """One side's section: its version, its payload, its values by path, and its description where the stream has one."""

    version: int
    raw: bytes
    values: Mapping[str, Leaf]
    description: DeviceDesc | None


@dataclass(frozen=True, slots=True)
class FieldRow:
    """A field that differs: offset, size and first bytes on each side, ``-`` where a side lacks it."""

    name: str
    source: str
    destination: str


@dataclass(frozen=True, slots=True)
class Bytes:
    """A section on both sides. `begin` is the offset, in bytes of the payload, where what is shown begins."""

    section: str
    source: Side | None
    destination: Side | None
    begin: int
    fields: tuple[FieldRow, ...]
    more: int  # fields that differ and are not shown

    def dump(self, side: Side) -> Iterator[str]:
        """Lines as ``0020  00 01 ..``; ``*`` stands for lines like the one before."""
        shown = side.raw[: self.begin + _MOST]
        rows = [(at, shown[at : at + _ROW]) for at in range(self.begin, len(shown), _ROW)]
        for number, (at, row) in enumerate(rows):
            if number and number + 1 < len(rows) and row == rows[number - 1][1]:
                if row != rows[number - 2][1] or number == 1:
                    yield "*"
            else:
                yield f"{at:04x}  {row.hex(' ')}"
        if len(shown) < len(side.raw):
            yield f"...   ({len(side.raw)} bytes in all)"


def look(streams: Streams, cause: Cause) -> Bytes | None:
    """The failing section; None without a stream that was sent, or where neither stream has it.

    StreamError for a stream that cannot be read.
    """
    sent, own = streams.sent, streams.own
    if sent is None:
        return None
    source = read_stream(memoryview(sent), strict=False)
    destination = None if own is None else read_stream(memoryview(own), strict=False)
    named = sections_named(cause.device, *(s for s in (source, destination) if s is not None))
    pairs = {
        key: (_side(source, key), None if destination is None else _side(destination, key))
        for key in named or _added(source, streams.plain)
    }
    if not pairs:
        return None
    key = min(pairs, key=lambda k: _likeness(*pairs[k]))
    one, two = pairs[key]
    blamed = [] if own is None else [d.name for d in compare_sides(sent, own, cause) if d.blamed]
    rows = list(_differing(one, two, blamed))
    at = _first(one, two, rows)
    begin = max(0, at - _BEFORE) // _ROW * _ROW
    shown = [_field(path, one, two) for path in rows[:_FIELDS]]
    return Bytes(f"{key[0]}#{key[1]}", one, two, begin, tuple(shown), max(0, len(rows) - _FIELDS))


def _added(source: Stream, plain: bytes | None) -> list[tuple[str, int]]:
    """Sections of a device's whole state that the nearest command line does not send."""
    if plain is None:
        return []
    there = {section.key for section in read_stream(memoryview(plain), strict=False).sections}
    return [s.key for s in source.sections if s.key not in there and s.payload is not None]


def _likeness(one: Side | None, two: Side | None) -> int:
    """0 where one side alone has it, 1 where the shapes differ, else 2 (rule 1)."""
    if one is None or two is None:
        return 0
    return 1 if any(_shape(path, one, two) for path in _differing(one, two, ())) else 2


def _side(stream: Stream, key: tuple[str, int]) -> Side | None:
    section = next((s for s in stream.sections if s.key == key), None)
    if section is None:
        return None
    device = stream.vmdesc.find(*key) if stream.vmdesc else None
    return Side(section.start.version_id, _raw(section), section_values(stream, section), device)


def _raw(section: Section) -> bytes:
    return b"".join(event.encode() for event in section.events)


def _differing(one: Side | None, two: Side | None, blamed: Iterable[str]) -> Iterator[str]:
    """Paths of fields with bytes that differ: rule 2, then as they lie in the section."""
    if one is None or two is None:
        return
    order = sorted({**two.values, **one.values}, key=lambda p: _offset(p, one, two))
    same = _places(one, two) & _places(two, one)
    differing = [
        p for p in order
        if _offset(p, one, two) >= 0 and _unlike(p, one, two) and _place(p, one, two) not in same
    ]  # fmt: skip
    named = dict.fromkeys(blamed)
    yield from sorted(differing, key=lambda p: (not _shape(p, one, two), p not in named))


def _places(side: Side, other: Side) -> frozenset[tuple[int, int, bytes]]:
    """Offset, size and bytes of each field that the other side has not by this name (rule 3)."""
    leaves = [leaf for path, leaf in side.values.items() if path not in other.values]
    return frozenset((x.offset, x.size, side.raw[x.offset : x.offset + x.size]) for x in leaves)


def _place(path: str, one: Side, two: Side) -> tuple[int, int, bytes] | None:
    """Of a field that one side alone has; None of one that both have."""
    if (path in one.values) == (path in two.values):
        return None
    side = one if path in one.values else two
    leaf = side.values[path]
    return leaf.offset, leaf.size, side.raw[leaf.offset : leaf.offset + leaf.size]


def _offset(path: str, one: Side, two: Side) -> int:
    found = one.values.get(path) or two.values.get(path)
    return -1 if found is None else found.offset


def _shape(path: str, one: Side, two: Side) -> bool:
    """Whether only one side has it, or it is of another size."""
    a, b = one.values.get(path), two.values.get(path)
    return a is None or b is None or a.size != b.size


def _unlike(path: str, one: Side, two: Side) -> bool:
    return _shape(path, one, two) or one.values[path].value != two.values[path].value


def _first(one: Side | None, two: Side | None, rows: list[str]) -> int:
    """Where the first of the fields differs: of one that both have, its first byte that does."""
    if one is None or two is None or not rows:
        return 0
    at = _offset(rows[0], one, two)
    if rows[0] not in one.values or rows[0] not in two.values:
        return at
    a, b = (side.raw[side.values[rows[0]].offset :][: side.values[rows[0]].size] for side in (one, two))
    return at + next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _field(path: str, one: Side | None, two: Side | None) -> FieldRow:
    return FieldRow(path, _bytes(path, one), _bytes(path, two))


def _bytes(path: str, side: Side | None) -> str:
    leaf = side.values.get(path) if side else None
    if side is None or leaf is None:
        return _NONE
    raw = side.raw[leaf.offset : leaf.offset + leaf.size]
    more = " .." if len(raw) > _FIRST else ""
    return f"{leaf.offset:04x}+{leaf.size}: {raw[:_FIRST].hex(' ')}{more}"


def read(streams: Streams, cause: Cause) -> tuple[Bytes | None, str]:
    """`look`, or why it cannot."""
    try:
        return look(streams, cause), ""
    except StreamError as err:
        return None, str(err)

# SPDX-License-Identifier: Apache-2.0
"""What differs between two streams, as a reviewer wants to read it.

`diff(a, b)` compares machine, capabilities, sections by (idstr, instance id), versions, subsections, fields
and values, PCI config spaces by register, and RAM block by block. It ignores order, section ids and framing,
as a loader does. The rules of `vmstate.view.volatile` mark values that change by themselves.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import Record, field
from migmatrix.vmstate.view.decode import Node, Value, decode, leaves
from migmatrix.vmstate.view.opaque import expand
from migmatrix.vmstate.view.pci import ConfigSpace
from migmatrix.vmstate.view.ramimage import BlockImage, differ
from migmatrix.vmstate.view.registers import general_registers
from migmatrix.vmstate.view.volatile import Lookup, mask
from migmatrix.vmstate.wire.events import Undelimited

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

    from migmatrix.vmstate.view.stream import Section, Stream

__all__ = ["Change", "Leaf", "content", "diff", "keyed", "label", "lookup", "section_values", "values"]

Key = tuple[str, int, int]  # idstr, instance id, how many of that key came before


class Leaf(Record):
    """One comparable value. `offset` counts bytes from the start of the payload; -1 without one; `size` in bytes."""

    kind: str
    value: Value | str
    offset: int = -1
    size: int = field(default=0, compare=False)


class Change(Record):
    """One difference. `a` and `b` are the two values as text, empty when that side has none.

    `kind` is machine, capability, section, version, subsection, field, value, type, register, ram-block,
    ram-size or ram-content; `section` is the idstr with ``#instance``, ``ram`` for memory. `volatile` says
    why the difference does not count (empty: it does): the value changes by itself, or only its name is
    another.
    """

    kind: str
    section: str
    path: str
    a: str
    b: str
    volatile: str = ""


_KINDS: Final = {"version": "version", "subsection": "version", "register": "register"}
_SHOWN: Final = 16  # bytes of a buffer in a report


def label(key: Key) -> str:
    """``serial#1``; with ``(2)`` for the second section of that key."""
    name = f"{key[0]}#{key[1]}"
    return name if not key[2] else f"{name}({key[2] + 1})"


def values(stream: Stream) -> dict[Key, dict[str, Leaf]]:
    """All device sections of a stream to their values by path; see `section_values`."""
    return {key: section_values(stream, section, key[2]) for key, section in keyed(stream).items()}


def keyed(stream: Stream) -> dict[Key, Section]:
    """All device sections of a stream, in its order."""
    seen: Counter[tuple[str, int]] = Counter()
    found: dict[Key, Section] = {}
    for section in stream.sections:
        if section.payload is not None or _lost(section):
            found[*section.key, seen[section.key]] = section
            seen[section.key] += 1
    return found


def content(section: Section) -> bytes:
    """What it holds, in which `Leaf.offset` counts."""
    return b"".join(e.encode() for e in section.events)


def _lost(section: Section) -> bool:
    return any(isinstance(e, Undelimited) for e in section.events)


def section_values(stream: Stream, section: Section, nth: int = 0) -> dict[str, Leaf]:
    """Values of one section by path: fields, subsection versions (``/name``), PCI registers.

    A payload that no description covers is one value, ``payload``.
    """
    raw = content(section)
    found = {"": Leaf("version", section.start.version_id)}
    device = stream.vmdesc.find(*section.key, nth) if stream.vmdesc else None
    if device is None or section.payload is None:
        found["payload"] = Leaf("buffer", raw, 0, len(raw))
        return found
    try:
        node = decode(device, raw)
    except StreamError:
        found["payload"] = Leaf("buffer", raw, 0, len(raw))
        return found
    _collect(node, found)
    return found


def _collect(node: Node, found: dict[str, Leaf]) -> None:
    for path, child in _subsections(node, ""):
        found[path] = Leaf("subsection", child.version or 0, child.offset, child.size)
    seen: Counter[str] = Counter()
    for path, leaf in leaves(node):
        seen[path] += 1  # a field may be sent by itself and again inside of an array or a struct
        name = path if seen[path] == 1 else f"{path}({seen[path]})"
        found.update(_expanded(name, Leaf(leaf.kind, leaf.value, leaf.offset, leaf.size), node.name))


def _expanded(path: str, leaf: Leaf, idstr: str) -> dict[str, Leaf]:
    """A value by its registers or known parts; itself when it has none."""
    if not isinstance(leaf.value, bytes):
        return {path: leaf}
    if leaf.kind == "pci config":
        return _registers(path, leaf.value, leaf.offset)
    found: dict[str, Leaf] = {}
    for part in expand(leaf.kind, leaf.value, idstr):
        inner = Leaf(part.kind, part.value, leaf.offset + part.offset, part.size)
        found.update(_expanded(f"{path}.{part.name}", inner, idstr))
    return found or {path: leaf}


def _subsections(node: Node, path: str) -> Iterator[tuple[str, Node]]:
    for child in node.children:
        inside = f"{path}/{child.name}" if child.kind == "subsection" else _join(path, child.name)
        if child.kind == "subsection":
            yield inside, child
        yield from _subsections(child, inside)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _registers(path: str, raw: bytes, offset: int) -> dict[str, Leaf]:
    """Registers by name, and each run of other bytes that are not zero by its offset."""
    found: dict[str, Leaf] = {}
    named = bytearray(len(raw))
    for r in ConfigSpace(raw).registers:
        found[f"{path}[{r.offset:#x}] {r.label}"] = Leaf("register", r.value, offset + r.offset, r.size)
        named[r.offset : r.offset + r.size] = b"\1" * len(named[r.offset : r.offset + r.size])
    for i, byte in enumerate(raw):
        if byte and not named[i]:
            found[f"{path}[{i:#x}]"] = Leaf("register", byte, offset + i, 1)
    return found


# -- diff --------------------------------------------------------------------------------------


def diff(a: Stream, b: Stream, *, ram: bool = True) -> tuple[Change, ...]:
    """All differences, RAM last; `ram=False` leaves out the contents of memory, not its sizes."""
    return tuple(_diff(a, b, ram))


def _diff(a: Stream, b: Stream, ram: bool) -> Iterator[Change]:
    yield from _configuration(a, b)
    left, right = keyed(a), keyed(b)
    for key in [*left, *(k for k in right if k not in left)]:
        x, y = left.get(key), right.get(key)
        if x is None or y is None:
            yield Change(
                "section", label(key), "", "" if x is None else "present", "" if y is None else "present"
            )
        elif not _alike(key, a, x, b, y):
            yield from _section(key, section_values(a, x, key[2]), section_values(b, y, key[2]))
    yield from _memory(a, b, ram)


def _alike(key: Key, a: Stream, x: Section, b: Stream, y: Section) -> bool:
    """Whether two sections have the same version, bytes and description, and so the same values."""
    if x.start.version_id != y.start.version_id or content(x) != content(y):
        return False
    first, second = (s.vmdesc.find(*key) if s.vmdesc else None for s in (a, b))
    return first == second


def _configuration(a: Stream, b: Stream) -> Iterator[Change]:
    if a.machine != b.machine:
        yield Change("machine", "configuration", "machine", a.machine or "", b.machine or "")
    first, second = _capabilities(a), _capabilities(b)
    for name in sorted(first ^ second):
        yield Change("capability", "configuration", name, _on(name in first), _on(name in second))
    for part in ("uuid", "target-page-bits"):
        x, y = (s.configuration.value(part) if s.configuration else None for s in (a, b))
        if x != y:
            yield Change("value", "configuration", part, _text(x), _text(y))


def _capabilities(stream: Stream) -> frozenset[str]:
    return frozenset(stream.configuration.capabilities if stream.configuration else ())


def _on(present: bool) -> str:
    return "on" if present else ""


def _section(key: Key, a: dict[str, Leaf], b: dict[str, Leaf]) -> Iterator[Change]:
    name = label(key)
    renamed = _renamed(a, b)
    for path in [*a, *(p for p in b if p not in a)]:
        x, y = a.get(path), b.get(path)
        if x is None or y is None:
            known = x or y
            kind = known.kind if known and known.kind in {"subsection", "register"} else "field"
            why = "same bytes under another name" if path in renamed else ""
            yield Change(kind, name, path, _leaf_text(x), _leaf_text(y), why)
        elif x.value != y.value:
            why = _why(key[0], path, a, b)
            names = _names(key[0], path, x.value, a)
            yield Change(_KINDS.get(x.kind, "value"), name, path, *_pair(x.value, y.value, names), why)
        elif x.kind != y.kind:
            yield Change("type", name, path, x.kind, y.kind, "same value of another type")


def _renamed(a: dict[str, Leaf], b: dict[str, Leaf]) -> frozenset[str]:
    """Paths of one side only whose offset, type and value the other side has under another name."""
    left = {(x.offset, x.kind, x.value): path for path, x in a.items() if path not in b and _by_place(x)}
    right = {(y.offset, y.kind, y.value): path for path, y in b.items() if path not in a and _by_place(y)}
    return frozenset(part[key] for key in left.keys() & right.keys() for part in (left, right))


def _by_place(leaf: Leaf) -> bool:
    """Whether a loader knows it by its place; it knows a subsection by its name."""
    return leaf.kind != "subsection"


def _why(idstr: str, path: str, a: dict[str, Leaf], b: dict[str, Leaf]) -> str:
    """The rule that allows two values to differ; empty when more differs than it allows."""
    x, why = mask(idstr, path, a[path].value, lookup(a))
    y, other = mask(idstr, path, b[path].value, lookup(b))
    return (why or other) if x == y else ""


def lookup(found: dict[str, Leaf]) -> Lookup:
    """Values of a section by path, for the rules of `vmstate.view.volatile`."""
    return lambda path: found[path].value if path in found else None


def _leaf_text(leaf: Leaf | None) -> str:
    return "" if leaf is None else (_text(leaf.value) or "present")


def _text(value: Value | str | tuple[str, ...]) -> str:
    """A value as a reader wants it: numbers in hex, negative ones in decimal, the start of a long buffer."""
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:#x}" if value >= 0 else str(value)
    if isinstance(value, bytes):
        more = f"... ({len(value)} bytes)" if len(value) > _SHOWN else ""
        return value[:_SHOWN].hex() + more
    more = f" ... ({len(value)})" if len(value) > _SHOWN else ""
    return "[" + " ".join(_text(v) for v in value[:_SHOWN]) + more + "]"


def _names(idstr: str, path: str, value: Value | str, paths: Container[str]) -> tuple[str, ...]:
    return general_registers(idstr, path, len(value), paths) if isinstance(value, tuple) else ()


def _pair(a: Value | str, b: Value | str, names: tuple[str, ...] = ()) -> tuple[str, str]:
    """Both values as text; of arrays the elements that differ, of long buffers the part from the first difference on."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        different = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
        return _elements(a, different, names), _elements(b, different, names)
    if isinstance(a, bytes) and isinstance(b, bytes) and len(a) == len(b) > _SHOWN:
        at = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y)
        return f"[{at:#x}] {_text(a[at : at + _SHOWN])}", f"[{at:#x}] {_text(b[at : at + _SHOWN])}"
    return _text(a), _text(b)


def _elements(values: tuple[Value, ...], numbers: list[int], names: tuple[str, ...]) -> str:
    more = f" ... ({len(numbers)} differ)" if len(numbers) > _SHOWN else ""
    shown = (f"[{names[i] if names else hex(i)}] {_text(values[i])}" for i in numbers[:_SHOWN])
    return " ".join(shown) + more


# -- memory ------------------------------------------------------------------------------------


def _memory(a: Stream, b: Stream, contents: bool) -> Iterator[Change]:
    left, right = a.ram.blocks, b.ram.blocks
    for name in [*left, *(n for n in right if n not in left)]:
        x, y = left.get(name), right.get(name)
        if x is None or y is None:
            yield Change("ram-block", "ram", name, _size(x), _size(y))
            continue
        if x.used_length != y.used_length:
            yield Change("ram-size", "ram", name, _size(x), _size(y))
        if x.address != y.address:
            yield Change("value", "ram", f"{name}.address", _text(x.address), _text(y.address))
        if contents and (found := differ(x, y)).pages:
            yield Change("ram-content", "ram", name, f"{found.pages} pages from {found.first:#x}", "differ")


def _size(block: BlockImage | None) -> str:
    return "" if block is None else f"{block.used_length:#x}"

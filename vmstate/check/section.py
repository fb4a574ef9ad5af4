# SPDX-License-Identifier: Apache-2.0
"""One section against the destination's own of the same name: values that must agree, layout, subsections.

1. The comparison follows the wire, so names of structs do not matter.
2. A difference of layout ends it, as everything after that is shifted.
3. A length that the stream itself may carry (array, buffer, opaque type) is no certain refusal.
4. A schema alone has names and versions, but no wire sizes: a difference of fields is never certain.
"""

from __future__ import annotations

from difflib import SequenceMatcher
from itertools import zip_longest
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.check.cpu import CPU_SUBSECTIONS
from migmatrix.vmstate.check.items import Item, Key, items_of, subsections_of
from migmatrix.vmstate.check.layout import leaves
from migmatrix.vmstate.check.pcimask import first_difference
from migmatrix.vmstate.check.refusal import LocalSection, Refusal, RefusalKind
from migmatrix.vmstate.check.use import perhaps_use, without_use
from migmatrix.vmstate.check.virtio import adds_by_use, read_virtio_pci
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.record import replace
from migmatrix.vmstate.view.decode import Node, decode
from migmatrix.vmstate.view.pci import describe_offset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.check.schema import Schema, SchemaDescription
    from migmatrix.vmstate.view.stream import Section
    from migmatrix.vmstate.view.vmdesc import DeviceDesc

__all__ = ["compare_section", "compare_section_to_schema"]

_CHECKS_RINGS: Final = (11, 1)  # 10.0 does not check ring sizes, 11.1 does; nobody looked between
_FIXED: Final = frozenset(
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint16",
        "int32",
        "uint32",
        "int64",
        "uint64",
        "timer",
        "CPU_Double_U",
        "nullptr",
        "ptr-marker",
    ]
)  # types with one size on the wire


_ALIGNED: Final = 256  # fields between like ones; a longer stretch counts as one change


def compare_section(
    section: Section, desc: DeviceDesc | None, here: LocalSection, schema: Schema | None, release: str
) -> Iterator[Refusal]:
    """Refusals inside one section; without both descriptions only by the length."""
    start, payload = section.start, section.payload
    if payload is None:
        return
    comparison = _Comparison(section, payload.offset, schema, release)
    raw = bytes(payload.raw)
    if desc is None or here.desc is None or not desc.vmsd.name:
        yield from comparison.lengths(len(raw), len(here.raw))
        return
    yield from comparison.minimum(start.version_id)
    if raw == here.raw and desc.vmsd == here.desc.vmsd:
        return  # a build reads what it sends
    try:
        ours, theirs = decode(desc, raw), decode(here.desc, here.raw)
    except StreamError:  # a description that does not fit its own bytes tells nothing
        yield from comparison.lengths(len(raw), len(here.raw))
        return
    yield from comparison.section(ours, theirs)


def compare_section_to_schema(section: Section, desc: DeviceDesc | None, schema: Schema) -> Iterator[Refusal]:
    """Refusals inside one section by the schema alone, which has a class for it.

    Names of fields and subsections come from `desc`; without it only the section's version is compared.
    """
    start, payload = section.start, section.payload
    comparison = _Comparison(section, payload.offset if payload else start.offset, schema, "")
    yield from comparison.minimum(start.version_id)
    if desc is None or payload is None or not desc.vmsd.name:
        return
    try:
        node = decode(desc, bytes(payload.raw))
    except StreamError:  # a description that does not fit its own bytes tells nothing
        return
    yield from comparison.to_schema(node)


class _Comparison:
    """One section; `incoming` is the stream's, `local` the destination's own."""

    def __init__(self, section: Section, base: int, schema: Schema | None, release: str) -> None:
        self._start = section.start
        self._base = base
        self._release = release_key(release) if release else None
        devices = schema.for_section(section.start.idstr) if schema else ()
        self._known = [device.description for device in devices]
        named = (
            schema.conditional if schema and not devices else frozenset()
        )  # no class of the schema is this
        self._fields = {
            field.name.rpartition(".")[2]: field
            for known in self._known
            for description in known.walk()
            for field in description.fields
        }
        self._conditional_names = named | {name for name, field in self._fields.items() if field.conditional}

    def _refusal(
        self, kind: RefusalKind, message: str, name: str, node: Node | None, *, certain: bool = True
    ) -> Refusal:
        start = self._start
        offset = start.offset if node is None else self._base + node.offset
        return Refusal(kind, message, start.idstr, start.instance_id, name, certain, offset)

    def lengths(self, incoming: int, local: int) -> Iterator[Refusal]:
        """Compare a section that nothing describes by its length."""
        if incoming != local:
            message = f"{incoming} bytes are sent, here a section has {local}"
            yield self._refusal(RefusalKind.LAYOUT, message, "", None, certain=False)

    def minimum(self, version: int) -> Iterator[Refusal]:
        """The lowest version that any device class with this description reads."""
        least = min((known.minimum_version_id for known in self._known), default=0)
        if version < least:
            message = f"version {version} is sent, at least {least} is read"
            yield self._refusal(RefusalKind.VERSION, message, "", None)

    def section(self, incoming: Node, local: Node) -> Iterator[Refusal]:
        """All of a section: its version is in its header."""
        yield from self._body(incoming, local, self._known, self._start.version_id)

    def to_schema(self, incoming: Node) -> Iterator[Refusal]:
        """Names of fields and subsections, and versions of these: all that a schema has of the wire."""
        version = self._start.version_id
        refusals = [self._named(incoming, known, version) for known in self._known]
        yield from () if None in refusals else filter(None, refusals[:1])
        for node in subsections_of(incoming):
            yield from self._subsection_to_schema(node)

    def _subsection_to_schema(self, node: Node) -> Iterator[Refusal]:
        yield from self._subsection(node, None)
        for inner in subsections_of(node):
            yield from self._subsection_to_schema(inner)

    def _named(self, incoming: Node, known: SchemaDescription, version: int) -> Refusal | None:
        """Fields that only one side names; never certain, as an array without elements has no name in a stream."""
        items = list(items_of(incoming))
        sent, read = {item.name for item in items}, leaves(known, version, None)
        extra = [item.path for item in items if item.name not in {leaf.key[0] for leaf in read}]
        missing = [leaf.name for leaf in read if not leaf.maybe and leaf.key[0] not in sent]
        if not extra and not missing:
            return None
        message = f"{_shown(extra)} sent only, {_shown(missing)} read only"
        first = next((item for item in items if item.path in extra), None)
        name, node = (first.path, first.node) if first else (missing[0], None)
        return self._refusal(RefusalKind.LAYOUT, message, name, node, certain=False)

    def _body(
        self, incoming: Node, local: Node, known: list[SchemaDescription], version: int
    ) -> Iterator[Refusal]:
        """Fields in wire order, then subsections; a difference of layout ends it."""
        read = (item for item in items_of(local) if _reads(item, known, version))
        ours, theirs = without_use(
            list(items_of(incoming)), list(read), known, version, self._conditional_names
        )
        balanced = _bytes(ours) == _bytes(theirs)  # the footer is found: values shift, no loader notices
        unsure = balanced or (not known and perhaps_use(ours, theirs))
        for tag, a, b, c, d in _aligned([item.key for item in ours], [item.key for item in theirs]):
            if tag == "equal":
                for one, other in zip(ours[a:b], theirs[c:d], strict=True):
                    yield from self._value(one, other)
            elif refusals := list(self._unequal(ours[a:b], theirs[c:d])):
                layout = RefusalKind.LAYOUT
                yield from (
                    replace(r, certain=r.certain and not (unsure and r.kind is layout)) for r in refusals
                )
                return
        here = {node.name: node for node in subsections_of(local)}
        for node in subsections_of(incoming):
            yield from self._subsection(node, here.get(node.name))

    def _unequal(self, ours: list[Item], theirs: list[Item]) -> Iterator[Refusal]:
        """A run of fields without an equal: the value that the device would refuse first, else the layout."""
        if len(ours) == len(theirs) == 1 and ours[0].path == theirs[0].path:
            found = list(self._value(ours[0], theirs[0]))
            if found or self._in_use(ours[0].node, theirs[0].node):
                yield from found
                return
        refusal = self._layout(ours, theirs)
        if refusal is not None:
            yield refusal

    def _in_use(self, sent: Node, here: Node) -> bool:
        """Whether a virtio device sends more or less only because its guest drives it."""
        if sent.kind != "virtio" or not isinstance(sent.value, bytes) or not isinstance(here.value, bytes):
            return False
        return adds_by_use(sent.value, here.value, self._start.idstr)

    def _layout(self, ours: list[Item], theirs: list[Item]) -> Refusal | None:
        """A run of fields without an equal: a refusal unless it has as many bytes on both sides."""
        sent, read = _bytes(ours), _bytes(theirs)
        if sent == read:
            return None
        one = (ours or theirs)[0]
        message = f"{_names(ours)} ({sent} bytes) sent, {_names(theirs)} ({read} bytes) read"
        certain = not (self._elastic(ours, theirs) or any(map(self._conditional, (*ours, *theirs))))
        return self._refusal(
            RefusalKind.LAYOUT, message, one.path, ours[0].node if ours else None, certain=certain
        )

    def _elastic(self, ours: list[Item], theirs: list[Item]) -> bool:
        """Whether these are the same fields, of types whose length the stream itself may carry."""
        same = [item.path for item in ours] == [item.path for item in theirs]
        return same and all(item.node.kind not in _FIXED or _many(item) for item in ours)

    def _conditional(self, item: Item) -> bool:
        """Whether the destination may read this field under a condition of its own, by its schema.

        A field for old streams only has a prefix (``mig_ti_cmd``), and its own stream does not hold it.
        """
        return any(field.conditional and name.endswith(item.name) for name, field in self._fields.items())

    def _value(self, incoming: Item, local: Item) -> Iterator[Refusal]:
        kind, sent, here = local.node.kind, incoming.node.value, local.node.value
        if isinstance(sent, bytes) and isinstance(here, bytes):
            if kind == "pci config":
                yield from self._config(incoming, sent, here)
            elif kind == "virtio":
                yield from self._virtio(incoming, sent, here)
        elif (kind.endswith(" equal") and sent != here) or (kind == "int32 le" and not _le(sent, here)):
            wanted = "at most" if kind == "int32 le" else "exactly"
            message = f"{incoming.path!r} is {sent!r}, read is {wanted} {here!r}"
            yield self._refusal(RefusalKind.VALUE, message, incoming.path, incoming.node)

    def _config(self, item: Item, sent: bytes, here: bytes) -> Iterator[Refusal]:
        at = first_difference(sent, here)
        if at is not None:
            message = f"{describe_offset(here, at)}: byte {at:#x} is {sent[at]:#x}, here {here[at]:#x}"
            yield self._refusal(RefusalKind.CONFIG_SPACE, message, f"{at:#x}", item.node)

    def _virtio(self, item: Item, sent: bytes, here: bytes) -> Iterator[Refusal]:
        """Config space, then ring sizes, which only newer builds check."""
        ours, theirs = read_virtio_pci(sent), read_virtio_pci(here)
        if ours is None or theirs is None:
            return
        refusals = list(self._config(item, ours.config, theirs.config))
        if self._release is None or self._release >= _CHECKS_RINGS:
            refusals.extend(self._rings(item, ours.sizes, theirs.sizes))
        yield from refusals[:1]

    def _rings(self, item: Item, sent: tuple[int, ...], here: tuple[int, ...]) -> Iterator[Refusal]:
        for queue, (size, limit) in enumerate(zip_longest(sent, here, fillvalue=0)):
            if size > limit:
                message = f"queue {queue} has a ring of {size}, here at most {limit}"
                name = f"{item.path}.vq[{queue}].vring.num"
                yield self._refusal(
                    RefusalKind.VALUE, message, name, item.node, certain=self._release is not None
                )

    def _subsection(self, node: Node, local: Node | None) -> Iterator[Refusal]:
        schemas = [sub for known in self._known for sub in known.walk() if sub.name == node.name]
        if local is None and not schemas and self._start.idstr == "cpu" and node.name in CPU_SUBSECTIONS:
            return
        if local is None and not schemas:
            message = f"there is no subsection {node.name!r} here"
            known = bool(self._known)
            yield self._refusal(RefusalKind.SUBSECTION, message, node.name, node, certain=known)
            return
        refusal = self._subsection_version(node, local, schemas)
        if refusal is not None:
            yield refusal
        elif local is not None:
            yield from self._body(node, local, schemas, node.version or 0)

    def _subsection_version(
        self, node: Node, local: Node | None, schemas: list[SchemaDescription]
    ) -> Refusal | None:
        versions = [sub.version_id for sub in schemas] + ([local.version or 0] if local else [])
        least = min((sub.minimum_version_id for sub in schemas), default=0)
        version = node.version or 0
        if least <= version <= max(versions):
            return None
        message = f"version {version} of {node.name!r} is sent, {least} to {max(versions)} are read"
        return self._refusal(RefusalKind.VERSION, message, node.name, node)


def _aligned(a: list[Key], b: list[Key]) -> Iterator[tuple[str, int, int, int, int]]:
    """Opcodes as of `difflib`, which takes cubic time and so sees only a short middle that differs."""
    most = min(len(a), len(b))
    head = next((i for i in range(most) if a[i] != b[i]), most)
    tail = next((i for i in range(most - head) if a[-1 - i] != b[-1 - i]), most - head)
    yield "equal", 0, head, 0, head
    x, y = a[head : len(a) - tail], b[head : len(b) - tail]
    if max(len(x), len(y)) > _ALIGNED:
        yield "replace", head, head + len(x), head, head + len(y)
    else:
        for tag, i, j, k, m in SequenceMatcher(None, x, y, autojunk=False).get_opcodes():
            yield tag, i + head, j + head, k + head, m + head
    yield "equal", len(a) - tail, len(a), len(b) - tail, len(b)


def _reads(item: Item, known: list[SchemaDescription], version: int) -> bool:
    """False for a field, or a part of a struct, that the schema has from a later version on."""
    fields = [field for description in known for field in description.fields if item.is_in(field.name)]
    return not fields or any(field.conditional or field.version_id <= version for field in fields)


def _bytes(items: list[Item]) -> int:
    return sum(item.node.size for item in items)


def _names(items: list[Item]) -> str:
    return _shown([item.path for item in items])


def _shown(paths: list[str]) -> str:
    shown = ", ".join(map(repr, paths[:4]))
    return f"{shown}, ..." if len(paths) > 4 else shown or "nothing"  # noqa: PLR2004 - enough to read


def _many(item: Item) -> bool:
    return isinstance(item.node.value, tuple)


def _le(sent: object, here: object) -> bool:
    return isinstance(sent, int) and isinstance(here, int) and 0 <= sent <= here

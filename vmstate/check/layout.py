# SPDX-License-Identifier: Apache-2.0
"""What a schema's description puts on the wire, as a flat list of leaves.

1. Nesting does not show on the wire, so a field that moved into a struct is no difference.
2. A field without a test is there unless its version is above that of the load.
3. A struct loads at its own version, a section or subsection at the incoming one.
4. A loader finds a struct's own subsections by name, wherever they come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.vmstate.record import Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.vmstate.check.schema import SchemaDescription, SchemaField
    from migmatrix.vmstate.check.static_check import Sent

__all__ = ["Leaf", "leaves", "subsections"]


class Leaf(Record):
    """A field other than a struct; `description` is the one that holds it.

    `count` is None when the dump does not tell. `maybe` names the condition of a field that may be missing,
    and is empty for one that every save has.
    """

    description: str
    name: str
    size: int
    count: int | None
    maybe: str

    @property
    def total(self) -> int:
        """Bytes of the C object, all elements."""
        return self.size * (1 if self.count is None else self.count)

    @property
    def key(self) -> tuple[str, int]:
        """The same for one field on both sides: the last step of its name (structs come and go), and its size."""
        return self.name.rpartition(".")[2], self.size


def leaves(description: SchemaDescription, version: int, sent: Sent | None) -> list[Leaf]:
    """Leaves of `description` in wire order, in a save or load at `version`."""
    return list(_walk(description, version, sent, ""))


def _walk(description: SchemaDescription, version: int, sent: Sent | None, maybe: str) -> Iterator[Leaf]:
    for at, field in enumerate(description.fields):
        known = _known(description, at, version, sent)
        if known is False:
            continue
        unsure = maybe or (f"{description.name}:{field.name}" if known is None else "")
        inner = field.description
        if inner is None:
            yield Leaf(description.name, field.name, field.size, field.count, unsure)
        else:
            yield from _walk(inner, inner.version_id, sent, unsure)


def _known(description: SchemaDescription, at: int, version: int, sent: Sent | None) -> bool | None:
    """Whether field number `at` is there; None when only a run of the device could tell."""
    field = description.fields[at]
    if not field.conditional:
        return field.version_id <= version
    if sent is None:
        return None
    return sent.has_field(description.name, _unique(description.fields, at))


def _unique(fields: tuple[SchemaField, ...], at: int) -> str:
    """The name in a VM description: with a number when it occurs more than once."""
    names = [field.name for field in fields]
    name = names[at]
    return f"{name}[{names[:at].count(name)}]" if names.count(name) > 1 else name


def subsections(description: SchemaDescription) -> dict[str, SchemaDescription]:
    """Subsections by name: the description's own and those of the structs in it."""
    found = {sub.name: sub for sub in description.subsections}
    for field in description.fields:
        if field.description is not None:
            found |= subsections(field.description)
    return found

# SPDX-License-Identifier: Apache-2.0
"""A section's bytes cut into fields by a schema, for streams without a VM description.

A schema has neither wire types nor the lengths of variable arrays, so `cut` believes only a cut that comes
out even: every field at its nominal size, then nothing but subsections that the schema knows, cut in the same
way, up to the last byte. Otherwise all bytes are one opaque piece that says why: `cut` does not guess. On
sections of QEMU 5.2 to 11.1 with a known description, every cut that came out even had the true boundaries.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from migmatrix.vmstate.check.layout import leaves, subsections

if TYPE_CHECKING:
    from migmatrix.vmstate.check.layout import Leaf
    from migmatrix.vmstate.check.schema import SchemaDescription

__all__ = ["Piece", "cut"]

_MARK = b"\x05"  # begins a subsection


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of one field; `path` is ``description.field``. `opaque` says why nobody knows more, or is ""."""

    path: str
    offset: int
    data: bytes
    opaque: str = ""


class _Uneven(Exception):
    """Why a cut does not come out even."""


def cut(description: SchemaDescription, raw: bytes, version: int) -> list[Piece]:
    """Fields of a section at `version`; one opaque piece when the schema does not explain all bytes."""
    try:
        pieces, end = _body(description, raw, 0, version)
    except _Uneven as why:
        return [Piece(description.name, 0, raw, str(why))]
    if end != len(raw):
        return [Piece(description.name, 0, raw, f"fields end at {end} of {len(raw)} bytes")]
    return pieces


def _body(description: SchemaDescription, raw: bytes, at: int, version: int) -> tuple[list[Piece], int]:
    pieces = []
    for leaf in leaves(description, version, None):
        pieces.append(_piece(leaf, raw, at))
        at += leaf.total
    known = subsections(description)
    while raw[at : at + 1] == _MARK:
        name, start = _prefix(raw, at)
        sub = known.get(name)
        if sub is None:
            raise _Uneven(f"{name!r} at {at} is no subsection of {description.name!r}")
        inner, at = _body(sub, raw, start, int.from_bytes(raw[start - 4 : start], "big"))
        pieces += inner
    return pieces, at


def _piece(leaf: Leaf, raw: bytes, at: int) -> Piece:
    path = f"{leaf.description}.{leaf.name}"
    if leaf.maybe:
        raise _Uneven(f"{path} may not be there")
    if not leaf.size:
        raise _Uneven(f"{path} has a size of its own")
    if at + leaf.total > len(raw):
        raise _Uneven(f"{path} ends at {at + leaf.total} of {len(raw)} bytes")
    return Piece(path, at, raw[at : at + leaf.total])


def _prefix(raw: bytes, at: int) -> tuple[str, int]:
    """Name of the subsection at `at`, and where its fields begin."""
    length = raw[at + 1] if at + 1 < len(raw) else 0
    start = at + 2 + length + 4
    if start > len(raw):
        raise _Uneven(f"a subsection at {at} is cut off")
    return raw[at + 2 : at + 2 + length].decode("latin-1"), start

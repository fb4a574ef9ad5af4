# SPDX-License-Identifier: Apache-2.0
"""Cutting by a schema: only what comes out even is believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.vmstate.check.schema import SchemaDescription, SchemaField
from migmatrix.vmstate.check.schema_read import cut

PAIR = SchemaDescription("pair", 1, 0, (SchemaField("a", 0, False, 1), SchemaField("b", 0, False, 2)))
MORE = SchemaDescription("dev/more", 1, 0, (SchemaField("m", 0, False, 1),))
DEV = SchemaDescription(
    "dev",
    2,
    0,
    (
        SchemaField("x", 0, False, 4),
        SchemaField("s", 0, False, 8, None, PAIR),
        SchemaField("late", 2, False, 1),
    ),
    (MORE,),
)
PREFIX = b"\x05\x08dev/more\0\0\0\1"


def pieces(
    raw: bytes, version: int = 2, description: SchemaDescription = DEV
) -> list[tuple[str, int, bytes]]:
    return [(piece.path, piece.offset, piece.data) for piece in cut(description, raw, version)]


def test_fields_structs_and_subsections() -> None:
    assert pieces(b"xxxxabbl" + PREFIX + b"m") == [
        ("dev.x", 0, b"xxxx"), ("pair.a", 4, b"a"), ("pair.b", 5, b"bb"), ("dev.late", 7, b"l"),
        ("dev/more.m", 22, b"m"),
    ]  # fmt: skip


def test_a_field_of_a_later_version_is_not_there() -> None:
    assert [path for path, _, _ in pieces(b"xxxxabb", 1)] == ["dev.x", "pair.a", "pair.b"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"xxxxab", "pair.b ends at 7 of 6 bytes"),
        (b"xxxxabbl+", "fields end at 8 of 9 bytes"),
        (b"xxxxabbl\x05\x03abc\0\0\0\1", "'abc' at 8 is no subsection of 'dev'"),
        (b"xxxxabbl\x05", "a subsection at 8 is cut off"),
        (b"xxxxabbl" + PREFIX, "dev/more.m ends at 23 of 22 bytes"),
    ],
)
def test_what_does_not_come_out_even_is_opaque(raw: bytes, why: str) -> None:
    (piece,) = cut(DEV, raw, 2)
    assert (piece.data, piece.opaque) == (raw, why)


@pytest.mark.parametrize(
    ("field", "why"),
    [
        (SchemaField("c", 0, True, 1), "d.c may not be there"),
        (SchemaField("z", 0, False, 0), "d.z has a size of its own"),
    ],
)
def test_what_a_schema_does_not_tell_is_opaque(field: SchemaField, why: str) -> None:
    assert cut(SchemaDescription("d", 0, 0, (field,)), b"x", 0)[0].opaque == why


@given(st.binary(max_size=60), st.integers(0, 3))
def test_no_byte_is_lost_whatever_comes(raw: bytes, version: int) -> None:
    found = cut(DEV, raw, version)
    marked = sum(len(PREFIX) for piece in found if piece.path == "dev/more.m")
    assert sum(len(piece.data) for piece in found) + marked == len(raw)

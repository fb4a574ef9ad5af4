# SPDX-License-Identifier: Apache-2.0
"""QMP's JSON: what is a value, where it ends, and what is said of what is none (real QEMU's answers as data)."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.emulator.qmp.syntax import Reader, SyntaxMistake

ANSWERS = json.loads((Path(__file__).parents[2] / "data" / "qmp-syntax.json").read_text())

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def read(data: bytes, cuts: list[int], release: str = "10.0") -> list[Any]:
    reader = Reader(release)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    parts = [data[a:b] for a, b in pairwise(places)]
    return [value for part in parts for value in reader.feed(part)]


@pytest.mark.parametrize("release", sorted(ANSWERS["mistakes"]))
def test_every_mistake_as_real_qemu_says_it(release: str) -> None:
    found = read(ANSWERS["input"].encode(), [], release)
    assert [str(value) for value in found if isinstance(value, SyntaxMistake)] == ANSWERS["mistakes"][release]


@given(st.lists(JSON, max_size=3), st.lists(st.integers(0, 400), max_size=6))
def test_any_values_in_any_pieces(values: list[Any], cuts: list[int]) -> None:
    data = " ".join(json.dumps(value) for value in values).encode() + b"\n"
    assert read(data, cuts) == values


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_any_bytes_give_values_or_mistakes(data: bytes, cuts: list[int]) -> None:
    for value in read(data, cuts):
        assert isinstance(value, SyntaxMistake) or json.dumps(value)


def test_depth_is_limited() -> None:
    (mistake,) = read(b"[" * 2000, [])[:1]
    assert "limit exceeded" in str(mistake)

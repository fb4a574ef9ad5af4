# SPDX-License-Identifier: Apache-2.0
"""Records behave as frozen dataclasses do."""

from __future__ import annotations

import copy
import pickle
from functools import cached_property
from typing import ClassVar

import pytest

from migmatrix.vmstate.record import Record, field, replace


class Point(Record):
    """Fields with and without a default, and a constant that is no field."""

    x: int
    y: int = 2
    place: int = field(default=-1, compare=False)
    secret: str = field(default="", repr=False)
    unit: ClassVar[str] = "mm"

    def total(self) -> int:
        return self.x + self.y


class Cached(Record, attributes=True):
    values: tuple[int, ...]

    @cached_property
    def total(self) -> int:
        return sum(self.values)


def test_fields_by_place_by_name_and_by_default() -> None:
    assert Point(1) == Point(x=1, y=2)
    assert Point(1).total() == 3
    assert (Point(1, 5).y, Point(1).place, Point.unit) == (5, -1, "mm")
    for arguments in ((), (1, 2, 3, "", 5)):
        with pytest.raises(TypeError):
            Point(*arguments)
    with pytest.raises(TypeError):
        Point(1, unit="cm")  # type: ignore[call-arg]  # what is tested


def test_equality_and_hash_leave_out_what_does_not_count() -> None:
    assert Point(1, place=7) == Point(1, place=8)
    assert hash(Point(1, place=7)) == hash(Point(1, place=8))
    assert Point(1, secret="a") != Point(1, secret="b")  # noqa: S106 - not a password
    assert Point(1) != Cached((1,))
    assert Point(1) != (1, 2, -1, "")


def test_records_do_not_change() -> None:
    point = Point(1)
    with pytest.raises(AttributeError, match="cannot assign to 'x'"):
        point.x = 2  # type: ignore[misc]  # what is tested
    with pytest.raises(AttributeError, match="cannot delete 'x'"):
        del point.x
    assert not hasattr(point, "__dict__")


def test_repr_match_copy_and_pickle() -> None:
    assert repr(Point(1, secret="s")) == "Point(x=1, y=2, place=-1)"  # noqa: S106 - not a password
    match Point(3, 4):
        case Point(x, y):
            assert (x, y) == (3, 4)
    for twin in (copy.copy(Point(1, 9, 5)), pickle.loads(pickle.dumps(Point(1, 9, 5)))):  # noqa: S301 - our own
        assert (twin.x, twin.y, twin.place) == (1, 9, 5)


def test_cached_properties() -> None:
    cached = Cached((1, 2))
    assert (cached.total, cached.total, vars(cached)) == (3, 3, {"total": 3})


class Positive(Record):
    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("not positive")


def test_a_record_may_check_itself() -> None:
    assert Positive(1).number == 1
    with pytest.raises(ValueError, match="not positive"):
        Positive(0)


def test_replace_makes_another_record_and_checks_it() -> None:
    assert replace(Point(1, 2, place=3), y=5) == Point(1, 5)
    assert replace(Point(1, 2, place=3), y=5).place == 3
    with pytest.raises(ValueError, match="not positive"):
        replace(Positive(1), number=-1)
    with pytest.raises(TypeError):
        replace(Positive(1), other=1)

# SPDX-License-Identifier: Apache-2.0
"""What a guest adds to a section by running, of which the destination's own stream of an idle guest tells no layout.

`without_use(sent, here, known, ...)` leaves it out on both sides, so that it is no difference:

1. A pointer that is null on one side.
2. A list that ends by a mark (`_LISTS`): its elements are the guest's.
3. Elements of an array beyond what both sides have, where a field tells the number on both.
4. A field that the destination's schema has in every save, and of which its own stream has no byte: an array without
   elements.
5. A field that the build knows under a condition, right behind a number that is zero on one side only: the condition.
   Where versions differ they may be the condition, so that this does not hold.

Without a schema nothing proves 4 and 5; `perhaps_use` tells what may be that, so that it is no certain refusal.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.check.items import last_name

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from migmatrix.vmstate.check.items import Item
    from migmatrix.vmstate.check.schema import SchemaDescription

__all__ = ["perhaps_use", "without_use"]

_LISTS: Final = frozenset(["gtree", "qlist", "qtailq", "scsi-requests"])
_POINTERS: Final = ("nullptr", "ptr-marker")
_ELEMENT: Final = re.compile(r"\[(\d+)\]")
_Pair = tuple[list["Item"], list["Item"]]


def without_use(
    sent: list[Item],
    here: list[Item],
    known: list[SchemaDescription],
    version: int,
    conditional: AbstractSet[str],
) -> _Pair:
    """Both sides without what only says how far their guests are; `conditional` are names of fields."""
    left = (
        _nulls(sent) ^ _nulls(here)
        | {item.path for item in (*sent, *here) if item.node.kind in _LISTS}
        | _counted(sent, here)
        | _empty_here(sent, here, known, version)
        | {path for path in _behind_a_condition(sent, here) if last_name(path) in conditional}
    )
    return _without(left, sent), _without(left, here)


def perhaps_use(sent: list[Item], here: list[Item]) -> bool:
    """Whether all that only one side has may be elements of an array that is empty there, or behind a condition."""
    ours, theirs = ({path for item in items for path in item.above} for items in (sent, here))
    conditions = _behind_a_condition(sent, here)
    lacking = [(item, theirs) for item in sent if item.path not in theirs]
    lacking += [(item, ours) for item in here if item.path not in ours]
    return bool(lacking) and all(
        item.path in conditions or any(path != item.path and path not in there for path in item.above)
        for item, there in lacking
    )


def _without(left: set[str], items: list[Item]) -> list[Item]:
    return [item for item in items if left.isdisjoint(item.above)] if left else items


def _nulls(items: list[Item]) -> set[str]:
    return {item.path for item in items if item.node.kind in _POINTERS}


def _numbers(items: list[Item]) -> dict[str, int]:
    return {item.path: item.node.value for item in items if isinstance(item.node.value, int)}


def _counted(sent: list[Item], here: list[Item]) -> set[str]:
    """Elements that one side has more of, where a field of the same name tells the number on both."""
    ours, theirs = _lengths(sent), _lengths(here)
    other = [array for array in ours.keys() & theirs.keys() if ours[array] != theirs[array]]
    if not other:
        return set()
    a, b = _numbers(sent), _numbers(here)
    told = {(a[path], b[path]) for path in a.keys() & b.keys()}
    return {
        f"{array}[{i}]"
        for array in other
        if (ours[array], theirs[array]) in told
        for i in range(min(ours[array], theirs[array]), max(ours[array], theirs[array]))
    }


def _lengths(items: list[Item]) -> dict[str, int]:
    """Arrays and how many elements they have."""
    found: dict[str, int] = {}
    for item in items:
        for mark in _ELEMENT.finditer(item.path):
            array = item.path[: mark.start()]
            found[array] = max(found.get(array, 0), int(mark[1]) + 1)
    return found


def _empty_here(sent: list[Item], here: list[Item], known: list[SchemaDescription], version: int) -> set[str]:
    there = {path for item in here for path in item.above}
    names = {
        field.name
        for description in known
        for field in description.fields
        if not field.conditional and field.version_id <= version and field.name not in there
    }
    return names & {path for item in sent for path in item.above}


def _behind_a_condition(sent: list[Item], here: list[Item]) -> set[str]:
    """Fields that one side lacks, behind a number that is zero there; none where versions differ."""
    a, b = _numbers(sent), _numbers(here)
    if any(a[path] != b[path] for path in a.keys() & b.keys() if "version" in last_name(path)):
        return set()
    more = _behind_a_number(sent, a, b) - {item.path for item in here}
    return more | _behind_a_number(here, b, a) - {item.path for item in sent}


def _behind_a_number(items: list[Item], own: dict[str, int], other: dict[str, int]) -> set[str]:
    """Fields that follow a number, which is zero on the other side."""
    return {
        item.path for before, item in pairwise(items) if own.get(before.path) and other.get(before.path) == 0
    }

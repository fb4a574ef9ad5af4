# SPDX-License-Identifier: Apache-2.0
"""Runs of plain numbers: neighbouring fields that `struct` packs or unpacks in one go.

Most of a machine's state is plain numbers, and each takes a dozen calls by itself. A run with a value that is
missing or no number goes the general way, field by field, which finds and says what is wrong.
"""

from __future__ import annotations

import struct
from operator import attrgetter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import Field, VMState

__all__ = ["Run", "Step", "steps", "unique_names"]

_LEAST: Final = 2  # fields of a run


class Run:
    """Fields that are numbers, there in every version from `version` on, all below one object.

    `values(state)` gives the numbers, `holder` is the path of the object, `names` their names in it, and
    `entries` their part of the VM description. All saves share these entries: do not change them.
    """

    __slots__ = ("codec", "entries", "fields", "holder", "names", "unique", "values", "version")

    def __init__(self, fields: list[Field], unique: list[str]) -> None:
        infos = [field.info for field in fields if field.info is not None]
        self.fields = fields
        self.unique = unique
        self.version = max(field.version for field in fields)
        self.codec = struct.Struct(">" + "".join(info.fmt for info in infos))
        self.values = attrgetter(*(field.attr for field in fields))
        self.holder = fields[0].attr.rpartition(".")[0]
        self.names = [field.attr.rpartition(".")[2] for field in fields]
        self.entries = [
            {"name": name, "type": info.name, "size": struct.calcsize(">" + info.fmt)}
            for name, info in zip(unique, infos, strict=True)
        ]


Step = Run | tuple["Field", str]  # a field comes with its name in the VM description

# By identity, with the description, so that its id stays its own; as `vmstate.device.lifetime.resolve` has it.
_MOST: Final = 4096
_known: dict[int, tuple[VMState, list[Step]]] = {}


def steps(vmsd: VMState) -> list[Step]:
    """The fields of a description in order, those that can be in runs."""
    known = _known.get(id(vmsd))
    if known is None:
        if len(_known) >= _MOST:
            _known.clear()
        known = _known[id(vmsd)] = vmsd, _steps(vmsd)
    return known[1]


def _steps(vmsd: VMState) -> list[Step]:
    found: list[Step] = []
    run: list[tuple[Field, str]] = []
    for field, name in zip(vmsd.fields, unique_names(vmsd.fields), strict=True):
        if run and not (_is_plain(field) and _holder(field) == _holder(run[0][0])):
            found += _finished(run)
            run = []
        if _is_plain(field):
            run.append((field, name))
        else:
            found.append((field, name))
    return found + _finished(run)


def _finished(run: list[tuple[Field, str]]) -> list[Step]:
    if len(run) < _LEAST:
        return [*run]
    return [Run([field for field, _ in run], [name for _, name in run])]


def _is_plain(field: Field) -> bool:
    """Whether it is one number that every state sends."""
    one = field.count is None and field.test is None and not field.must_exist and field.attr
    return bool(one) and field.info is not None and bool(field.info.fmt) and isinstance(field.size, int)


def _holder(field: Field) -> str:
    return field.attr.rpartition(".")[0]


def unique_names(fields: tuple[Field, ...]) -> list[str]:
    """Names for the VM description: one that occurs twice gets its number, counted over all fields."""
    names = [field.name for field in fields]
    if len(set(names)) == len(names):
        return names
    return [
        f"{name}[{names[:at].count(name)}]" if names.count(name) > 1 else name
        for at, name in enumerate(names)
    ]

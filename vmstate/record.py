# SPDX-License-Identifier: Apache-2.0
"""Frozen records: what events and descriptions use of `@dataclass(frozen=True, slots=True)`, at a tenth of its price.

Showing half a gigabyte takes a few hundredths of a second. Importing `dataclasses` and letting it make thirty
classes would take as long again, so the modules that every reader of a stream imports use this.

    class Footer(Record):
        section_id: int
        offset: int = field(default=-1, compare=False)

Rules:
1. Fields are the annotations of the class itself, in order, without ClassVar; no record derives from another.
2. Equality, hash and `repr` are those of a dataclass: same class and equal fields, without those that have
   `compare=False`.
3. `attributes=True` gives instances a `__dict__`, which `functools.cached_property` needs.
4. `__init__` calls `__post_init__`, where a class has one, last; what that raises leaves no record.
"""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple, NoReturn, TypeVar, dataclass_transform

__all__ = ["Record", "field", "replace"]


class _Field(NamedTuple):
    default: Any
    compare: bool
    repr: bool


def field(*, default: Any, compare: bool = True, repr: bool = True) -> Any:  # noqa: A002 - as in dataclasses
    """A default, and whether the field takes part in equality and hash, and in `repr`."""
    return _Field(default, compare, repr)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _Maker(type):
    def __new__(
        mcs, name: str, bases: tuple[type, ...], body: dict[str, Any], *, attributes: bool = False
    ) -> _Maker:
        names = [n for n, kind in body.get("__annotations__", {}).items() if not kind.startswith("ClassVar")]
        fields = {n: _as_field(body.pop(n)) for n in names if n in body}
        body["__slots__"] = (*names, "__dict__") if attributes else tuple(names)
        body["__match_args__"] = tuple(names)
        if bases:
            body["_compared"] = tuple(n for n in names if n not in fields or fields[n].compare)
            body["_shown"] = tuple(n for n in names if n not in fields or fields[n].repr)
            body["__init__"] = _init(
                names, {n: f.default for n, f in fields.items()}, check="__post_init__" in body
            )
        return super().__new__(mcs, name, bases, body)


def _as_field(default: Any) -> _Field:
    return default if isinstance(default, _Field) else _Field(default, compare=True, repr=True)


def _init(names: list[str], defaults: dict[str, Any], *, check: bool) -> Any:
    """The class's `__init__`: made when the first record is, as no program has records of all classes."""

    def first(self: Record, *values: Any, **named: Any) -> None:
        made = _compiled(names, defaults, check=check)
        type.__setattr__(type(self), "__init__", made)
        made(self, *values, **named)

    return first


def _compiled(names: list[str], defaults: dict[str, Any], *, check: bool) -> Any:
    """A real function with these parameters: a general one would take twice as long for each record."""
    parameters = ", ".join(f"{n}=_defaults_[{n!r}]" if n in defaults else n for n in names)
    last = "\n    self.__post_init__()" if check else ""
    body = ("\n".join(f"    _set_(self, {n!r}, {n})" for n in names) or "    pass") + last
    made: dict[str, Any] = {"_set_": object.__setattr__, "_defaults_": defaults}
    exec(f"def __init__(self, {parameters}):\n{body}", made)  # noqa: S102 - names come from our own source
    return made["__init__"]


class Record(metaclass=_Maker):
    """Base of all records; see the rules above."""

    _compared: ClassVar[tuple[str, ...]]
    _shown: ClassVar[tuple[str, ...]]

    def __eq__(self, other: object) -> bool:
        if other.__class__ is not self.__class__:
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._compared)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._compared))

    def __repr__(self) -> str:
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._shown)
        return f"{type(self).__qualname__}({values})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to {name!r}: a {type(self).__name__} does not change")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r}: a {type(self).__name__} does not change")

    def __reduce__(self) -> tuple[type[Record], tuple[Any, ...]]:
        return type(self), tuple(getattr(self, name) for name in self.__match_args__)

    __match_args__: ClassVar[tuple[str, ...]]


_R = TypeVar("_R", bound=Record)


def replace(record: _R, **changes: Any) -> _R:
    """The same record but for `changes`; TypeError for a name that is no field."""
    return type(record)(**{name: getattr(record, name) for name in record.__match_args__} | changes)

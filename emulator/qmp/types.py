# SPDX-License-Identifier: Apache-2.0
"""Types of command arguments: they check values in QEMU's words and say what they are for `query-qmp-schema`.

`check(value, path, release)` returns nothing and raises `QmpError`. `path` is the whole way to the value
(``capabilities[0].state``). The words are those of QEMU's generated input visitors, seen on 5.2 to 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "ANY",
    "BOOL",
    "EMPTY",
    "INT",
    "NUMBER",
    "STR",
    "STR_OR_NULL",
    "Array",
    "Enum",
    "Member",
    "Struct",
    "Type",
    "generic",
    "unsigned",
]


def generic(desc: str) -> QmpError:
    """An error of the class that nearly all have."""
    return QmpError("GenericError", desc)


def _wrong(path: str, expected: str) -> QmpError:
    return generic(f"Invalid parameter type for '{path}', expected: {expected}")


class Type:
    """A type without parts. `json` is the word of `query-qmp-schema`, `fits` whether a value is one."""

    def __init__(self, name: str, json: str, fits: Callable[[Any], bool], *, word: str = "") -> None:
        self.name = name
        self.json = json
        self.word = word or json
        self._fits = fits

    def check(self, value: Any, path: str, release: str) -> None:  # noqa: ARG002 - others need the release
        """QmpError unless `value` is one."""
        if not self._fits(value):
            raise _wrong(path, self.word)

    def schema(self) -> dict[str, Any]:
        """The entry in `query-qmp-schema`."""
        return {"name": self.name, "meta-type": "builtin", "json-type": self.json}

    def parts(self, release: str) -> Iterator[Any]:  # noqa: ARG002 - as above
        """Types that this one is made of."""
        return iter(())


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class _Integer(Type):
    """A number in a range. One of the wrong kind, or too big for 64 bits, is named by the visitor's word."""

    def __init__(self, name: str, low: int, high: int, word: str) -> None:
        super().__init__(name, "int", _is_int, word=word)
        self._low, self._high = low, high

    def check(self, value: Any, path: str, release: str) -> None:  # noqa: ARG002 - as Type.check
        signed = self.word == "integer"
        if not _is_int(value) or not -(1 << 63) <= value < 1 << (63 if signed else 64):
            raise _wrong(path, self.word) if signed else generic(f"Parameter '{path}' expects {self.word}")
        if not self._low <= value <= self._high:
            raise generic(f"Parameter '{path}' expects {self.name}_t")


def unsigned(bits: int) -> Type:
    """`uint8` to `uint64`; QEMU takes a negative number as its two's complement where 64 bits are asked for."""
    low = 0 if bits < 64 else -(1 << 63)  # noqa: PLR2004
    return _Integer(f"uint{bits}", low, (1 << bits) - 1, "uint64")


STR: Final = Type("str", "string", lambda value: isinstance(value, str))
BOOL: Final = Type("bool", "boolean", lambda value: isinstance(value, bool))
INT: Final = _Integer("int", -(1 << 63), (1 << 63) - 1, "integer")
NUMBER: Final = Type("number", "number", lambda value: _is_int(value) or isinstance(value, float))
ANY: Final = Type("any", "value", lambda _: True)
STR_OR_NULL: Final = Type(
    "StrOrNull", "value", lambda value: value is None or isinstance(value, str), word="StrOrNull"
)


class Member(NamedTuple):
    """One member of a struct, with its life-time."""

    name: str
    type: Any  # Type, Array, Enum or Struct
    optional: bool = False
    since: str = ""
    until: str = ""


class Array:
    """A list of one type."""

    def __init__(self, of: Any) -> None:
        self.of = of
        self.name = f"[{of.name}]"

    def check(self, value: Any, path: str, release: str) -> None:
        """QmpError unless it is a list and all of it fits."""
        if not isinstance(value, list):
            raise _wrong(path, "array")
        for position, element in enumerate(value):
            self.of.check(element, f"{path}[{position}]", release)

    def schema(self) -> dict[str, Any]:
        """The entry in `query-qmp-schema`."""
        return {"name": self.name, "meta-type": "array", "element-type": self.of.name}

    def parts(self, release: str) -> Iterator[Any]:  # noqa: ARG002 - as Struct.parts
        """The type of the elements."""
        return iter((self.of,))


class Enum:
    """One of some words."""

    def __init__(self, name: str, *values: str) -> None:
        self.name = name
        self.values = values

    def check(self, value: Any, path: str, release: str) -> None:
        """QmpError unless it is one of the words; QEMU names the member alone, and a list's element ``null``."""
        if not isinstance(value, str):
            raise _wrong(path, "string")
        if value not in self.values:
            name = "null" if path.endswith("]") else path.rpartition(".")[2]
            raise generic(text(release, "enum", name=name, value=value))

    def schema(self) -> dict[str, Any]:
        """The entry in `query-qmp-schema`."""
        members = [{"name": value} for value in self.values]
        return {"name": self.name, "meta-type": "enum", "members": members, "values": list(self.values)}

    def parts(self, release: str) -> Iterator[Any]:  # noqa: ARG002 - as Struct.parts
        """No others."""
        return iter(())


class Struct:
    """Named members; `open_` ones take members that they do not list, for somebody else to check."""

    def __init__(self, name: str, *members: Member, open_: bool = False) -> None:
        self.name = name
        self.members = members
        self.open = open_

    def living(self, release: str) -> list[Member]:
        """The members that `release` has."""
        return [member for member in self.members if lives(member.since, member.until, release)]

    def check(self, value: Any, path: str, release: str) -> None:
        """QmpError unless all members are there, fit, and are known: missing ones first, in this order."""
        if not isinstance(value, dict):
            raise _wrong(path, "object")
        prefix = f"{path}." if path else ""
        living = self.living(release)
        for member in living:
            if member.name in value:
                member.type.check(value[member.name], prefix + member.name, release)
            elif not member.optional:
                raise generic(f"Parameter '{prefix}{member.name}' is missing")
        if not self.open:
            known = {member.name for member in living}
            for name in value:
                if name not in known:
                    raise generic(f"Parameter '{prefix}{name}' is unexpected")

    def schema_in(self, release: str) -> dict[str, Any]:
        """The entry in `query-qmp-schema`; an optional member has the default null, as QEMU's have."""
        members = [
            {"name": m.name, "type": m.type.name, **({"default": None} if m.optional else {})}
            for m in self.living(release)
        ]
        return {"name": self.name, "meta-type": "object", "members": members}

    def parts(self, release: str) -> Iterator[Any]:
        """The types of its members."""
        return (member.type for member in self.living(release))


EMPTY: Final = Struct("q_empty")

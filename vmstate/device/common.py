# SPDX-License-Identifier: Apache-2.0
"""Decisions that saving and loading share: which fields there are, how many elements, how large, and where."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.device.access import MISSING, lookup
from migmatrix.vmstate.device.description import Field, HookError, VMState
from migmatrix.vmstate.device.errors import Kind, VMStateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["MAX_COUNT", "Position", "can_compress", "exists", "flat", "nested"]

MAX_COUNT: Final = 0x7FFFFFFF  # QEMU counts elements and bytes in an int


def exists(field: Field, state: Any, version: int) -> bool:
    """Whether `field` is in a stream of `version`: its test alone decides, else its own version."""
    if field.test is not None:
        return bool(field.test(state, version))
    return field.version <= version


def can_compress(field: Field) -> bool:
    """Whether the VM description may describe all elements of an array by the first one."""
    if field.test is not None or field.pointers == "auto":
        return False
    if field.vmsd is None or field.info is not None or field.struct_version is not None:
        return True
    return not field.vmsd.subsections and all(can_compress(inner) for inner in field.vmsd.fields)


def flat(value: Any, shape: tuple[int, ...]) -> Sequence[Any]:
    """Elements of a nested array in wire order (row by row)."""
    for _ in shape[1:]:
        value = list(chain.from_iterable(value))
    return value  # type: ignore[no-any-return]  # the state's own sequence


def nested(items: Sequence[Any], shape: tuple[int, ...]) -> Sequence[Any]:
    """Inverse of `flat`."""
    for size in reversed(shape[1:]):
        items = [list(items[i : i + size]) for i in range(0, len(items), size)]
    return items


class Position:
    """Where the interpreter is: the stream offset and a path of names, for errors."""

    def __init__(self, section: str) -> None:
        self._section = section
        self._path: list[str] = []

    @property
    def offset(self) -> int:
        """Stream offset of the next byte."""
        raise NotImplementedError

    def where(self) -> str:
        """The path: ``serial/fifo[3].len``, the section first."""
        steps = "".join(step if step.startswith("[") else f".{step}" for step in self._path)[1:]
        return f"{self._section}/{steps}" if self._section and steps else self._section + steps

    def error(self, kind: Kind, expected: str, found: str, **facts: Any) -> VMStateError:
        """An error at this position, to raise."""
        return VMStateError(self.offset, self.where(), expected, found, kind, facts)

    def hook(self, kind: Kind, vmsd: VMState, call: Callable[..., object], arguments: Iterable[Any]) -> None:
        """Run a hook; turn its `HookError` into an error at this position."""
        try:
            call(*arguments)
        except HookError as refused:
            facts = {"version": vmsd.version_id, "minimum": vmsd.minimum_version_id, "errno": refused.errno}
            raise self.error(
                kind, f"{kind.value} hook of {vmsd.name!r} to agree", str(refused),
                name=vmsd.name, message=str(refused), **facts,
            ) from refused  # fmt: skip

    def amount(self, holder: Any, given: int | str | None, factor: int) -> int:
        """A count or size: a constant or the attribute that holds it, times `factor`; 0 to 2^31-1."""
        value = lookup(holder, given) if isinstance(given, str) else given
        if value is MISSING or not isinstance(value, int):
            raise self.error(Kind.STATE, f"a number in {given!r}", f"state has {_name(value)}")
        if not 0 <= value * factor <= MAX_COUNT:
            raise self.error(Kind.COUNT, f"at most {MAX_COUNT} elements or bytes", f"{given!r} is {value}")
        return value * factor


def _name(value: Any) -> str:
    return "nothing" if value is MISSING else repr(value)

"""State objects made from a description: every field at zero, timers off, buffers empty.

    device = Part()
    clear(VMSTATE_PIC, device)

A device then says only what is not zero after reset. Nothing here knows a release: elements of all life-times get
a place, so that one state object serves every release.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

from vmstate.engine.common import nested
from vmstate.lifetime import release_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmstate.description import Field, VMState

__all__ = ["Part", "Timeline", "any_set", "clear", "made"]

_ZEROS: Final[dict[str, Any]] = {"bool": False, "timer": None}
_SEQUENCES: Final = frozenset({"qtailq", "qlist"})


class Part:
    """A plain object: a struct inside a device. Attributes are named as its description says."""

    if TYPE_CHECKING:  # which attributes there are is the description's business

        def __getattr__(self, name: str) -> Any: ...
        def __setattr__(self, name: str, value: Any) -> None: ...

    def __init__(self, **values: Any) -> None:
        vars(self).update(values)

    def __repr__(self) -> str:
        return f"Part({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


class Timeline:
    """A value that changed: ``Timeline("5.2 and older", ("7.2", "since 7.2"))``."""

    __slots__ = ("_changes", "_first")

    def __init__(self, first: Any, *changes: tuple[str, Any]) -> None:
        self._first = first
        self._changes = changes

    def at(self, release: str) -> Any:
        """The value in `release`."""
        now = release_key(release)
        passed = [value for since, value in self._changes if release_key(since) <= now]
        return passed[-1] if passed else self._first


def made(description: VMState) -> Part:
    """A new object with every field of `description` at zero."""
    part = Part()
    clear(description, part)
    return part


def clear(description: VMState, state: Any) -> None:
    """Set every field of `description`, subsections included, to zero; objects that are there are kept."""
    for field in description.fields:
        if field.attr:
            _clear_field(field, state)
        elif (
            field.vmsd is not None and field.new is not None
        ):  # saved through a temporary, which may be `state`
            clear(field.vmsd, field.new(state))
    for subsection in description.subsections:
        clear(subsection, state)


def _clear_field(field: Field, state: Any) -> None:
    *outer, name = field.attr.split(".")
    for step in outer:
        state = vars(state).setdefault(step, Part())
    if field.vmsd is None or field.info is not None:
        setattr(state, name, _zero(field))
    else:
        _clear_struct(field, field.vmsd, state, name)


def _zero(field: Field) -> Any:
    assert field.info is not None  # noqa: S101 - the caller looked
    kind = field.info.name
    if kind == "buffer":
        return bytes(field.start + field.size) if isinstance(field.size, int) else b""
    if kind in _SEQUENCES:
        return []
    zero = _ZEROS.get(kind, 0)
    if field.count is None:
        return zero
    count = field.start + field.count if isinstance(field.count, int) else 0
    return nested([zero] * count, field.shape)


def _clear_struct(field: Field, description: VMState, state: Any, name: str) -> None:
    if field.count is None:
        clear(description, vars(state).setdefault(name, Part()))
        return
    count = prod(field.shape) if field.shape else field.count
    parts = vars(state).setdefault(name, [])
    if isinstance(count, int):
        parts.extend(Part() for _ in range(field.start + count - len(parts)))
    for part in parts[field.start :]:
        clear(description, part)


def any_set(*paths: str) -> Callable[[Any], bool]:
    """A `needed` test: whether any of these attributes of the state is not zero (arrays: any element)."""
    steps = tuple(tuple(path.split(".")) for path in paths)
    return lambda state: any(_is_set(_follow(state, path)) for path in steps)


def _follow(state: Any, path: tuple[str, ...]) -> Any:
    for name in path:
        state = getattr(state, name)
    return state


def _is_set(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_is_set, value))
    if isinstance(value, Part):
        return any(map(_is_set, vars(value).values()))
    return bool(value)

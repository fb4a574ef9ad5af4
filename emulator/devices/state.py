# SPDX-License-Identifier: Apache-2.0
"""State objects made from a description: every field at zero, timers off, buffers empty.

    device = Part()
    clear(VMSTATE_PIC, device)

A device then sets only what is not zero after reset. Nothing here knows a release: a state object has the elements
of all life-times, so that it serves every release.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, Final

from migmatrix.vmstate.device.common import nested
from migmatrix.vmstate.device.lifetime import release_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.device.description import Field, VMState

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
    for step in _plan(description):
        if isinstance(step, dict):
            _set_all(state, step)
        elif step.attr:
            _clear_field(step, state)
        elif step.vmsd is not None and step.new is not None:
            clear(step.vmsd, step.new(state))  # saved through a temporary, which may be `state`


# By identity, with the description, so that its id stays its own: most of a start would be spent on thousands of
# fields, most of them plain numbers of a few descriptions that occur again and again.
_plans: dict[int, tuple[VMState, list[dict[str, Any] | Field]]] = {}


def _plan(description: VMState) -> list[dict[str, Any] | Field]:
    """The steps of clearing, in order: runs of plain values as {name: zero}, and fields that need more work."""
    known = _plans.get(id(description))
    if known is None:
        steps: list[dict[str, Any] | Field] = []
        _add_steps(description, steps)
        known = _plans[id(description)] = description, steps
    return known[1]


def _add_steps(description: VMState, steps: list[dict[str, Any] | Field]) -> None:
    for field in description.fields:
        if not _is_plain(field):
            steps.append(field)
            continue
        if not steps or not isinstance(steps[-1], dict):
            steps.append({})
        run = steps[-1]
        assert isinstance(run, dict)  # noqa: S101 - it has just been made sure of
        run[field.attr] = _zero(field)
    for subsection in description.subsections:
        _add_steps(subsection, steps)


def _is_plain(field: Field) -> bool:
    """Whether the field is an attribute of the state itself, whose zero is a value that does not change."""
    own = field.attr and "." not in field.attr and (field.vmsd is None or field.info is not None)
    return bool(own) and isinstance(_zero(field), bool | int | bytes | None)


def _set_all(state: Any, values: dict[str, Any]) -> None:
    if type(state) is Part:
        vars(state).update(values)
        return
    for name, value in values.items():
        setattr(state, name, value)


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
    return nested([zero] * count, field.shape) if field.shape else [zero] * count


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

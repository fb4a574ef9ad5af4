# SPDX-License-Identifier: Apache-2.0
"""Accelerators: which one a command line gets, and what is said of those before it. Pure.

1. `-accel X` may be given several times, `-machine accel=X:Y` names several; the two forms do not go together.
2. The first one that works is taken. Here that is never KVM: the words are those of a host without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import Malformed, flag, pairs
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Wish", "check_accel", "choose_accel"]

_WORKS: Final = ("tcg", "qtest")
_TCG: Final = {"thread": "", "tb-size": "", "split-wx": "", "one-insn-per-tb": "8.1"}
_ABSENT: Final = "No such file or directory"


class Wish(NamedTuple):
    """An accelerator by name; `where` is the option that names it, "" for a list of `-machine`."""

    name: str
    where: str = ""


def check_accel(given: str, where: str, release: str) -> Wish:
    """An `-accel`, its properties checked."""
    (_, name), *props = pairs(given, "accel") or (("accel", ""),)
    for key, value in props if name in _WORKS else ():
        if name != "tcg" or not lives(_TCG.get(key, "999"), "", release):
            raise Malformed(f"Property '{name}-accel.{key}' not found")
        _check_value(key, value)
    return Wish(name, where)


def _check_value(key: str, value: str) -> None:
    if key == "thread" and value not in ("single", "multi"):
        raise Malformed(f"Invalid 'thread' setting {value}")
    if key == "tb-size" and not value.isdigit():
        raise Malformed(f"Parameter '{key}' expects uint64")
    if key in ("split-wx", "one-insn-per-tb"):
        flag(key, value)


def choose_accel(wishes: Iterable[Wish], release: str) -> tuple[str, list[str]]:
    """The accelerator, "" when none works, and the lines that are printed before; FatalError when forms are mixed."""
    asked = list(wishes) or [Wish("tcg")]
    if len({bool(wish.where) for wish in asked}) > 1:
        raise FatalError('The -accel and "-machine accel=" options are incompatible')
    unknown = [wish for wish in asked if wish.name not in (*_WORKS, "kvm")]
    said = [_line(wish, f"invalid accelerator {wish.name}") for wish in unknown]
    for wish in asked:
        if wish.name in _WORKS:
            return wish.name, [*said, _line(Wish(""), f"falling back to {wish.name}")] if said else said
        if wish not in unknown:
            said += _no_kvm(wish, release)
    return "", said


_PREFIX: Final = "qemu-system-x86_64: "


def _line(wish: Wish, words: str) -> str:
    return f"{_PREFIX}{wish.where}: {words}" if wish.where else f"{_PREFIX}{words}"


def _no_kvm(wish: Wish, release: str) -> list[str]:
    opening = f"Could not access KVM kernel module: {_ABSENT}"
    named = lives("10.0", "", release)  # 7.2 and before: a plain line
    return [_line(wish, opening) if named else opening, _line(wish, f"failed to initialize kvm: {_ABSENT}")]

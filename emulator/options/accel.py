# SPDX-License-Identifier: Apache-2.0
"""Accelerators: which one a command line gets, and what is said of those before it. Pure.

1. `-accel X` may be given several times, `-machine accel=X:Y` names several; the two forms do not go together.
2. The first one that works is taken. Here that is never KVM: the words are those of a host without it.
3. `model` is the emulator's own: it has a dirty ring for each processor, which real QEMU has with KVM only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.options.keyvalue import Malformed, flag, pairs
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Wish", "check_accel", "choose_accel"]

_WORKS: Final = ("tcg", "qtest", "model")
_RING: Final = "dirty-ring-size"
_TCG: Final = {"thread": "", "tb-size": "", "split-wx": "", "one-insn-per-tb": "8.1"}
_PROPERTIES: Final = {"tcg": _TCG, "qtest": {}, "model": {_RING: "6.1"}}  # with the release that brought each
_ABSENT: Final = "No such file or directory"


class Wish(NamedTuple):
    """An accelerator by name; `where` is the option that names it, "" for a list of `-machine`. `ring`: entries of a dirty ring."""

    name: str
    where: str = ""
    ring: int = 0

    @property
    def works(self) -> bool:
        """Whether this emulator has it."""
        return self.name in _WORKS


def check_accel(given: str, where: str, release: str) -> Wish:
    """An `-accel`, its properties checked."""
    (_, name), *props = pairs(given, "accel") or (("accel", ""),)
    known = {_RING: "6.1"} if name == "kvm" else _PROPERTIES.get(name, {})
    ring = 0
    for key, value in props if name in (*_WORKS, "kvm") else ():
        if not lives(known.get(key, "" if name == "kvm" else "999"), "", release):
            raise Malformed(f"Property '{name}-accel.{key}' not found")
        _check_value(key, value)
        ring = int(value) if key == _RING else ring
    return Wish(name, where, ring)


def _check_value(key: str, value: str) -> None:
    if key == _RING and not value.isdecimal():
        raise Malformed(f"Parameter '{key}' expects uint64")
    if key == _RING and int(value) & (int(value) - 1):
        raise Malformed(f"{key} must be a power of two.")
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
        if wish.works:
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

# SPDX-License-Identifier: Apache-2.0
"""An emulator's arguments as groups that can be left out, and what refers to what.

1. A group is an option with its value: ``-device x,id=y``. Joining all groups gives the arguments again.
2. A group that names something (``id=``, ``node-name=``) is needed by the groups whose values mention it. A selection
   that lacks a name it mentions is not `closed` and cannot start, so it is not run.
3. `-nodefaults` and `-m` make the machine smaller, not larger: they are never left out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "Group",
    "arguments_of",
    "closed",
    "device_type",
    "global_property",
    "groups",
    "mentioned",
    "parts",
    "without_part",
]

_KEPT = ("-nodefaults", "-m")
_REFERENCE = re.compile(r"[\w-]+")
_NAMES = ("id", "node-name")


@dataclass(frozen=True, slots=True)
class Group:
    """One option; `value` is empty for a flag. `number` is its position, as two groups may be equal."""

    number: int
    option: str
    value: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """As it stands on a command line."""
        return (self.option, self.value) if self.value else (self.option,)

    @property
    def text(self) -> str:
        """``-device x,id=y``."""
        return " ".join(self.words)

    @property
    def fixed(self) -> bool:
        """Whether leaving it out would make the machine larger (rule 3)."""
        return self.option in _KEPT

    @property
    def defines(self) -> frozenset[str]:
        """Names that others may refer to."""
        return frozenset(value for key, value in parts(self.value) if key in _NAMES)

    @property
    def mentions(self) -> frozenset[str]:
        """Words in its values that may be names of others; ``s0.0`` also mentions ``s0``."""
        return frozenset().union(*(mentioned(value) for key, value in parts(self.value) if key not in _NAMES))


def mentioned(value: str) -> frozenset[str]:
    """Words in one value that may be names of others."""
    return frozenset(_REFERENCE.findall(value))


def groups(arguments: Sequence[str]) -> tuple[Group, ...]:
    """Split arguments: a word that begins with ``-`` starts a group, others are its value."""
    found: list[Group] = []
    for word in arguments:
        if word.startswith("-") and len(word) > 1:
            found.append(Group(len(found), word))
        elif found and not found[-1].value:
            found[-1] = Group(found[-1].number, found[-1].option, word)
        else:
            found.append(Group(len(found), word))  # not an option; kept as it is
    return tuple(found)


def arguments_of(chosen: Iterable[Group]) -> tuple[str, ...]:
    """The command line of some groups, in their order."""
    return tuple(word for group in sorted(chosen, key=lambda g: g.number) for word in group.words)


def closed(chosen: Sequence[Group], every: Sequence[Group]) -> bool:
    """Whether nothing in `chosen` mentions a name that only a group left out defines (rule 2)."""
    names = frozenset(name for group in every for name in group.defines)
    here = frozenset(name for group in chosen for name in group.defines)
    return all(not ((group.mentions & names) - here) for group in chosen)


def closure(wanted: Iterable[Group], every: Sequence[Group]) -> tuple[Group, ...]:
    """The wanted groups and all that they mention, directly or not."""
    chosen = dict.fromkeys(wanted)
    todo = list(chosen)
    while todo:
        mentioned = todo.pop().mentions
        for group in every:
            if group not in chosen and group.defines & mentioned:
                chosen[group] = None
                todo.append(group)
    return tuple(sorted(chosen, key=lambda g: g.number))


def parts(value: str) -> tuple[tuple[str, str], ...]:
    """``x,id=y`` as (("", "x"), ("id", "y")); a doubled comma stands for itself and is kept so."""
    split = re.split(r"(?<!,),(?!,)", value) if value else []
    return tuple(
        (key, rest) if equals else ("", key) for key, equals, rest in (p.partition("=") for p in split)
    )


def without_part(group: Group, number: int) -> Group:
    """The group without one of its parts, counted from 0."""
    kept = [part for at, part in enumerate(parts(group.value)) if at != number]
    text = ",".join(f"{key}={value}" if key else value for key, value in kept)
    return Group(group.number, group.option, text)


def removable_parts(group: Group) -> Iterator[int]:
    """Parts of a `-device` that may be left out: not the type, not a name."""
    if group.option == "-device" and not group.value.startswith("{"):
        for at, (key, _) in enumerate(parts(group.value)):
            if key and key not in (*_NAMES, "driver"):
                yield at


def device_type(group: Group) -> str:
    """The type that a `-device` names, empty for other options and for JSON."""
    if group.option not in ("-device", "--device") or group.value.startswith("{"):
        return ""
    return next((value for key, value in parts(group.value) if key in ("", "driver")), "")


def global_property(value: str) -> tuple[str, str]:
    """Type and property of the value of a `-global`, in either form; empty where it names none."""
    named = dict(parts(value))
    if "driver" in named:
        return named["driver"], named.get("property", "")
    driver, _, name = value.partition("=")[0].rpartition(".")
    return driver, name

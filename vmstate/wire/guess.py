# SPDX-License-Identifier: Apache-2.0
"""Where a payload of unknown length ends: a guess, by what looks like the next element.

`find_end` looks for the footer of the section with an element after it that this stream may have: a part of a started
section, the header of a described one, a command, the end. Memory and devices may hold such bytes by chance, so whatever
uses this says that it guessed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.vmstate.wire.constants import CommandCode, SectionType

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["find_end"]

_STARTED = (SectionType.PART, SectionType.END)
_NAMED = (SectionType.START, SectionType.FULL)


def find_end(
    rest: memoryview,
    section_id: int,
    *,
    started: Collection[int],
    described: Collection[tuple[str, int]],
) -> int | None:
    """Length of the payload of section `section_id` that begins `rest`; None when nothing looks like its end.

    `started` are the ids of the sections so far, `described` the (idstr, instance id) of those to come.
    """
    footer = re.escape(bytes((SectionType.FOOTER,)) + section_id.to_bytes(4))
    for found in re.finditer(footer, rest):
        if _goes_on(rest[found.end() :], started, described):
            return found.start()
    return None


def _goes_on(rest: memoryview, started: Collection[int], described: Collection[tuple[str, int]]) -> bool:
    """Whether `rest` begins with an element that may come next."""
    kind = rest[0] if rest else -1
    if kind == SectionType.EOF:
        return len(rest) == 1 or rest[1] == SectionType.VMDESCRIPTION
    if kind in _STARTED:
        return int.from_bytes(rest[1:5]) in started
    if kind == SectionType.COMMAND:
        return int.from_bytes(rest[1:3]) in set(CommandCode)
    return kind in _NAMED and _named(rest, described)


def _named(rest: memoryview, described: Collection[tuple[str, int]]) -> bool:
    length = rest[5] if len(rest) > 5 else 0  # noqa: PLR2004 - type and id
    name = bytes(rest[6 : 6 + length]).decode("latin-1")
    instance = int.from_bytes(rest[6 + length : 10 + length])
    if rest[0] == SectionType.START:
        return len(name) > 1 and name.isascii() and name.isprintable() and not instance
    return (name, instance) in described

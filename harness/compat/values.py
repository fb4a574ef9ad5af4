# SPDX-License-Identifier: Apache-2.0
"""Values of properties as a command line, a compat table and a binary write them; whether two of them set the same.

1. ``on``, ``yes``, ``true`` and ``y`` are one, and so are their opposites; nothing else, and in no other case. QEMU 6.0
   made this the rule of every option (``qapi_bool_parse`` in qapi/qapi-util.c); 5.2 took any case and no ``y``.
2. ``0x10`` and ``16`` are one number. ``010`` is text: a size reads it as ten and an integer property as eight.
3. Any other text is equal to itself only: names of enumerations and strings have a case.
"""

from __future__ import annotations

from typing import Any

__all__ = ["normal", "opposite", "same", "text_of"]

_WORDS = {"true": "on", "yes": "on", "y": "on", "false": "off", "no": "off", "n": "off"}
_OPPOSITES = {"on": "off", "off": "on"}


def normal(value: str) -> str:
    """One spelling for all values that set the same (rules 1 and 2)."""
    word = _WORDS.get(value, value)
    try:
        return str(int(word, 0))
    except ValueError:
        return word


def same(one: str, other: str) -> bool:
    """Whether two texts set a property to the same."""
    return normal(one) == normal(other)


def opposite(value: str) -> str | None:
    """The other value of a switch; None for what is no switch."""
    return _OPPOSITES.get(normal(value))


def text_of(value: Any) -> str:
    """A JSON value as a command line wants it."""
    return ("on" if value else "off") if isinstance(value, bool) else str(value)

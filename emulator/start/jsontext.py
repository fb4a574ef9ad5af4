# SPDX-License-Identifier: Apache-2.0
"""Writes and reads JSON by the encoder and scanner in C that are inside the `json` package.

Importing `json` itself compiles regular expressions, which takes longer than everything that an emulator says in its
life. `dumps` and `read_object` call the same C code that `json.dumps` and `json.loads` end in.
"""

from __future__ import annotations

from _json import encode_basestring_ascii as _quoted
from _json import make_encoder, make_scanner
from typing import Any, Final

__all__ = ["NotPlain", "dumps", "read_object"]


def _unknown(value: object) -> object:
    raise TypeError(f"no JSON for {type(value).__name__}")


_encode: Final = make_encoder(None, _unknown, _quoted, None, ": ", ", ", False, False, True)


def dumps(value: Any) -> str:
    """`value` on one line; TypeError for what has no JSON."""
    return "".join(_encode(value, 0))


class NotPlain(Exception):
    """The text is no JSON object, or one that only QEMU's own grammar can judge."""


class _Rules:
    """What the scanner asks: plain numbers and no name twice, everything else is not plain."""

    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def object_pairs_hook(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """An object's members; NotPlain when two have one name."""
        found = dict(pairs)
        if len(found) != len(pairs):
            raise NotPlain
        return found

    @staticmethod
    def parse_constant(name: str) -> Any:
        """``NaN`` and ``Infinity`` are Python's, not JSON's."""
        raise NotPlain(name)


_rules: Any = _Rules  # whose type, by the stubs, is the scanner's own
_scan: Final = make_scanner(_rules)


def read_object(text: str) -> dict[str, Any]:
    """The one object that `text` is, from brace to brace; NotPlain."""
    try:
        value, end = _scan(text, 0)
    except (StopIteration, ValueError) as why:
        raise NotPlain from why
    if end != len(text) or not isinstance(value, dict):
        raise NotPlain
    return value

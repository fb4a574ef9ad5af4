# SPDX-License-Identifier: Apache-2.0
"""The small languages of QEMU's command line: `key=value` lists, sizes, numbers, identifiers.

Pure. Mistakes are `Malformed`, whose text lacks the option it was found in; `emulator.options.parse` adds that.

1. Items are separated by commas; in a value, two commas are one.
2. A first item without ``=`` is the value of the option's implied key (``-device`` has ``driver``).
3. Any other item without ``=`` is a flag: ``wait`` is ``wait=on``, ``nowait`` is ``wait=off``.
"""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.properties import OFF_WORDS, ON_WORDS

__all__ = ["Malformed", "flag", "identifier", "integer", "json_items", "pairs", "size"]

Pairs = tuple[tuple[str, str], ...]

_SUFFIXES: Final = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50, "E": 60}
_SIZE_LIMIT: Final = 1 << 64
_ID_CHARACTERS: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")


class Malformed(Exception):
    """A value that cannot be read; the text is what QEMU says of it."""


def pairs(given: str, implied: str = "") -> Pairs:
    """`given` as (key, value) in order; see the rules above."""
    found: list[tuple[str, str]] = []
    for position, item in enumerate(_items(given)):
        key, equals, value = item.partition("=")
        if equals:
            found.append((key, value))
        elif position == 0 and implied:
            found.append((implied, item))
        elif item in ("help", "?"):
            found.append((item, "on"))
        elif item.startswith("no"):
            found.append((item[2:], "off"))
        elif item:
            found.append((item, "on"))
    return tuple(found)


def _items(given: str) -> list[str]:
    """Split at single commas; two commas stand for one."""
    items = [item.replace("\0", ",") for item in given.replace(",,", "\0").split(",")]
    return items[:1] + [item for item in items[1:] if item]


def json_items(given: dict[str, object]) -> Pairs:
    """The members of a JSON object as QEMU's string form has them: booleans are on and off."""
    return tuple((key, _plain(value)) for key, value in given.items())


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        import json  # noqa: PLC0415 - not needed to start

        return json.dumps(value)
    return value if isinstance(value, str) else str(value)


def flag(name: str, value: str) -> bool:
    """`on` or `off`, also yes, true, y and their opposites."""
    if value in ON_WORDS:
        return True
    if value in OFF_WORDS:
        return False
    raise Malformed(f"Parameter '{name}' expects 'on' or 'off'")


def integer(name: str, value: str) -> int:
    """A number, decimal or with 0x or 0."""
    try:
        return int(value, 8) if value[:1] == "0" and value.isdigit() else int(value, 0)
    except ValueError:
        raise Malformed(f"Parameter '{name}' expects a number") from None


def size(name: str, value: str, suffix: str = "B") -> int:
    """Bytes; a number without a suffix is in `suffix` (B, K, M, G, T, P or E); fractions are allowed."""
    letter = value[-1:].upper()
    number, unit = (
        (value[:-1], letter) if letter in _SUFFIXES and value[:2].lower() != "0x" else (value, suffix)
    )
    try:
        amount = (
            float(number) if "." in number else int(number, 0) if number[:2].lower() == "0x" else int(number)
        )
    except ValueError:
        raise Malformed(
            f"Parameter '{name}' expects a non-negative number below 2^64\n"
            "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively."
        ) from None
    found = int(amount * (1 << _SUFFIXES[unit]))
    if not 0 <= found < _SIZE_LIMIT:
        raise Malformed(f"Value '{value}' is out of range for parameter '{name}'")
    return found


def identifier(value: str) -> str:
    """An id; letters, digits, ``-``, ``.`` and ``_``, a letter first."""
    if not (value[:1].isalpha() and _ID_CHARACTERS.issuperset(value)):
        raise Malformed(
            "Parameter 'id' expects an identifier\n"
            "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
        )
    return value

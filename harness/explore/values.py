# SPDX-License-Identifier: Apache-2.0
"""Which values of an option are worth trying. Pure.

1. What the table has for an option, else what its type has: the other words of a switch, of a switch with ``auto``, and
   of an enumeration whose description lists its words (``FDC drive type, 144/288/120/none/auto``).
2. Of a number: one, few, many, the edges, and the powers of two around the default, within the type's width.
3. A default that all builds share is not tried: it is what the plain device has. Where builds differ in it, each build's
   default is tried, and they come first.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.harness.compat.values import normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from migmatrix.harness.explore.records import Option
    from migmatrix.harness.explore.table import Table

__all__ = ["changed", "values_of"]

_WIDTHS = {
    "int8": 7,
    "uint8": 8,
    "int16": 15,
    "uint16": 16,
    "int32": 31,
    "uint32": 32,
    "int64": 63,
    "uint64": 64,
}
_WIDTHS["int"] = 63
_SWITCHES = {"bool": ("on", "off"), "OnOffAuto": ("on", "off", "auto"), "OnOffSplit": ("on", "off", "split")}
_WORDS = re.compile(r"(?<![\w/<])(?P<words>[\w.-]+(?:/[\w.-]+)+)(?![\w/])")


def values_of(device: str, option: Option, table: Table) -> tuple[str, ...]:
    """The values to try, the likeliest to matter first; empty for an option that only the table could give any."""
    if backend := table.backend(device, option.name):
        return (backend.value,) if backend.optional else table.given(device, option.name, option.type)
    found = table.given(device, option.name, option.type) or _of_type(option, table.numbers)
    defaults = {None if value is None else normal(value) for value in option.defaults.values()}
    own = [value for value in dict.fromkeys(option.defaults.values()) if value] if len(defaults) > 1 else []
    wanted = dict.fromkeys([*own, *found])
    return tuple(value for value in wanted if len(defaults) > 1 or normal(value) not in defaults)


def changed(option: Option, builds: Iterable[str]) -> bool:
    """Whether builds that have the device differ in an option: some lack it, or have another default."""
    return len(set(option.defaults.values())) > 1 or bool(set(builds) - set(option.defaults))


def _of_type(option: Option, numbers: Sequence[int]) -> tuple[str, ...]:
    if option.type in _SWITCHES:
        return _SWITCHES[option.type]
    if option.type in _WIDTHS:
        return tuple(map(str, _numbers(option, numbers, _WIDTHS[option.type])))
    words = _WORDS.search(option.description)
    return tuple(words["words"].split("/")) if words and option.type not in ("str", "string") else ()


def _numbers(option: Option, numbers: Sequence[int], width: int) -> list[int]:
    near = [value for default in option.defaults.values() for value in _around(default)]
    return [n for n in dict.fromkeys([*near, *numbers]) if 0 <= n < 1 << width]


def _around(default: str | None) -> tuple[int, ...]:
    """Half, double and the neighbour of a default that is a number of some size."""
    if default is None or not default.isdigit() or not 1 < int(default) < 1 << 20:
        return ()
    number = int(default)
    return number // 2, number * 2, number + 1

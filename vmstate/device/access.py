# SPDX-License-Identifier: Apache-2.0
"""Values of a state object by dotted path; attributes and mappings alike."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, Final

__all__ = ["MISSING", "lookup", "store"]

MISSING: Final = object()  # the answer of `lookup` for no value


@lru_cache(maxsize=4096)
def _parts(path: str) -> tuple[tuple[str, ...], str]:
    *outer, last = path.split(".")
    return tuple(outer), last


def _get(holder: Any, name: str) -> Any:
    if isinstance(holder, Mapping):
        return holder.get(name, MISSING)
    return getattr(holder, name, MISSING)


def _holder(state: Any, path: str) -> tuple[Any, str]:
    outer, last = _parts(path)
    for name in outer:
        state = _get(state, name)
    return state, last


def lookup(state: Any, path: str) -> Any:
    """The value at `path` ("" is `state` itself), or MISSING."""
    if not path:
        return state
    holder, name = _holder(state, path)
    return _get(holder, name)


def store(state: Any, path: str, value: Any) -> None:
    """Set the value at `path`; do nothing for "". AttributeError when the object has no such attribute."""
    if not path:
        return
    holder, name = _holder(state, path)
    if isinstance(holder, MutableMapping):
        holder[name] = value
    else:
        setattr(holder, name, value)

# SPDX-License-Identifier: Apache-2.0
"""The published form of advice: JSON whose keys stay, whatever the fields of the records are called now."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from migmatrix.harness.trials.records import plain

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["published"]

# Fields that were renamed after their key had been published.
_KEYS = {
    "started_on": "born_on",
    "overrides": "marks",
    "upgrades": "rungs",
    "elsewhere": "refuge",
}


def published(record: DataclassInstance) -> dict[str, Any]:
    """The fields of a record as plain data, all the way down, under their published keys."""
    renamed: dict[str, Any] = _renamed(plain(asdict(record)))
    return renamed


def _renamed(value: Any) -> Any:
    if isinstance(value, dict):
        return {_KEYS.get(key, key): _renamed(below) for key, below in value.items()}
    return [_renamed(below) for below in value] if isinstance(value, list) else value

# SPDX-License-Identifier: Apache-2.0
"""JSON whose texts can be shown: `visible` for each of them, so that no format forgets one."""

from __future__ import annotations

import json
from typing import Any

from migmatrix.harness.visible import visible

__all__ = ["clean", "json_text"]


def clean(data: Any) -> Any:
    """The same plain data with each text in it, keys too, made visible."""
    match data:
        case str():
            return visible(data)
        case dict():
            return {clean(key): clean(value) for key, value in data.items()}
        case list() | tuple():
            return [clean(value) for value in data]
    return data


def json_text(data: Any) -> str:
    """A document of its own, ending in a newline."""
    return json.dumps(clean(data), indent=1, allow_nan=False) + "\n"

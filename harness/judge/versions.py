# SPDX-License-Identifier: Apache-2.0
"""Conditions on versions in the tables of the judge: ``all``, or comparisons of major.minor as ``>=8.0,<10.0``."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALL", "Versions"]

_TERM = re.compile(r"(?P<how><=|>=|<|>)(?P<major>\d+)\.(?P<minor>\d+)")
_COMPARE: dict[str, Callable[[tuple[int, ...], tuple[int, int]], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class Versions:
    """Release lines, as bounds that all must hold; without any all lines."""

    bounds: tuple[tuple[str, tuple[int, int]], ...] = ()

    @classmethod
    def parse(cls, text: Any) -> Versions:
        """ValueError when `text` is no condition."""
        if text == "all":
            return cls()
        matches = [_TERM.fullmatch(term.strip()) for term in str(text).split(",")]
        if not all(matches):
            raise ValueError(f"bad versions {text!r}, should be like '>=8.0,<10.0'")
        return cls(tuple((m["how"], (int(m["major"]), int(m["minor"]))) for m in matches if m))

    def hold(self, release: tuple[int, ...]) -> bool:
        """Whether this line (major, minor) is one of them; (), unknown, is every line."""
        return not release or all(_COMPARE[how](release, bound) for how, bound in self.bounds)


ALL = Versions()

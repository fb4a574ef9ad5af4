# SPDX-License-Identifier: Apache-2.0
"""What is not tried any more: `Failures` counts failures of the host by the builds that were at work.

1. One bad build (an image that is gone, a loader that is missing) ends its own legs after three failures in a row, and
   nobody else's.
2. A row of failures that two bad builds cannot have made by themselves means that the engine or the store is down: then
   nothing is started. Sandboxes that died do not count for it: any number of hostile builds can end their own.
"""

from __future__ import annotations

from typing import Final

from migmatrix.harness.errors import SandboxDied

__all__ = ["Failures"]

_IN_A_ROW: Final = 3
_OF_TWO_BUILDS: Final = 2 * _IN_A_ROW


class Failures:
    """Failures in a row: of all legs, and of the legs of the same builds."""

    def __init__(self) -> None:
        self._row = 0
        self._rows: dict[frozenset[str], int] = {}
        self._down: dict[frozenset[str], str] = {}
        self._all_down = ""

    def down(self, builds: frozenset[str]) -> str:
        """Why a leg of these builds is not started; "" when it is."""
        return self._all_down or next((why for bad, why in self._down.items() if bad <= builds), "")

    def done(self, builds: frozenset[str]) -> None:
        """Count a leg that was done, whatever came of it."""
        self._row = 0
        self._rows.pop(builds, None)

    def failed(self, builds: frozenset[str], why: object) -> None:
        """Count a failure of the host."""
        self._row += not isinstance(why, SandboxDied)
        self._rows[builds] = self._rows.get(builds, 0) + 1
        if self._rows[builds] >= _IN_A_ROW:
            self._down[builds] = f"not started, {_IN_A_ROW} legs of this build failed in a row: {why}"
        if self._row > _OF_TWO_BUILDS:
            self._all_down = f"not started, the host failed {self._row} times in a row: {why}"

# SPDX-License-Identifier: Apache-2.0
"""What a search looks like while it goes on: one live line on a terminal, plain lines elsewhere, as of a run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.text import Text

from migmatrix.harness.report.liveline import LiveLine
from migmatrix.harness.report.text import duration, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from migmatrix.harness.explore.coverage import Reached
    from migmatrix.harness.model import LegEvidence

__all__ = ["SearchProgress"]

_INTERVAL = 5.0  # seconds between two plain lines at least


class SearchProgress(LiveLine):
    """How far a search is: told of each leg, and of the search after each batch."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = _INTERVAL,
    ) -> None:
        super().__init__(console, clock, interval)
        self._legs = self._executed = 0  # what the search needed, and what was run
        self._parts: list[str] = ["asks the builds", "", "", "", "", ""]

    def log(self, line: str) -> None:
        """Print a line above the live one."""
        with self._lock:
            self._print(Text(visible(line)))

    def leg_done(self, _: LegEvidence, reused: bool) -> None:
        """Count a leg that was executed, or whose stored result was used again; a terminal shows it at once."""
        with self._lock:
            self._begin()
            self._legs += not reused  # until the batch is done, and tells
            self._executed += not reused
            if self._live:
                self._show_if_due()

    def batch_done(self, reached: Reached) -> None:
        """Show how far the search is."""
        with self._lock:
            self._legs = reached.legs
            self._parts = [
                f"{reached.phase.value}: {plural(reached.candidates, 'candidate')}",
                plural(reached.findings, "finding"),
                f"{plural(reached.devices, 'device')} started",
                plural(reached.options, "option"),
                plural(reached.pairs, "pair"),
                f"{reached.seen:,} sections and fields seen",
            ]
            if self._open:
                self._show_if_due()
            else:
                self._start()

    def _line(self) -> Text:
        """On a terminal too narrow the time, then what was seen and started are left out first."""
        elapsed = self._elapsed
        rate = f"{self._executed / elapsed:,.1f} legs/s" if elapsed >= 1 else ""
        parts = [*self._parts, plural(self._legs, "leg"), rate, f"{duration(elapsed)} so far"]
        return self._fitting(parts, (8, 5, 4, 3, 2, 7))

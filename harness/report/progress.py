# SPDX-License-Identifier: Apache-2.0
"""What a run looks like while it goes on: one live line on a terminal, plain lines elsewhere.

1. The first cell of each signature is printed in full, further ones are counted: 10, 100, 1,000...
2. Failures are lines of their own that scroll by; the live line (`liveline`) stays below them.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from rich.text import Text

from migmatrix.harness.report.data import Section, group_key, numbered, section_of
from migmatrix.harness.report.liveline import LiveLine, progress_console
from migmatrix.harness.report.terminal import describe_cause
from migmatrix.harness.report.text import duration, one_line, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from migmatrix.harness.model import CellResult

__all__ = ["Progress", "progress_console"]

_INTERVAL = 15.0  # seconds between two plain lines, so that a night's log stays readable
_MESSAGE = 240
_LOUD = {Section.PROBLEM: ("FAIL", "bold red"), Section.INFRASTRUCTURE: ("ERROR", "bold yellow")}


class Progress(LiveLine):
    """The live line of a run."""

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = _INTERVAL,
    ) -> None:
        super().__init__(console, clock, interval)
        self._cells = self._legs = self._executed = 0
        self._total_cells = self._total_legs = 0
        self._seen: Counter[str] = Counter()
        self._bad: Counter[Section] = Counter()

    def start(self, total_cells: int, total_legs: int) -> None:
        """Begin; totals are of the plan, legs that will be reused included."""
        with self._lock:
            self._total_cells, self._total_legs = total_cells, total_legs
            self._start()

    def legs_spared(self, count: int) -> None:
        """Expect `count` legs less: no cell waits for them any more."""
        with self._lock:
            self._total_legs -= count

    def leg_done(self, *, reused: bool = False) -> None:
        """Count a leg that was executed or whose stored result was used again."""
        with self._lock:
            self._begin()
            self._legs += 1
            self._executed += not reused
            self._show_if_due()

    def cell_done(self, result: CellResult, number: int | None = None) -> None:
        """Count a judged cell, and print it if it needs attention and is the first of its kind.

        `number` is that of the cell in the plan.
        """
        with self._lock:
            self._cells += 1
            section = section_of(result)
            if section in _LOUD:
                self._bad[section] += 1
                self._tell(result, section, number)
            self._show_if_due()

    def _tell(self, result: CellResult, section: Section, number: int | None) -> None:
        key = group_key(result)
        self._seen[key] += 1
        count = self._seen[key]
        label, style = _LOUD[section]
        if count == 1:
            self._print(Text.assemble((f"{label} ", style), visible(numbered(result.cell, number))))
            self._print(Text(f"     {_why(result)}"))
        elif count >= 10 and set(str(count)[1:]) == {"0"} and str(count)[0] == "1":  # noqa: PLR2004
            again = f"again, {plural(count, 'cell')} so far: {_why(result)}"
            self._print(Text.assemble((f"{label} ", style), again))

    def _line(self) -> Text:
        """On a terminal the rate and the time so far are left out first."""
        elapsed = self._elapsed
        parts = [
            f"{self._cells:,} of {plural(self._total_cells, 'cell')} done",
            f"{self._legs:,} of {plural(self._total_legs, 'leg')}",
            f"{self._executed / elapsed:,.1f} legs/s" if elapsed >= 1 else "",
            f"{duration(elapsed)} so far",
            self._remaining(elapsed),
        ]
        return self._fitting(parts, (2, 3, 1), self._failures())

    def _failures(self) -> Text:
        text = Text()
        for section, count in sorted(self._bad.items()):
            label, style = _LOUD[section]
            text.append(f", {count:,} {label}", style)
        return text

    def _remaining(self, elapsed: float) -> str:
        """The time left at the rate so far; legs are the work, cells only wait for them."""
        done, total = (self._legs, self._total_legs) if self._total_legs else (self._cells, self._total_cells)
        if not done or done >= total or elapsed <= 0:
            return ""
        return f"about {duration((total - done) * elapsed / done)} left"


def _why(result: CellResult) -> str:
    cause = result.cause
    if cause is None:
        return visible(result.reason or result.verdict.value)
    message = f": {one_line(cause.message, _MESSAGE)}" if cause.message else ""
    return f"{describe_cause(cause)}{message}"

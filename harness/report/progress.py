# SPDX-License-Identifier: Apache-2.0
"""What a run looks like while it goes on: one live line on a terminal, plain lines elsewhere.

1. Everything is driven by the run's events and an injected clock; no thread, no timer, no sleep.
2. The first cell of each signature is printed in full, further ones are counted: 10, 100, 1,000...
3. Failures are lines of their own that scroll by; the live line stays below them.
"""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from migmatrix.harness.report.data import Section, group_key, numbered, section_of
from migmatrix.harness.report.terminal import describe_cause
from migmatrix.harness.report.text import duration, one_line, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from migmatrix.harness.model import CellResult

__all__ = ["Progress", "progress_console"]

_REFRESH = 0.1  # seconds between two paintings of the live line
_INTERVAL = 15.0  # seconds between two plain lines, so that a night's log stays readable
_MESSAGE = 240
_LOUD = {Section.PROBLEM: ("FAIL", "bold red"), Section.INFRASTRUCTURE: ("ERROR", "bold yellow")}


def progress_console() -> Console:
    """Standard error; colours may be forced on it, but a line that is painted again needs a terminal."""
    return Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)


class Progress:
    """Use as a context manager, or call `close`. Methods may be called from any thread.

    Only an interactive console gets a live line: FORCE_COLOR makes any other a terminal that knows colours.
    `clock` returns seconds from any fixed point; `interval` is the least time between plain lines.
    """

    def __init__(
        self,
        console: Console,
        *,
        clock: Callable[[], float] = time.monotonic,
        interval: float = _INTERVAL,
    ) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False) if console.is_interactive else None
        self._interval = _REFRESH if self._live else interval
        self._lock = threading.Lock()
        self._began: float | None = None
        self._shown = clock()
        self._cells = self._legs = self._executed = 0
        self._total_cells = self._total_legs = 0
        self._open = False
        self._seen: Counter[str] = Counter()
        self._bad: Counter[Section] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self, total_cells: int, total_legs: int) -> None:
        """Begin; totals are of the plan, legs that will be reused included."""
        with self._lock:
            self._total_cells, self._total_legs = total_cells, total_legs
            self._begin()
            self._open = True
            if self._live:
                self._live.start()
            self._show()

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

    def close(self) -> None:
        """End the live line, or print the last plain one; may be called more than once."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._show()
            if self._live:
                self._live.stop()

    def _begin(self) -> None:
        """Time counts from the first event: legs that see which profiles start are done before `start`."""
        if self._began is None:
            self._began = self._clock()

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

    def _print(self, line: Text) -> None:
        self._console.print(line, soft_wrap=True, highlight=False)

    def _show_if_due(self) -> None:
        if self._open and self._clock() - self._shown >= self._interval:
            self._show()

    def _show(self) -> None:
        self._shown = self._clock()
        if self._live:
            self._live.update(self._line(), refresh=True)
        else:
            self._print(self._line())

    def _line(self) -> Text:
        """On a terminal as much as fits, the rate and the time so far left out first: a line that wraps leaves litter."""
        elapsed = 0.0 if self._began is None else self._shown - self._began
        parts = [
            f"{self._cells:,} of {plural(self._total_cells, 'cell')} done",
            f"{self._legs:,} of {plural(self._total_legs, 'leg')}",
            f"{self._executed / elapsed:,.1f} legs/s" if elapsed >= 1 else "",
            f"{duration(elapsed)} so far",
            self._remaining(elapsed),
        ]
        line = self._joined(parts)
        for spare in (2, 3, 1) if self._live else ():
            if line.cell_len >= self._console.width:
                parts[spare] = ""
                line = self._joined(parts)
        return line

    def _joined(self, parts: Sequence[str]) -> Text:
        line = Text(", ".join(p for p in parts if p), no_wrap=True, overflow="ellipsis")
        for section, count in sorted(self._bad.items()):
            label, style = _LOUD[section]
            line.append(f", {count:,} {label}", style)
        return line

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

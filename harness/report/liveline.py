# SPDX-License-Identifier: Apache-2.0
"""A line that says how far something is: painted again and again on a terminal, printed now and then elsewhere.

1. It is driven by events and an injected clock; no thread, no timer, no sleep.
2. What is printed meanwhile scrolls by above the live line.
"""

from __future__ import annotations

import sys
import threading
import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

__all__ = ["LiveLine", "joined", "progress_console"]

_REFRESH = 0.1  # seconds between two paintings of the live line


def progress_console() -> Console:
    """Standard error; colours may be forced on it, but a line that is painted again needs a terminal."""
    return Console(stderr=True, force_interactive=None if sys.stderr.isatty() else False)


class LiveLine(ABC):
    """Use as a context manager, or call `close`. Events come from any thread, each under `_lock`.

    Only an interactive console gets a live line: FORCE_COLOR makes any other a terminal that knows colours.
    `clock` returns seconds from any fixed point; `interval` is the least time between plain lines.
    """

    def __init__(
        self, console: Console, clock: Callable[[], float] = time.monotonic, interval: float = 0.0
    ) -> None:
        self._console = console
        self._clock = clock
        self._live = Live(console=console, auto_refresh=False) if console.is_interactive else None
        self._interval = _REFRESH if self._live else interval
        self._lock = threading.Lock()
        self._began: float | None = None
        self._shown = clock()
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the live line, or print the last plain one; may be called more than once."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            self._show()
            if self._live:
                self._live.stop()

    @abstractmethod
    def _line(self) -> Text:
        """How far it is, as of `_shown`; on a terminal no wider than the console: a line that wraps leaves litter."""

    def _start(self) -> None:
        """Show the line from here on."""
        self._begin()
        self._open = True
        if self._live:
            self._live.start()
        self._show()

    def _begin(self) -> None:
        """Time counts from the first event, which may come before `_start`."""
        if self._began is None:
            self._began = self._clock()

    @property
    def _elapsed(self) -> float:
        return 0.0 if self._began is None else self._shown - self._began

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

    def _fitting(self, parts: list[str], spare: Sequence[int], tail: Text | None = None) -> Text:
        """The parts in a line; on a terminal as much as fits, those at `spare` left out first."""
        line = joined(parts, tail)
        for number in spare if self._live else ():
            if line.cell_len >= self._console.width:
                parts[number] = ""
                line = joined(parts, tail)
        return line


def joined(parts: Sequence[str], tail: Text | None = None) -> Text:
    """Those parts that say something, in one line."""
    line = Text(", ".join(part for part in parts if part), no_wrap=True, overflow="ellipsis")
    return line.append_text(tail) if tail else line

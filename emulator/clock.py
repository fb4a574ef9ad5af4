# SPDX-License-Identifier: Apache-2.0
"""The guest's virtual clock: nanoseconds that pass only while the guest runs.

Devices and guest programs read time here and nowhere else. The constructor takes the host's clock as a function, so
a test can set the time.

1. `start` and `stop` have no effect when called again.
2. `set` moves the clock to the time of a stream or a snapshot, running or not.
3. `fire`, which the main loop calls, fires timers in order of their time, and none while the clock is stopped.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Clock", "Timer"]


class Timer:
    """A callback of the virtual clock; made by `Clock.timer`. `at` is its time in ns, None when not armed."""

    __slots__ = ("at", "callback")

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback = callback
        self.at: int | None = None

    def arm(self, at: int) -> None:
        """Fire at virtual time `at` (ns)."""
        self.at = at

    def cancel(self) -> None:
        """Do not fire."""
        self.at = None


class Clock:
    """Virtual ns since the machine began to run; `host` gives ns of a clock that never goes back."""

    def __init__(self, host: Callable[[], int] = time.monotonic_ns) -> None:
        self._host = host
        self._passed = 0
        self._since: int | None = None
        self._timers: list[Timer] = []
        # another thread armed a timer: whoever waits must look again
        self.wake: Callable[[], object] = lambda: None

    @property
    def running(self) -> bool:
        """Whether time passes."""
        return self._since is not None

    def now(self) -> int:
        """Virtual time in ns."""
        return self._passed if self._since is None else self._passed + self._host() - self._since

    def start(self) -> None:
        """Let time pass."""
        if self._since is None:
            self._since = self._host()

    def stop(self) -> None:
        """Let it stand."""
        self._passed, self._since = self.now(), None

    def set(self, ns: int) -> None:
        """Make it `ns` now."""
        self._passed = ns
        if self._since is not None:
            self._since = self._host()

    def timer(self, callback: Callable[[], None]) -> Timer:
        """A timer of this clock, not armed."""
        timer = Timer(callback)
        self._timers.append(timer)
        return timer

    def forget(self, timer: Timer) -> None:
        """Remove a timer for good."""
        self._timers.remove(timer)

    def next_in(self) -> float | None:
        """Seconds until the next timer; None while nothing is to come."""
        if self._since is None:
            return None
        armed = [timer.at for timer in self._timers if timer.at is not None]
        return max(0.0, (min(armed) - self.now()) / 1e9) if armed else None

    def fire(self) -> None:
        """Run what is due; a timer armed again for now waits for the next call."""
        if self._since is None:
            return
        now = self.now()
        due = [
            (timer.at, n) for n, timer in enumerate(self._timers) if timer.at is not None and timer.at <= now
        ]
        timers = [self._timers[n] for _, n in sorted(due)]
        for timer in timers:
            if timer.at is not None and timer.at <= now:
                timer.at = None
                timer.callback()

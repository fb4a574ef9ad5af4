# SPDX-License-Identifier: Apache-2.0
"""Deadlines that run only while the harness does: `async with patience(seconds)` raises TimeoutError after them.

A harness that was stopped (SIGSTOP, a frozen virtual machine, a clock that jumped) finds at once that every deadline
of `asyncio.timeout` has passed, and would call it the emulator's hang. Here a watchdog ticks while anybody waits; a
tick that comes late tells for how long nobody looked, and that time counts for no deadline.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["patience"]

_TICK = 0.1  # seconds
# A tick that is this much late was held up by more than a busy host.
_TOLERANCE = 0.2


class _Watchdog:
    """The time of one event loop less what it spent stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # Not the loop itself: the dictionary would keep it for ever.
        self._time, self._later = loop.time, loop.call_later
        self._lost = 0.0
        self._seen = loop.time()
        self._waiting = 0
        self._ticking = False

    def now(self) -> float:
        """Seconds that the loop has run, from any begin."""
        late = self._time() - self._seen - _TICK
        return self._time() - self._lost - (late if late > _TOLERANCE else 0.0)

    def enter(self) -> None:
        """Tick from now on; a tick that is still to come from those before is the one."""
        self._waiting += 1
        if not self._ticking:
            self._seen = self._time()
            self._tick_later()

    def leave(self) -> None:
        """Tick no more when nobody waits."""
        self._waiting -= 1

    def _tick(self) -> None:
        running, self._seen = self.now(), self._time()
        self._lost = self._seen - running
        self._ticking = False
        if self._waiting:
            self._tick_later()

    def _tick_later(self) -> None:
        self._ticking = True
        self._later(_TICK, self._tick)


_watchdogs: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watchdog] = WeakKeyDictionary()


@asynccontextmanager
async def patience(seconds: float) -> AsyncIterator[None]:
    """Give the body `seconds` of the harness's own running time; TimeoutError after them."""
    loop = asyncio.get_running_loop()
    if loop not in _watchdogs:
        _watchdogs[loop] = _Watchdog(loop)
    watchdog = _watchdogs[loop]
    watchdog.enter()
    end = watchdog.now() + seconds
    try:
        async with asyncio.timeout(None) as timeout:
            handle: asyncio.TimerHandle

            def look() -> None:
                nonlocal handle
                if watchdog.now() < end:
                    handle = loop.call_later(end - watchdog.now(), look)
                else:
                    timeout.reschedule(loop.time())

            handle = loop.call_later(seconds, look)
            try:
                yield
            finally:
                handle.cancel()
    finally:
        watchdog.leave()

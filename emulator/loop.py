"""The main loop: file descriptors, timers of the virtual clock, and calls from other threads.

1. Everything that QMP, chardevs and guest programs do, they do on this loop's thread.
2. Other threads reach it only by `call`, which may be used from any thread and from a signal handler's thread.
3. `stop` ends `run` after the callback that is under way; what was called before is still done.
"""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from typing import TYPE_CHECKING

from emulator.clock import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READ", "WRITE", "Loop"]

READ = selectors.EVENT_READ
WRITE = selectors.EVENT_WRITE


class Loop:
    """A loop over one selector; the timers of `clock` fire on it: the machine's, once there is one."""

    def __init__(self) -> None:
        self.clock = Clock()
        self._selector = selectors.DefaultSelector()
        self._calls: deque[Callable[[], object]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._selector.register(self._wake, READ, self._drain)
        self._later: list[tuple[float, Callable[[], object]]] = []  # host seconds
        self._stopped = False

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` once, `seconds` of the host's time from now; from the loop's thread."""
        self._later.append((time.monotonic() + seconds, callback))

    def call(self, callback: Callable[[], object]) -> None:
        """Have `callback` called on the loop's thread, soon; from any thread."""
        self._calls.append(callback)
        os.eventfd_write(self._wake, 1)

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        """Call `callback(events)` whenever `fd` is ready; replaces what was asked for `fd` before."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, callback)
        else:
            self._selector.register(fd, events, callback)

    def forget(self, fd: int) -> None:
        """Watch `fd` no more; nothing when it is not watched."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def stop(self) -> None:
        """End `run`; from the loop's thread."""
        self._stopped = True

    def run(self) -> None:
        """Serve until `stop`."""
        while not self._stopped:
            self.once(self._timeout())
        self._do_calls()

    def once(self, timeout: float | None) -> None:
        """Wait for one round of events, at most `timeout` seconds (None: for ever), and serve them."""
        for key, events in self._selector.select(timeout):
            if key.fd in self._selector.get_map():  # an earlier callback may have closed it
                key.data(events)
        self._do_calls()
        self._do_later()
        self.clock.fire()

    def close(self) -> None:
        """Give the descriptors back."""
        self._selector.close()
        os.close(self._wake)

    def _drain(self, _: int) -> None:
        os.eventfd_read(self._wake)

    def _timeout(self) -> float | None:
        now = time.monotonic()
        waits = [max(0.0, at - now) for at, _ in self._later]
        virtual = self.clock.next_in()
        return min(waits if virtual is None else [*waits, virtual], default=None)

    def _do_later(self) -> None:
        now = time.monotonic()
        due = [callback for at, callback in self._later if at <= now]
        self._later = [entry for entry in self._later if entry[0] > now]
        for callback in due:
            callback()

    def _do_calls(self) -> None:
        while self._calls:
            self._calls.popleft()()

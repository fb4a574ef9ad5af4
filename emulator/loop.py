# SPDX-License-Identifier: Apache-2.0
"""The main loop: file descriptors, timers of the virtual clock, and calls from other threads.

1. QMP, chardevs and guest programs run on this loop's thread only.
2. Other threads, the signal thread included, reach it by `call` only.
3. What a callback raises is printed, and the loop goes on; a descriptor whose callback raises twice in a row is
   watched no more, as it might be ready for ever.
4. `stop` ends `run` after the current callback; calls made before it still run.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING

from migmatrix.emulator.clock import Clock
from migmatrix.emulator.errors import bug

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READ", "WRITE", "Loop"]

READ = select.EPOLLIN
WRITE = select.EPOLLOUT


class Loop:
    """A loop over one epoll. It fires the timers of `clock`, which becomes the machine's clock.

    It does without `selectors`, which takes as long to load as all of this.
    """

    def __init__(self) -> None:
        self.clock = Clock()
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], object]] = {}
        self._calls: deque[Callable[[], object]] = deque()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.watch(self._wake, READ, self._drain)
        self._later: list[tuple[float, Callable[[], object]]] = []  # host seconds
        self._stopped = False
        self._raised: set[int] = set()  # descriptors whose last callback raised

    def later(self, seconds: float, callback: Callable[[], object]) -> None:
        """Call `callback` once, `seconds` of the host's time from now; from the loop's thread."""
        self._later.append((time.monotonic() + seconds, callback))

    def call(self, callback: Callable[[], object]) -> None:
        """Call `callback` on the loop's thread, soon; any thread may ask."""
        self._calls.append(callback)
        os.eventfd_write(self._wake, 1)

    def watch(self, fd: int, events: int, callback: Callable[[int], object]) -> None:
        """Call `callback(events)` whenever `fd` is ready, instead of an earlier callback for `fd`."""
        if fd in self._watched:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._watched[fd] = callback

    def forget(self, fd: int) -> None:
        """Stop watching `fd`, if the loop watches it."""
        if self._watched.pop(fd, None) is not None:
            try:
                self._epoll.unregister(fd)
            except OSError as err:  # a closed descriptor has left by itself
                if err.errno not in (errno.EBADF, errno.ENOENT):
                    raise

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
        for fd, events in self._epoll.poll(timeout):
            callback = self._watched.get(fd)  # an earlier callback may have closed it
            if callback is not None:
                # An error, or the end of a connection, shows when one reads or writes, whichever was asked for.
                self._serve(
                    fd, partial(callback, events if not events & ~(READ | WRITE) else events | READ | WRITE)
                )
        self._do_calls()
        self._do_later()
        _guarded(self.clock.fire)

    def _serve(self, fd: int, callback: Callable[[], object]) -> None:
        if _guarded(callback):
            self._raised.discard(fd)
        elif fd in self._raised:
            self.forget(fd)
        else:
            self._raised.add(fd)

    def close(self) -> None:
        """Give the descriptors back."""
        self._epoll.close()
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
            _guarded(callback)

    def _do_calls(self) -> None:
        while self._calls:
            _guarded(self._calls.popleft())


def _guarded(callback: Callable[[], object]) -> bool:
    """Call it; False when it raised, which is printed."""
    try:
        callback()
    except Exception as error:  # noqa: BLE001 - the last resort
        bug(error)
        return False
    return True

# SPDX-License-Identifier: Apache-2.0
"""Limits the rate of sending, and estimates whether the rest fits into the allowed downtime.

It works in windows of a tenth of a second. Each window has an allowance, and what was sent in the last one gives the
bandwidth: bandwidth times downtime limit is the amount that may be left when the guest stops.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.emulator.migration.channel import Wake
    from migmatrix.emulator.migration.streams import Output

__all__ = ["Pace"]

_WINDOW: Final = 0.1  # seconds, as QEMU's


class Pace:
    """The pace of one outgoing stream; `limit` names the parameter with its limit.

    Parameters are looked up in each window, so that they can be changed.
    `threshold` is the number of bytes that fit into the downtime, 0 before the first measure; `bandwidth` is in
    bytes per second.
    """

    def __init__(
        self, out: Output, parameters: Mapping[str, Any], wake: Wake, *, limit: str = "max-bandwidth"
    ) -> None:
        self._out = out
        self._parameters = parameters
        self._wake = wake
        self._limit = limit
        self.threshold = 0
        self.bandwidth = 0.0
        self._open_window()

    def _open_window(self) -> None:
        self._began = time.monotonic()
        self._from = self._out.total
        limit = self._parameters[self._limit]
        self._out.allowed = self._from + max(1, int(limit * _WINDOW)) if limit else None

    def keep(self, *, idle: bool = False) -> None:
        """Wait while the window's share is used up; begin a new window when this one is over.

        `idle`: there is nothing to send either, only somebody to wait for.
        """
        if self._out.full or (idle and self.bandwidth):
            self._wake.wait(self._began + _WINDOW - time.monotonic())
        elapsed = time.monotonic() - self._began
        if elapsed >= _WINDOW:
            self._measure(elapsed)
            self._open_window()

    def _measure(self, elapsed: float) -> None:
        self.bandwidth = (self._out.total - self._from) / elapsed
        usable = self._parameters.get("avail-switchover-bandwidth") or self.bandwidth
        self.threshold = int(usable * self._parameters["downtime-limit"] / 1000)

    def lift(self) -> None:
        """The guest is stopped: send the rest as fast as it goes."""
        self._out.allowed = None

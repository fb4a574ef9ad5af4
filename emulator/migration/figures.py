# SPDX-License-Identifier: Apache-2.0
"""Times and amounts of one outgoing migration, for `query-migrate`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.emulator.migration.pace import Pace
    from migmatrix.emulator.migration.ram import RamSection
    from migmatrix.emulator.migration.streams import Output

__all__ = ["Figures"]

_UNKNOWN_DOWNTIME: Final = 300  # ms, as QEMU's before the first measure


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


class Figures:
    """Times in milliseconds, amounts in bytes; `pace` is that of the stream, None before it begins."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._stopped = 0.0
        self._ended: float | None = None
        self._out: Output | None = None
        self._earlier = 0  # bytes over links that broke
        self._late_from: int | None = None
        self._downtime: float | None = None
        self.pace: Pace | None = None
        self.setup_ms = 0
        self.precopy_bytes = 0

    # -- what happens ------------------------------------------------------------------------------

    def follow(self, out: Output) -> None:
        """Count the bytes of another stream, too."""
        self._earlier = self.sent
        self._out = out

    def set_up(self) -> None:
        """The first pass begins."""
        self.setup_ms = self.total_ms

    def guest_stops(self) -> None:
        """The guest does not run."""
        self.precopy_bytes = self.sent
        self._stopped = time.monotonic()

    def guest_goes(self) -> None:
        """The guest is the destination's, and its memory comes late."""
        self._downtime = time.monotonic() - self._stopped
        self._late_from = self.sent

    def guest_resumes(self) -> None:
        """The guest goes on where it was: it only stood for a moment."""
        self._downtime = time.monotonic() - self._stopped

    def end(self, *, completed: bool = False) -> None:
        """It is over."""
        self._ended = time.monotonic()
        if completed and self._downtime is None:
            self._downtime = self._ended - self._stopped

    # -- what is told ------------------------------------------------------------------------------

    @property
    def sent(self) -> int:
        """Bytes of the stream so far."""
        return self._earlier + (self._out.total if self._out is not None else 0)

    @property
    def late_bytes(self) -> int:
        """Those of them that came after the guest had gone on over there."""
        return 0 if self._late_from is None else self.sent - self._late_from

    @property
    def downtime_ms(self) -> int:
        """How long the guest ran nowhere; 0 until that is over."""
        return _ms(self._downtime or 0.0)

    @property
    def total_ms(self) -> int:
        """From the command to the end, or to now."""
        return _ms((self._ended or time.monotonic()) - self._began)

    @property
    def bandwidth(self) -> float:
        """Bytes per second, as last measured; over the whole migration when it was too short for that."""
        measured = self.pace.bandwidth if self.pace is not None else 0.0
        return measured or self.sent * 1000 / max(self.total_ms, 1)

    def expected_downtime_ms(self, ram: RamSection) -> int:
        """What the guest would miss if it were stopped now."""
        if self.pace is None or not self.pace.bandwidth or ram.stats is None:
            return _UNKNOWN_DOWNTIME
        return _ms(ram.stats.remaining / self.pace.bandwidth)

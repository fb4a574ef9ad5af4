# SPDX-License-Identifier: Apache-2.0
"""How long a guest on the destination of a postcopy waited for its memory, per vCPU, and how long pages took.

Everything here runs under the machine's lock. Names, units and spans: `query-migrate` of real 7.2.22, 10.0.13, 11.1.3.
The guest of this emulator works on its first vCPU; what else wants memory (device state) is no vCPU.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.migration.traits import Span

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Blocktime"]

_LATENCIES: Final = Span("10.1")
_BUCKETS: Final = 24  # powers of two of microseconds
_MS: Final = 1_000_000
_US: Final = 1000


class Blocktime:
    """The waits for pages; a page is any key. Times are in nanoseconds."""

    def __init__(self, vcpus: int) -> None:
        self._waits: dict[object, list[tuple[int | None, int]]] = {}
        self._since: dict[int, int] = {}  # vCPUs that wait
        self._overlap = 0  # since when all of them wait
        self._all = 0  # how long all of them waited
        self._blocked = [0] * vcpus
        self._latencies: dict[int | None, list[int]] = {}
        self._buckets = [0] * _BUCKETS

    def begin(self, page: object, vcpu: int | None) -> None:
        """A vCPU, or something else (None), waits for a page."""
        now = time.monotonic_ns()
        self._waits.setdefault(page, []).append((vcpu, now))
        if vcpu is not None:
            self._since[vcpu] = now
            if len(self._since) == len(self._blocked):
                self._overlap = now

    def end(self, page: object) -> None:
        """The page is here."""
        now = time.monotonic_ns()
        for vcpu, since in self._waits.pop(page, ()):
            self._latencies.setdefault(vcpu, []).append(now - since)
            bucket = max((now - since) // _US, 1).bit_length() - 1
            self._buckets[min(bucket, _BUCKETS - 1)] += 1
            if vcpu is not None:
                self._go_on(vcpu, now)

    def _go_on(self, vcpu: int, now: int) -> None:
        if len(self._since) == len(self._blocked):
            self._all += now - self._overlap
        self._blocked[vcpu] += now - self._since.pop(vcpu)

    def told(self, release: str) -> dict[str, Any]:
        """Members of `query-migrate`."""
        found: dict[str, Any] = {
            "postcopy-blocktime": self._all // _MS,
            "postcopy-vcpu-blocktime": [blocked // _MS for blocked in self._blocked],
        }
        if not _LATENCIES.covers(release):
            return found
        return found | {
            "postcopy-latency": _mean(wait for waits in self._latencies.values() for wait in waits),
            "postcopy-latency-dist": list(self._buckets),
            "postcopy-vcpu-latency": [_mean(self._latencies.get(n, ())) for n in range(len(self._blocked))],
            "postcopy-non-vcpu-latency": _mean(self._latencies.get(None, ())),
        }


def _mean(waits: Iterable[int]) -> int:
    all_of_them = list(waits)
    return sum(all_of_them) // len(all_of_them) if all_of_them else 0

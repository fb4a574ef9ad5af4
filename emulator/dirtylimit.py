# SPDX-License-Identifier: Apache-2.0
"""The dirty limit: keeps the rate at which each virtual processor dirties memory near a quota.

The loop of QEMU's chapter "Dirty limit", once a period of the guest's time:

1. PREPARE: the rate of each processor, from the entries of its ring since the last period, in MiB/s.
2. CALCULATE (`next_penalty`): nothing within 25 MiB/s of the quota; far from it (more than half of the greater one) a
   step by the ratio of both; else a fixed step, so that the rate does not swing around the quota.
3. SET PENALTY: what the processor sleeps at each full ring; it does so by itself (`dirtyring.Vcpu`, ACCEPT PENALTY).

All numbers are QEMU's, and whole. Everything here runs under the machine's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.emulator.dirtyring import Ring
from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.clock import Timer
    from migmatrix.emulator.machine import Machine

__all__ = ["DirtyLimit", "full_time_us", "next_penalty"]

_PERIOD_MS: Final = 1000
_MIB_BITS: Final = 20
_PAGES_PER_MIB: Final = (1 << _MIB_BITS) // PAGE_SIZE
_TOLERANCE: Final = 25  # MiB/s
_FAR: Final = 50  # percent
_MOST_SLEEP: Final = 99  # times as long as the ring takes to fill
_FIXED: Final = 10  # of these make the time in which the ring fills


def full_time_us(size: int, rate: int) -> int:
    """Microseconds in which a ring of `size` entries fills at `rate` MiB/s."""
    return size // _PAGES_PER_MIB * 1_000_000 // rate


def next_penalty(quota: int, rate: int, penalty_us: int, full_us: int) -> int:
    """The sleep at each full ring, in microseconds, after a period at `rate` (both in MiB/s) with `penalty_us`."""
    low, high = sorted((quota, rate))
    if high - low <= _TOLERANCE:
        return penalty_us
    if not rate:
        return 0
    share = (high - low) * 100 // high
    step = int(full_us * share / (100 - share)) if share > _FAR else full_us // _FIXED
    wanted = penalty_us + (step if quota < rate else -step)
    return max(0, min(wanted, full_us * _MOST_SLEEP))


class DirtyLimit:
    """The limits of a machine. `rings` are its processors'; `quotas` in MiB/s by processor, and `rates` of the last period.

    It is in service while there is a quota. A period is a second; a migration with the capability may have a shorter one.
    """

    def __init__(self, machine: Machine, size: int) -> None:
        count = max(machine.smp.maxcpus, 1)
        self._machine = machine
        self.rings = [Ring(size) for _ in range(count)]
        self.rates = [0] * count
        self.quotas: dict[int, int] = {}
        self._fastest = 0  # MiB/s ever seen, of any processor
        self._timer: Timer | None = None
        self._began = 0
        self._counted = [0] * count
        self._old_rates = lives("", "8.1", machine.release.name)

    @property
    def in_service(self) -> bool:
        """Whether any processor has a quota."""
        return bool(self.quotas)

    def set(self, quota: int, index: int | None = None) -> None:
        """Give a processor, or all, a quota in MiB/s; 0 takes it away."""
        which = range(len(self.rings)) if index is None else (index,)
        for each in which:
            if quota:
                self.quotas[each] = quota
            else:
                self.quotas.pop(each, None)
        if self.quotas and self._timer is None:
            self._start()
        elif not self.quotas and self._timer is not None:
            self._machine.clock.forget(self._timer)
            self._timer = None

    def _start(self) -> None:
        self._timer = self._machine.clock.timer(self._tick)
        self.rates = [0] * len(self.rings)
        self._open_period()

    @property
    def _period_ms(self) -> int:
        machine = self._machine
        if machine.migrating and machine.migration.capabilities.get("dirty-limit"):
            return int(machine.migration.parameters["x-vcpu-dirty-limit-period"])
        return _PERIOD_MS

    def _open_period(self) -> None:
        self._began = self._machine.clock.now()
        self._counted = [ring.dirtied for ring in self.rings]
        if self._timer is not None:
            self._timer.arm(self._began + self._period_ms * 1_000_000)
            self._machine.clock.wake()

    def _tick(self) -> None:
        with self._machine.bql:
            if self._timer is None:
                return
            self._prepare()
            for index, quota in self.quotas.items():
                self._set_penalty(self.rings[index], quota, self.rates[index])
            self._open_period()

    def _prepare(self) -> None:
        ms = max(1, (self._machine.clock.now() - self._began) // 1_000_000)
        for index, ring in enumerate(self.rings):
            self.rates[index] = self._rate(ring.dirtied - self._counted[index], ms)
            ring.reap()

    def _rate(self, pages: int, ms: int) -> int:
        if self._old_rates:  # whole MiB first
            return pages // _PAGES_PER_MIB * 1000 // ms
        return pages * 1000 // _PAGES_PER_MIB // ms

    def _set_penalty(self, ring: Ring, quota: int, rate: int) -> None:
        ring.penalty_us = next_penalty(quota, rate, ring.penalty_us, self._full_us(rate) if rate else 0)

    def _full_us(self, rate: int) -> int:
        self._fastest = max(self._fastest, rate)
        return full_time_us(self.rings[0].size, self._fastest)

    def penalty_us(self, index: int) -> int:
        """What a processor sleeps when its ring is full."""
        return self.rings[index].penalty_us if index in self.quotas else 0

    @property
    def throttle_us(self) -> int:
        """The longest sleep of any processor at each full ring."""
        return max(ring.penalty_us for ring in self.rings)

    @property
    def ring_full_us(self) -> int:
        """In which time a ring fills on average; 0 for a guest that dirties nothing."""
        rates = self.rates[: self._machine.smp.cpus] if self._machine.running else []
        mean = sum(rates) // len(rates) if rates else 0
        return self._full_us(mean) if mean else 0

# SPDX-License-Identifier: Apache-2.0
"""auto-converge and dirty-limit: slow a guest down that writes memory faster than it can be sent.

The rule is that of QEMU's `migration/ram.c`: look at periods of at least a second, each ended by a new pass. In a period
the guest may dirty `throttle-trigger-threshold` percent of what was sent. The second period that exceeds this takes
`cpu-throttle-initial` percent of the guest's time away, and each second one after it `cpu-throttle-increment` more, up
to `max-cpu-throttle`. With `cpu-throttle-tailslow` a step is no larger than what brings the guest down to the threshold.

From 9.2 on `LongPasses` looks at what was dirtied in the middle of a long pass, so that a throttle need not wait for its end.

With `dirty-limit` the second such period gives all processors the quota `vcpu-dirty-limit` instead, looked at every
`x-vcpu-dirty-limit-period` ms; it ends with the migration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.migration.settings import Settings

__all__ = ["Converge", "LongPasses"]

_LONG: Final = 5.0  # seconds
_PATIENCE: Final = 2  # periods over the threshold for one step


class LongPasses:
    """Says every five seconds whether the same pass is still under way; never of the first pass, which sends everything.

    `counted`: the look at memory that follows counts as a pass.
    """

    def __init__(self, now: float, *, counted: bool = True) -> None:
        self.counted = counted
        self._at = now + _LONG
        self._passes = 0  # the last time

    def due(self, now: float, passes: int) -> bool:
        """Whether a new pass should begin; `passes` is the number of those that have begun."""
        if now < self._at:
            return False
        is_long = passes > 1 and passes == self._passes
        self._at, self._passes = now + _LONG, passes + (is_long and self.counted)
        return is_long


class Converge:
    """The throttle of one outgoing migration. Parameters are looked up at each step, so that they can be changed."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self._machine = machine
        self._settings = settings
        self._exceeded = 0
        self._quota = 0  # that this migration gave

    def period(self, dirtied: int, sent: int) -> None:
        """A period is over in which the guest dirtied and the migration sent so many bytes."""
        parameters = self._settings.parameters
        allowed = sent * parameters.get("throttle-trigger-threshold", 50) // 100
        if dirtied <= allowed:
            return
        self._exceeded += 1
        if self._exceeded >= _PATIENCE:
            self._exceeded = 0
            if self._settings.capabilities.get("auto-converge"):
                self._step(dirtied, allowed, parameters)
            elif self._settings.capabilities.get("dirty-limit"):
                self._limit(parameters["vcpu-dirty-limit"])

    def _limit(self, quota: int) -> None:
        with self._machine.bql:
            limit = self._machine.dirty_limit
            if limit is not None and not (limit.in_service and quota == self._quota):
                self._quota = quota
                limit.set(quota)

    def _step(self, dirtied: int, allowed: int, parameters: Mapping[str, Any]) -> None:
        now = self._machine.throttle
        step = parameters["cpu-throttle-increment"]
        if not now:
            self._machine.throttle = parameters["cpu-throttle-initial"]
            return
        if parameters.get("cpu-throttle-tailslow"):
            left = 100 - now
            step = min(int(left - left * allowed / dirtied), step)
        self._machine.throttle = min(now + step, parameters["max-cpu-throttle"])

    def stop(self) -> None:
        """The guest has all of its time again."""
        self._machine.throttle = 0
        limit = self._machine.dirty_limit
        if limit is not None and self._quota:
            self._quota = 0
            limit.set(0)

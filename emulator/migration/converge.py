# SPDX-License-Identifier: Apache-2.0
"""auto-converge: slows a guest down that writes memory faster than it can be sent.

The rule is that of QEMU's `migration/ram.c`: look at periods of at least a second, each ended by a new pass. In a period
the guest may dirty `throttle-trigger-threshold` percent of what was sent. The second period that exceeds this takes
`cpu-throttle-initial` percent of the guest's time away, and each second one after it `cpu-throttle-increment` more, up
to `max-cpu-throttle`. With `cpu-throttle-tailslow` a step is no larger than what brings the guest down to the threshold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.migration.settings import Settings

__all__ = ["Converge"]

_PATIENCE: Final = 2  # periods over the threshold for one step


class Converge:
    """The throttle of one outgoing migration. Parameters are looked up at each step, so that they can be changed."""

    def __init__(self, machine: Machine, settings: Settings) -> None:
        self._machine = machine
        self._settings = settings
        self._exceeded = 0

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

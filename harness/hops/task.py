# SPDX-License-Identifier: Apache-2.0
"""What a leg is asked to do, and the record it leaves.

A stage of a leg either goes well or raises `Problem`; the recorder notes which, with its time, and lets the leg
end. Infrastructure errors pass through: they are not evidence about the product.
"""

from __future__ import annotations

import platform
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from migmatrix.harness.model import StageEvidence

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.model import Guest, Mode, Stage

__all__ = ["LegTask", "LiveTask", "Problem", "Recorder"]


class Problem(Exception):
    """A stage did not go well; the words are those of `StageEvidence`."""

    def __init__(self, problem: str, detail: str = "", role: str = "", waited: float = 0.0) -> None:
        super().__init__(problem, detail, role)
        self.problem, self.detail, self.role, self.waited = problem, detail, role, waited


@dataclass(frozen=True, slots=True)
class LegTask:
    """One snapshot leg: start, perhaps load `incoming`, perhaps save to `save_to`.

    `echo_to` is where to save again what was loaded, before anything runs; the same file as `save_to` where nothing runs.
    `silent`: the guest that is loaded was never heard before, so nobody waits for it to be.
    """

    key: str
    build: PreparedBuild
    machine: str
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    deadlines: Mapping[Stage, float]
    incoming: Path | None = None
    save_to: Path | None = None
    echo_to: Path | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class LiveTask:
    """A whole live path: `keys[k]` names the migration from `builds[k]` to `builds[k + 1]`."""

    keys: tuple[str, ...]
    builds: tuple[PreparedBuild, ...]
    machine: str
    arguments: tuple[str, ...]
    mode: Mode
    guest: Guest
    deadlines: Mapping[Stage, float]


HOST: Final = platform.release()  # the kernel, which is chosen in no matrix


@dataclass
class Recorder:
    """Collects the stages of one leg; `clock` gives seconds since it began, `at` is when that was."""

    stages: list[StageEvidence] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def clock(self) -> float:
        """Seconds since the leg began."""
        return time.monotonic() - self.began

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Record one stage; a Problem is noted and raised again, to end the leg."""
        start = self.clock()
        try:
            yield
        except Problem as problem:
            self._note(stage, start, problem)
            raise
        self._note(stage, start, Problem(""))

    def excuse(self) -> None:
        """The last stage's problem was none: it is what should happen."""
        last = self.stages[-1]
        self.stages[-1] = StageEvidence(last.stage, last.seconds)

    def _note(self, stage: Stage, start: float, problem: Problem) -> None:
        seconds = round(self.clock() - start, 4)
        self.stages.append(
            StageEvidence(stage, seconds, problem.problem, problem.detail, problem.role, problem.waited)
        )

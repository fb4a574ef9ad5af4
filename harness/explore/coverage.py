# SPDX-License-Identifier: Apache-2.0
"""How much of a space was tried: devices, options and pairs, each started, refused by every build, or without a place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migmatrix.harness.explore.records import Kind, Phase

if TYPE_CHECKING:
    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.trials.records import Trial

__all__ = ["Coverage"]


@dataclass
class Coverage:
    """Counts by what is tried; the host's failures are told apart, with their words."""

    candidates: int = 0
    phases: Counter[Phase] = field(default_factory=Counter)
    devices: dict[str, bool] = field(default_factory=dict)  # whether any build started it plain
    options: dict[tuple[str, str], bool] = field(default_factory=dict)
    pairs: dict[frozenset[tuple[str, str, str]], bool] = field(default_factory=dict)
    homeless: list[str] = field(default_factory=list)  # candidates without a place on any machine
    host_failures: list[tuple[str, str]] = field(default_factory=list)

    def planned(self, candidate: Candidate, *, placed: bool) -> None:
        """A candidate is about to be tried, or no machine has a place for it."""
        self.candidates += 1
        self.phases[candidate.phase] += 1
        if not placed:
            self.homeless.append(candidate.text)

    def tried(self, candidate: Candidate, *, starts: bool) -> None:
        """A candidate was started on a machine, by one build at least when `starts`."""
        for part in candidate.parts:
            if part.kind is Kind.DEVICE:
                self.devices[part.name] = self.devices.get(part.name, False) or starts
            for option, _ in part.options:
                key = part.name, option
                self.options[key] = self.options.get(key, False) or starts
            for number, one in enumerate(part.options):
                for other in part.options[number + 1 :]:
                    pair = frozenset(((part.name, *one), (part.name, *other)))
                    self.pairs[pair] = self.pairs.get(pair, False) or starts

    def host(self, trial: Trial, said: str) -> None:
        """The host failed a trial."""
        self.host_failures.append((f"{trial.machine} {trial.route}", said))

    def to_json(self) -> dict[str, Any]:
        """Counts, and what could not be tried."""
        return {
            "candidates": {phase.value: self.phases[phase] for phase in Phase},
            **{name: _counts(getattr(self, name)) for name in ("devices", "options", "pairs")},
            "without_a_place": self.homeless,
            "host_failures": self.host_failures,
        }


def _counts(found: dict[Any, bool]) -> dict[str, int]:
    return {"tried": len(found), "started": sum(found.values())}

# SPDX-License-Identifier: Apache-2.0
"""How much of a space was tried: devices, options and pairs, each started, refused by every build, or without a place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migmatrix.harness.explore.records import Kind, Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.trials.records import Trial

__all__ = ["Coverage", "Reached", "Refused"]

Refused = dict[str, set[str]]  # the words of a refusal -> the builds that said them


@dataclass(frozen=True, slots=True)
class Reached:
    """How far a search is, in numbers: what was started, states that were seen, legs that were needed."""

    phase: Phase
    candidates: int
    devices: int
    options: int
    pairs: int
    seen: int
    findings: int
    legs: int


@dataclass
class Coverage:
    """Counts by what is tried; the host's failures are told apart, with their words.

    `refused_devices` and `refused_options` have the words of builds about a device alone, and an option alone.
    """

    candidates: int = 0
    migrated: int = 0  # candidates on machines that a build started
    phases: Counter[Phase] = field(default_factory=Counter)
    devices: dict[str, bool] = field(default_factory=dict)  # whether any build started it
    options: dict[tuple[str, str], bool] = field(default_factory=dict)
    pairs: dict[frozenset[tuple[str, str, str]], bool] = field(default_factory=dict)
    homeless: list[str] = field(default_factory=list)  # candidates without a place on any machine
    homeless_devices: set[str] = field(default_factory=set)
    refused_devices: dict[str, Refused] = field(default_factory=dict)
    refused_options: dict[tuple[str, str], Refused] = field(default_factory=dict)
    refused_pairs: Counter[str] = field(default_factory=Counter)  # by the words of a refusal
    host_failures: list[tuple[str, str]] = field(default_factory=list)

    def planned(self, candidate: Candidate, *, placed: bool) -> None:
        """A candidate is about to be tried, or no machine has a place for it."""
        self.candidates += 1
        self.phases[candidate.phase] += 1
        if not placed:
            self.homeless.append(candidate.text)
            if candidate.phase is Phase.PLAIN:
                self.homeless_devices |= {part.name for part in candidate.parts}

    def tried(self, candidate: Candidate, *, starts: bool, said: Mapping[str, str]) -> None:
        """A candidate was started on a machine, by one build at least when `starts`; `said` has refusals by build."""
        self.migrated += starts
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
        self._refused(candidate, said)

    def _refused(self, candidate: Candidate, said: Mapping[str, str]) -> None:
        """Keep the words about a device or an option alone, and count those about pairs."""
        if not candidate.parts:
            return
        first = candidate.parts[0]
        if candidate.phase is Phase.PAIR:
            self.refused_pairs.update(said.values())
        elif len(candidate.parts) == 1 and len(first.options) == 1:
            _keep(self.refused_options.setdefault((first.name, first.options[0][0]), {}), said)
        elif candidate.phase is Phase.PLAIN:
            _keep(self.refused_devices.setdefault(first.name, {}), said)

    def host(self, trial: Trial, said: str) -> None:
        """The host failed a trial."""
        self.host_failures.append((f"{trial.machine} {trial.route}", said))

    def to_json(self) -> dict[str, Any]:
        """Counts, and what could not be tried."""
        return {
            "migrated": self.migrated,
            "candidates": {phase.value: self.phases[phase] for phase in Phase},
            **{name: _counts(getattr(self, name)) for name in ("devices", "options", "pairs")},
            "refused_pairs": dict(self.refused_pairs.most_common()),
            "without_a_place": self.homeless,
            "host_failures": self.host_failures,
        }


def _keep(refused: Refused, said: Mapping[str, str]) -> None:
    for build, words in said.items():
        refused.setdefault(words, set()).add(build)


def _counts(found: dict[Any, bool]) -> dict[str, int]:
    return {"tried": len(found), "started": sum(found.values())}

# SPDX-License-Identifier: Apache-2.0
"""What a search leaves in its directory, whole at any time: findings with coverage, profiles, scripts.

A shard's has `covered.COVERED` too. Written again and again while the search goes on: at once when a finding is new, else every `_SECONDS`.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from migmatrix.harness import __version__
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.explore import accounts
from migmatrix.harness.explore.covered import COVERED, Covered
from migmatrix.harness.explore.findings import Problem
from migmatrix.harness.explore.profiles import give_names, profiles_text
from migmatrix.harness.explore.reproduce import recipe_of, script
from migmatrix.harness.files import PUBLIC, write_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from migmatrix.harness.explore.accounts import Account
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.explore.search import Search
    from migmatrix.harness.known import KnownIssue

__all__ = ["FINDINGS", "PROFILES", "Keeper", "Outcome", "outcome_of", "write_outcome"]

FINDINGS = "findings.json"
PROFILES = "profiles-found.yaml"

_SECONDS = 20.0
_NOT_ENDED = ("running", "host failed")  # of a shard that was joined all the same


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a search found; `new` are the steady findings that no known issue names, and no emulator tells.

    `ended` says why it ended: ``complete``, ``budget`` or ``interrupted``; ``running`` while it goes on. One that was joined of
    shards has in its facts which of them are missing.
    """

    findings: Sequence[Finding]
    facts: dict[str, Any]
    devices: dict[str, Account]
    options: dict[str, dict[str, Account]]
    ended: str

    @property
    def new(self) -> list[Finding]:
        """Findings that nobody knew; none that an emulator says itself."""
        return [
            finding
            for finding in self.findings
            if finding.steady and not finding.known and finding.kind is not Problem.UNMIGRATABLE
        ]

    @property
    def incomplete(self) -> bool:
        """Whether the host failed something of it, or nothing was migrated."""
        coverage = self.facts["coverage"]
        unrepeated = any(not finding.repeated for finding in self.findings)
        return bool(coverage["host_failures"]) or unrepeated or not coverage["migrated"]

    @property
    def missing(self) -> list[str]:
        """Shards, ``I/N``, that a whole was joined without."""
        return list(self.facts.get("missing_shards", ()))

    @property
    def code(self) -> ExitCode:
        """What the command ends with."""
        if self.ended == "interrupted":
            return ExitCode.INTERRUPTED
        if self.missing or self.ended in _NOT_ENDED:
            return ExitCode.INCOMPLETE
        if self.new:
            return ExitCode.REGRESSIONS
        return ExitCode.INCOMPLETE if self.incomplete else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """What ``findings.json`` holds (schema: docs/findings.schema.json)."""
        return {
            **self.facts,
            "ended": self.ended,
            "coverage": {**self.facts["coverage"], **accounts.to_json(self.devices, self.options)},
            "findings": [finding.to_json() for finding in self.findings],
        }


def outcome_of(search: Search, known: Sequence[KnownIssue], ended: str) -> Outcome:
    """What a search has found so far, by the known issues of its matrix."""
    findings = list(search.collector.findings.values())
    for finding in findings:
        finding.known = next((issue.id for issue in known if issue.has_signature(finding.signature)), "")
    give_names(findings)
    named = (name for build in search.plan.builds.values() for name in build.facts.devices)
    space, table, plan = search.order.space, search.order.table, search.plan
    facts = {
        "format": 1,
        "version": __version__,
        "legs": search.spent,
        "legs_to_reduce": search.collector.legs,
        "builds": {id_: build.facts.version for id_, build in plan.builds.items()},
        "machines": list(plan.machines),
        "shard": list(plan.shard),
        "asked": {
            "devices": search.order.devices,
            "depth": plan.depth.value,
            "every_machine": plan.every_machine,
            "seed": search.order.seed,
        },
        "origin": plan.origin,
        "coverage": search.coverage.to_json(),
        "sections_and_fields": len(search.seen.features),
        "refused": search.refusals.words(),
        "blocked": {said: sorted(what) for said, what in sorted(search.collector.blocked.items())},
    }
    return Outcome(
        findings,
        facts,
        accounts.device_accounts(named, space, table, search.coverage, search.order.devices),
        accounts.option_accounts(space, table, search.coverage),
        ended,
    )


@dataclass
class Keeper:
    """Writes what a search left; `common` are the arguments that a matrix gives every cell anyway."""

    directory: Path
    known: Sequence[KnownIssue]
    common: tuple[str, ...]
    clock: Callable[[], float] = time.monotonic
    _written: float = float("-inf")
    _findings: int = field(default=0)

    def make(self) -> None:
        """Make the directory; UserError when that cannot be."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise UserError(f"cannot write to --out {str(self.directory)!r}: {err.strerror}") from err

    def keep_now_and_then(self, search: Search) -> None:
        """Keep what there is, when a finding is new or it has been a while."""
        found = len(search.collector.findings)
        if found != self._findings or self.clock() - self._written >= _SECONDS:
            self.keep(search, "running")

    def keep(self, search: Search, ended: str) -> Outcome:
        """Write all that there is, each file whole."""
        outcome = outcome_of(search, self.known, ended)
        self._findings, self._written = len(outcome.findings), self.clock()
        if search.plan.shard[1] > 1:
            self._write(COVERED, Covered.of(search.coverage, search.seen).text())
        for finding in outcome.findings:
            if (
                finding.profile and finding.mode == "snapshot"
            ):  # a script migrates by a file, as that mode does
                self._write(f"{finding.profile}.sh", script(recipe_of(finding, search.plan.builds)))
        write_outcome(outcome, self.directory, self.common)
        return outcome

    def _write(self, name: str, text: str) -> None:
        write_whole(self.directory / name, text.encode(), PUBLIC)


def write_outcome(outcome: Outcome, directory: Path, common: Sequence[str]) -> None:
    """Write the findings, and their profiles, for a matrix that gives every cell `common`; OSError when it cannot."""
    profiles = profiles_text(outcome.findings, common)
    write_whole(directory / PROFILES, profiles.encode(), PUBLIC)
    write_whole(directory / FINDINGS, f"{json.dumps(outcome.to_json(), indent=1)}\n".encode(), PUBLIC)

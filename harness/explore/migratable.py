# SPDX-License-Identifier: Apache-2.0
"""Whether ``-only-migratable`` tells the truth of what a build migrates.

1. An emulator with this option refuses to start what it cannot migrate, so a machine that starts with it migrates.
2. Asked is a build that migrates a plain candidate to itself, once for each family of machine types, and a build that
   refuses to migrate, once for each reason.
3. Two answers are wrong: a machine starts and then refuses to migrate, or does not start although it migrates.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explore.records import Phase
from migmatrix.harness.judge import family
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import machine_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.harness.explore.records import Candidate
    from migmatrix.harness.trials.records import Attempt, Trial

__all__ = ["OPTION", "Asked", "told", "untrue", "with_option", "without_option"]

OPTION = "-only-migratable"


@dataclass
class Asked:
    """What was asked so far, so that it is asked once (rule 2)."""

    _asked: set[tuple[str, ...]] = field(default_factory=set)

    def of(self, candidate: Candidate, attempts: Iterable[Attempt]) -> Iterator[Attempt]:
        """Those of a candidate's attempts from builds to themselves whose trial is to be tried with the option."""
        for attempt in attempts:
            key = _key(candidate, attempt)
            if key and key not in self._asked:
                self._asked.add(key)
                yield attempt


def _key(candidate: Candidate, attempt: Attempt) -> tuple[str, ...]:
    """What is asked once; empty where nothing is to be asked."""
    build, result = attempt.trial.path[0].build, attempt.result
    if result.verdict is Verdict.BLOCKED and result.cause:
        return build, family(result.cause)
    if result.verdict is Verdict.PASS and candidate.phase is Phase.PLAIN:
        return build, machine_parts(attempt.trial.machine)[0], candidate.text
    return ()


def with_option(trial: Trial) -> Trial:
    """The same with the option."""
    return replace(trial, arguments=(*trial.arguments, OPTION))


def without_option(trial: Trial) -> Trial:
    """The same without the option."""
    return replace(trial, arguments=tuple(word for word in trial.arguments if word != OPTION))


def untrue(plain: Attempt, asked: Attempt) -> bool:
    """Whether the option says another thing than the migration (rule 3); `asked` is `plain` with the option."""
    if plain.result.verdict is Verdict.BLOCKED:
        return asked.result.verdict is Verdict.BLOCKED
    return plain.result.verdict is Verdict.PASS and _refused(asked)


def told(plain: Attempt, asked: Attempt) -> str:
    """What is untrue, for people."""
    words = asked.result.cause.message if asked.result.cause else asked.result.reason
    if plain.result.verdict is Verdict.BLOCKED:
        return f"starts with {OPTION}, and refuses to migrate: {words}"
    return f"migrates, and does not start with {OPTION}: {words}"


def _refused(asked: Attempt) -> bool:
    cause = asked.result.cause
    return (
        asked.result.verdict is Verdict.UNSUPPORTED and cause is not None and cause.kind == "only-migratable"
    )

# SPDX-License-Identifier: Apache-2.0
"""What a remedy does to the whole row: every machine of the run, both directions, by running them.

The failing direction gets the settings where the remedy has them. In the other direction the guest goes back, and each
build keeps its settings. The verdicts without the remedy come from the stored run; what it does not have is run.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from migmatrix.harness.explain.records import RowCheck
from migmatrix.harness.explain.search import with_settings
from migmatrix.harness.trials.records import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migmatrix.harness.explain.records import Remedy
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.trials.records import Trial
    from migmatrix.harness.trials.runner import TrialRunner

    Before = Callable[[str, tuple[str, ...]], CellResult | None]

__all__ = ["verify"]


@dataclass(frozen=True, slots=True)
class _Row:
    plain: Trial
    remedied: Trial

    @property
    def builds(self) -> tuple[str, ...]:
        return tuple(step.build for step in self.plain.path)


async def verify(
    runner: TrialRunner, trial: Trial, remedy: Remedy, machines: Sequence[str], before: Before
) -> Remedy:
    """The remedy with its row: verdicts without and with it, for each machine and both directions.

    `before` gives what the stored run has for a machine and path, or None.
    """
    rows = [row for machine in machines for row in _rows(replace(trial, machine=machine), remedy)]
    missing = [row.plain for row in rows if before(row.plain.machine, row.builds) is None]
    ran = dict(zip(missing, await runner.run("row without", missing), strict=True))
    after = await runner.run("row with remedy", [row.remedied for row in rows])
    checks = []
    for row, new in zip(rows, after, strict=True):
        old = before(row.plain.machine, row.builds) or ran[row.plain].result
        checks.append(
            RowCheck(row.plain.machine, row.remedied.route, old.verdict.value, new.result.verdict.value)
        )
    return replace(remedy, rows=tuple(checks))


def _rows(trial: Trial, remedy: Remedy) -> tuple[_Row, ...]:
    remedied = with_settings(trial, remedy.side, remedy.settings)
    there = _Row(trial, remedied)
    back = _Row(_back(trial), _back(remedied))
    return (there,) if back.builds == there.builds else (there, back)


def _back(trial: Trial) -> Trial:
    """From the last build to the first, each with the settings that it has."""
    first, last = trial.path[0], trial.path[-1]
    return replace(trial, path=(Step(last.build, last.settings), Step(first.build, first.settings)))

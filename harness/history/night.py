# SPDX-License-Identifier: Apache-2.0
"""What a history keeps of a run: `night_of_run`, from the run directory alone."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import UserError
from migmatrix.harness.history.columns import cells_of
from migmatrix.harness.history.merkle import root_of
from migmatrix.harness.history.records import Counts, Environment, Night, NightCell, Sighting
from migmatrix.harness.model import Cause, Outcome
from migmatrix.harness.report.text import one_line
from migmatrix.harness.stored.reports import load_report

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import timedelta

    from migmatrix.harness.model import CellResult
    from migmatrix.harness.report import RunReport
    from migmatrix.harness.store import RunStore

__all__ = ["night_of_run", "refuse_shard"]

_MESSAGE: Final = 500  # characters of a cause's message


def refuse_shard(shard: str) -> None:
    """UserError for a share of a run: a night is all of it."""
    if shard:
        raise UserError(f"this is shard {shard} of a run: merge the shards, and add the run that they make")


def night_of_run(run: RunStore, every: timedelta | None = None, *, shards: bool = False) -> Night:
    """The night of a stored run, with number 0 and no SHA-256; UserError for a shard, unless `shards` will do."""
    meta = run.meta()
    if not shards:
        refuse_shard(meta["shard"])
    report = load_report(run)
    cells = [
        NightCell(r.cell, r.verdict, r.outcome, r.signature, key, reused, r.hop, r.known_issue)
        for r, key, reused in run.keyed()
    ]
    return Night(
        number=0,
        sha256="",
        run=_digest([meta["plan"], meta["started"]]),
        time=report.started,
        finished=datetime.fromisoformat(meta["finished"]) if "finished" in meta else report.started,
        matrix=report.matrix,
        title=report.title,
        matrix_file=report.matrix_file,
        environment=Environment(
            report.harness_version, meta.get("patterns", ""), report.host.kernel, report.host.engine
        ),
        builds=tuple(report.builds),
        arguments={row["id"]: _digest(row["args"]) for row in meta.get("definition", {}).get("builds", ())},
        profiles=_profiles(meta),
        counts=_counts(report, cells),
        legs=(report.legs.executed, report.legs.reused),
        exit_code=int(report.exit_code),
        interrupted=report.interrupted,
        selection=(*report.selection, *report.paths),
        every=every,
        root=root_of(cells),
        sightings=tuple(_sightings(report)),
        known_issues=tuple(report.known_issues),
        cells=cells_of(cells),
    )


def _profiles(meta: Mapping[str, Any]) -> dict[str, str]:
    """A digest of the arguments of each profile, those of all profiles included."""
    common = meta.get("definition", {}).get("default_args", [])
    return {row["name"]: _digest([common, row["args"]]) for row in meta["profiles"]}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def _counts(report: RunReport, cells: Sequence[NightCell]) -> Counts:
    skipped = sum(cell.outcome is Outcome.SKIPPED for cell in cells)
    reused = sum(bool(cell.reused) for cell in cells if cell.outcome is not Outcome.SKIPPED)
    return Counts(
        report.cells_planned,
        len(cells) - skipped - reused,
        reused,
        skipped,
        sum(dropped.count for dropped in report.dropped),
    )


def _sightings(report: RunReport) -> Iterable[Sighting]:
    """Each signature once, in order, told by the cell whose id is first."""
    firsts: dict[str, CellResult] = {}
    numbers = Counter(result.signature for result in report.results)
    for result in sorted(report.results, key=lambda result: result.cell):
        if result.signature:
            firsts.setdefault(result.signature, result)
    for signature, result in sorted(firsts.items()):
        cause = result.cause or Cause("")
        told = Cause(cause.kind, cause.device, cause.field, one_line(cause.message, _MESSAGE))
        notes = report.explanations.get(signature, ())
        lines = tuple(line for note in notes for line in note.lines)
        yield Sighting(signature, told, numbers[signature], lines)

# SPDX-License-Identifier: Apache-2.0
"""Find a cell of a stored run, and show it as text or JSON: what happened, and all that was recorded about it."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING

from migmatrix.harness.errors import UserError
from migmatrix.harness.judge.courses import course_of
from migmatrix.harness.judge.equality import differences
from migmatrix.harness.model import Stage
from migmatrix.harness.store.legs import EVIDENCE
from migmatrix.harness.stored.refusal import describe_refusal
from migmatrix.harness.stored.reports import evidence_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.model import CellResult, EmulatorEvidence, LegEvidence
    from migmatrix.harness.select import Selection
    from migmatrix.harness.store import RunStore

__all__ = ["find_cell", "list_cells", "render_cell", "render_leg", "render_verdict"]

_SOME = 5


def find_cell(run: RunStore, wanted: str) -> CellResult:
    """Find one result; UserError when none or several are meant.

    `wanted` is a cell id, or ``#12`` or ``12``, the number of a cell in the run's plan, or a part of one cell id.
    """
    results = list(run.results())
    id_ = _by_number(run, wanted) or wanted
    found = [r for r in results if r.cell.id == id_] or [r for r in results if wanted in r.cell.id]
    if not found:
        raise UserError(f"no cell {wanted!r} in {str(run.directory)!r}")
    if len(found) > 1:
        some = ", ".join(repr(r.cell.id) for r in found[:_SOME])
        raise UserError(f"{wanted!r} is a part of {len(found)} cells: {some}{', ...' * (len(found) > _SOME)}")
    return found[0]


def _by_number(run: RunStore, wanted: str) -> str | None:
    """The id of the cell that has this number in the plan; None for other texts and for runs without numbers."""
    digits = wanted.removeprefix("#")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    return next((cell for cell, number in run.numbers().items() if number == int(digits)), None)


def list_cells(run: RunStore, selection: Selection, *, as_json: bool) -> Iterator[str]:
    """A line for each selected cell: as in results.jsonl, or verdict, outcome, cell and signature.

    UserError for a term that holds for no cell.
    """
    results = list(run.results())
    selection.refuse_lonely([result.cell for result in results])
    for result in filter(selection.selects_result, results):
        if as_json:
            yield json.dumps(result.to_json())
        else:
            why = result.signature or result.reason
            yield f"{result.verdict:11} {result.outcome:13} {result.cell.id}  {why}".rstrip()


def render_cell(run: RunStore, wanted: str, *, as_json: bool) -> str:
    """The cell with its evidence."""
    result = find_cell(run, wanted)
    legs = evidence_of(run, result)
    if as_json:
        data = {**result.to_json(), "evidence": [EVIDENCE.dump_python(leg, mode="json") for leg in legs]}
        return json.dumps(data, indent=1)
    lines = [*render_verdict(result), *_refusal(run, result)]
    return "\n".join([*lines, *(line for leg in legs for line in render_leg(leg))])


def _refusal(run: RunStore, result: CellResult) -> Iterator[str]:
    """What the refused stream holds there, if the run kept it."""
    if result.cause is not None and result.stage is Stage.LOAD and len(result.legs) > 1:
        stream = run.stream(result.legs[-2])
        if stream.exists():
            yield from describe_refusal(stream, result.cause)


def render_verdict(result: CellResult) -> Iterator[str]:
    """What happened to a cell, a line each."""
    yield result.cell.id
    yield f"verdict   {result.verdict}, {result.outcome}"
    if result.hop is not None:
        migration = " > ".join(result.cell.path[result.hop - 1 : result.hop + 1])
        yield f"where     migration {result.hop} ({migration}), {result.stage}"
    if result.cause is not None:
        yield f"cause     {' '.join(p for p in (result.cause.kind, result.cause.device, result.cause.field) if p)}"
        yield f"message   {result.cause.message}"
    if result.signature:
        yield f"signature {result.signature}"
    if result.reason:
        yield f"reason    {result.reason}"
    yield from (f"note      {note}" for note in result.notes)


def render_leg(leg: LegEvidence) -> Iterator[str]:
    """What is known of a leg, a line each."""
    yield ""
    yield f"leg {leg.key[:16]}"
    for stage in leg.stages:
        problem = f"  {stage.problem} {stage.detail}".rstrip()
        yield f"  {stage.stage:8} {stage.seconds:8.3f} s{problem}"
    if leg.infrastructure:
        yield f"  host failure: {leg.infrastructure}"
    if leg.stream is not None:
        yield f"  stream   {leg.stream.bytes:,} bytes, sha256 {leg.stream.sha256[:16]}"
    for change in differences(leg):
        why = f" ({change.why})" if change.why else ""
        yield f"  {'expected' if why else 'changed '} {change.section} {change.path}: {change.told}{why}"
    for emulator in leg.emulators:
        yield from _emulator(emulator)
    if leg.again is not None:
        _, *again = render_leg(leg.again)
        yield from (f"  again: {line}" for line in again)


def _emulator(emulator: EmulatorEvidence) -> Iterator[str]:
    ended = "" if emulator.exit is None else f", exit {emulator.exit}"
    yield f"  {emulator.role}: {emulator.build} {emulator.version}{ended}"
    yield f"    {shlex.join(emulator.argv)}"
    yield from (f"    said as {role}: {' '.join(words)}" for role, words in course_of(emulator))
    yield from (f"    stderr | {line}" for line in emulator.stderr.splitlines())
    for message in emulator.qmp:
        yield f"    {message.at:7.3f} {message.direction} {json.dumps(message.message)}"

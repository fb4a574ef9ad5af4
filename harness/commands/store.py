# SPDX-License-Identifier: Apache-2.0
"""`migmatrix store ...`: the legs that runs share."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    EngineOption,
    FileOption,
    JobsOption,
    JsonOption,
    SelectOption,
    StoreOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.commands.plan import plan_options
from migmatrix.harness.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.run.sample import Compared

__all__ = ["app"]

app = typer.Typer(help="Check the stored legs.", no_args_is_help=True)

_SAMPLE = 20


@app.callback()
def _group() -> None:
    """Check the stored legs."""


@app.command("verify")
def verify(
    file: FileOption = MATRIX,
    sample: Annotated[int, typer.Option("--sample", min=1, help="legs to draw", metavar="N")] = _SAMPLE,
    draw: Annotated[int, typer.Option("--draw", help="seed of the drawing")] = 0,
    select: SelectOption = None,
    jobs: JobsOption = JOBS,
    store: StoreOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do some stored legs again, and compare.

    Exit 1 when one says another thing now, 3 when none could be compared.
    """
    from migmatrix.harness.run.pipeline import prepare_plan  # noqa: PLC0415 - takes a tenth of a second
    from migmatrix.harness.run.sample import compare_sample  # noqa: PLC0415

    options = replace(plan_options(file, select, None, None, None, store, engine), jobs=jobs)
    found, total = compare_sample(prepare_plan(options, log), options, sample, draw, log)
    if as_json:
        rows = [{**asdict(one), "cell": one.cell.id} for one in found]
        say_json({"stored": total, "drawn": len(found), "seed": draw, "legs": rows})
    else:
        _tell(found, total, draw)
    raise typer.Exit(_code(found))


def _tell(found: Sequence[Compared], total: int, seed: int) -> None:
    same = sum(one.same is True for one in found)
    other = sum(one.same is False for one in found)
    say(
        f"{len(found):,} of {total:,} stored legs drawn by seed {seed}: {same:,} say the same, {other:,} otherwise,"
        f" {len(found) - same - other:,} cannot be compared"
    )
    for one in found:
        if one.same is not True:
            say(f"  {one.key[:16]} of {one.cell.id}: stored {one.stored}, now {one.now or 'not reached'}")


def _code(found: Sequence[Compared]) -> ExitCode:
    if any(one.same is False for one in found):
        return ExitCode.REGRESSIONS
    return ExitCode.OK if any(one.same for one in found) else ExitCode.INCOMPLETE

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix run`: a plan, made from a matrix or read from a file, to its reports; and how a run is concluded."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from migmatrix.harness.commands.history import EveryOption, cadence, keep, told
from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    EngineOption,
    FileOption,
    JobsOption,
    JsonOption,
    OutOption,
    PathsOption,
    SeedOption,
    SelectOption,
    ShardOption,
    StoreOption,
    log,
    say,
)
from migmatrix.harness.commands.plan import plan_options
from migmatrix.harness.errors import UserError
from migmatrix.harness.plan import render_plan
from migmatrix.harness.report import Progress, progress_console, render_terminal
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.run.pipeline import execute, prepare_plan
from migmatrix.harness.run.planfile import prepare_plan_file
from migmatrix.harness.store import RunStore
from migmatrix.harness.stored.reports import load_report, open_run

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport

__all__ = ["conclude", "run"]

_STORE_LIMIT = 20.0  # GiB


def run(
    context: typer.Context,
    file: FileOption = MATRIX,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="run this plan, printed by `plan --json`", metavar="PLAN")
    ] = None,
    select: SelectOption = None,
    path: PathsOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    jobs: JobsOption = JOBS,
    out: OutOption = None,
    store: StoreOption = None,
    engine: EngineOption = None,
    store_limit: Annotated[
        float, typer.Option("--store-limit", min=0, help="GiB of streams to leave in the store")
    ] = _STORE_LIMIT,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="do all legs again, beside the stored ones, and compare")
    ] = False,
    repeat: Annotated[
        int, typer.Option("--repeat", min=0, help="do all legs N times more, to find flaky ones", metavar="N")
    ] = 0,
    history: Annotated[
        Path | None, typer.Option("--history", help="remember the run in this history", metavar="DB")
    ] = None,
    every: EveryOption = None,
    explained: Annotated[bool, typer.Option("--explain", help="explain each failing signature too")] = False,
    quiet: Annotated[
        bool,
        typer.Option("--quiet", "-q", help="print the summary, and else only failures of the host"),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run a matrix, or a plan made before.

    Without --out write to runs/MATRIX-PLAN: the same arguments lead to the same directory. Exit 0 when nothing was
    unexpected, 1 for regressions, 3 when the run is incomplete.
    """
    if plan is not None and (select or path or shard or seed is not None):
        raise UserError("a plan has its cells: give --plan without --select, --path, --shard and --seed")
    options = replace(
        plan_options(file, select, path, shard, seed, store, engine),
        jobs=jobs,
        out=out,
        store_limit=int(store_limit * (1 << 30)),
        fresh=fresh,
        repeat=repeat,
    )
    if out is not None:
        RunStore.check(out)
    if history is not None:
        _refuse_history(history, shard, every)
    if plan is None:
        prepared = prepare_plan(options, log)
    else:
        prepared, options = prepare_plan_file(plan, options, log, own_matrix=not _given(context, "file"))
    if out is not None:
        RunStore.check(out, prepared.plan.digest)
    for line in () if quiet else render_plan(prepared.plan):
        log(line)
    console = Console(stderr=True, quiet=True) if quiet else progress_console()
    report = execute(prepared, options, Progress(console), log)
    if explained and not report.interrupted:
        from migmatrix.harness.commands.explain import explain_after  # noqa: PLC0415 - takes a tenth of a second

        explain_after(Path(report.run_dir), options.store, jobs, quiet=as_json or quiet)
        with open_run(Path(report.run_dir)) as stored:
            report = load_report(stored)
    if history is not None:
        report = _remembered(report, history, every)
    conclude(report, as_json=as_json)


def _remembered(report: RunReport, history: Path, every: str | None) -> RunReport:
    """Add a run to its history, with what that knows of flaky cells."""
    from migmatrix.harness.history.settle import settle  # noqa: PLC0415 - few runs are remembered

    settled = settle(Path(report.run_dir), history)
    log(told(keep(Path(report.run_dir), history, every)))
    return settled or report


def _refuse_history(history: Path, shard: str | None, every: str | None) -> None:
    """Raise before the run what `keep` would after it, as far as it can be seen."""
    from migmatrix.harness.history.book import book_path, read_book  # noqa: PLC0415 - few runs are remembered

    if shard:
        raise UserError("--history is for whole runs: merge the shards, then `migmatrix history add`")
    cadence(every)
    path = book_path(history)
    if path.exists():
        read_book(path)


def _given(context: typer.Context, name: str) -> bool:
    """Whether a parameter was on the command line."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def conclude(report: RunReport, *, as_json: bool) -> None:
    """Print the summary of a run and leave with its exit code."""
    if as_json:
        say(render_json(report))
    else:
        render_terminal(report, Console())
    if report.interrupted:
        log("the same command goes on from here")
    raise typer.Exit(report.exit_code)

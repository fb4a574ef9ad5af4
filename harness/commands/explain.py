# SPDX-License-Identifier: Apache-2.0
"""The command `migmatrix explain`, and what `run --explain` calls; `harness.commands.main` registers it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.commands.options import (
    JOBS,
    CellArgument,
    JobsOption,
    JsonOption,
    OtherFileOption,
    OutOption,
    RunOrNoneArgument,
    SelectOption,
    StoreOption,
    VerboseOption,
    log,
    logger,
    say,
    say_json,
)
from migmatrix.harness.errors import ExitCode, InfrastructureError, UserError
from migmatrix.harness.explain.explain_run import ExplainOptions, explain_run, published, representatives
from migmatrix.harness.explain.render import render
from migmatrix.harness.explain.row import Budget
from migmatrix.harness.model import Verdict
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.select import Selection
from migmatrix.harness.stored.reports import open_run, rewrite_reports
from migmatrix.harness.stored.show import find_cell
from migmatrix.harness.upstream.finding import subject_of
from migmatrix.harness.upstream.render import markdown, plain_text
from migmatrix.harness.upstream.report import make_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.model import CellResult
    from migmatrix.harness.store import RunStore
    from migmatrix.harness.upstream.report import Report

__all__ = ["explain", "explain_after", "explain_signatures"]

_BUDGET = Budget()


def explain(
    run: RunOrNoneArgument = None,
    cell: CellArgument = None,
    report: Annotated[
        str | None,
        typer.Option(
            "--report", metavar="FINDING", help="write a maintainer's report: findings.json#NAME, or RUN#CELL"
        ),
    ] = None,
    form: Annotated[
        Literal["text", "markdown"], typer.Option("--format", help="what to print of a report")
    ] = "text",
    out: OutOption = None,
    name: Annotated[
        str, typer.Option("--name", help="name of the report's files; default the finding's")
    ] = "",
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--sources", metavar="BUILD=DIR", help="source tree of a build, for --report; once for each"
        ),
    ] = None,
    select: SelectOption = None,
    file: OtherFileOption = None,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    singles: Annotated[
        int, typer.Option("--singles", min=1, help="most properties to try alone, on each side")
    ] = _BUDGET.singles,
    machines: Annotated[
        int, typer.Option("--machines", min=0, help="most machines to verify a remedy on; 0: all of the run")
    ] = _BUDGET.machines,
    every_machine: Annotated[
        bool, typer.Option("--every-machine", help="verify on all machines that both builds know")
    ] = False,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Explain failing cells of a run.

    Find the cause, the smallest reproducer and a fix, and prove each by running it. Without CELL, explain one cell
    of each signature. With --report, write what a maintainer of QEMU wants of one failure, and run its script.
    """
    budget = Budget(singles, machines, every_machine)
    if report is not None:
        if run is not None or select:
            raise UserError("--report names what it is of: leave out RUN, CELL and --select")
        wanted_log = logger(verbose=verbose)
        subject = subject_of(report, file, store_directory(store) / "builds", wanted_log)
        subject = replace(subject, name=_file_name(name or subject.name))
        made = interrupt.run(make_report(subject, jobs, budget, wanted_log, sources or (), log))
        _report(made, form, out, as_json=as_json)
    if run is None:
        raise UserError("name a run directory, or with --report a finding")
    if sources:
        raise UserError("--sources is for --report")
    options = ExplainOptions(store_directory(store), file, jobs, budget)
    with open_run(run) as opened:
        wanted = [find_cell(opened, cell)] if cell is not None else _selected(opened, select or (), file)
        explain_signatures(opened, wanted, options, verbose=verbose, as_json=as_json)


def _file_name(name: str) -> str:
    """A name that stays in its directory, and that a shell takes as it is."""
    if not re.fullmatch(r"[\w][\w.+@:-]*", name, re.ASCII):
        raise UserError(f"{name!r} is no name for files: letters, digits and . _ + : @ -")
    return name


def _report(report: Report, form: str, out: Path | None, *, as_json: bool) -> NoReturn:
    """Print a report, and keep it with its script in a directory; the exit code says whether the script shows it."""
    kept = report.keep(out) if out is not None else []
    if as_json:
        say_json(report.to_json())
    elif report.document is None:
        say(report.why_not)
    else:
        say(markdown(report.document) if form == "markdown" else plain_text(report.document))
    for path in kept:
        log(f"wrote {path}")
    raise typer.Exit(ExitCode.OK if report.proved else ExitCode.REGRESSIONS)


def explain_after(run: Path, store: Path, jobs: int, *, quiet: bool) -> None:
    """Explain every failing signature of a run that has just ended; nothing is printed when `quiet`."""
    with open_run(run) as opened:
        failing = [r for r in representatives(opened, opened.results()) if r.verdict is Verdict.FAIL]
        if failing:
            explain_signatures(opened, failing, ExplainOptions(store, jobs=jobs), quiet=quiet)


def _selected(run: RunStore, select: Sequence[str], file: Path | None) -> list[CellResult]:
    selection = Selection.parse(select)
    chosen = representatives(run, [r for r in run.results() if selection.selects_result(r)], file)
    if not chosen:
        raise UserError("no failing or blocked cell is selected: there is nothing to explain")
    return chosen


def explain_signatures(
    run: RunStore,
    wanted: Sequence[CellResult],
    options: ExplainOptions,
    *,
    verbose: bool = False,
    as_json: bool = False,
    quiet: bool = False,
) -> None:
    """Explain results one after another, print each as it is there, and write the reports of the run anew.

    InfrastructureError, when all that is done, if the host ended an explanation.
    """
    found: list[Explanation] = []
    ended: InfrastructureError | None = None

    def tell(explanation: Explanation) -> None:
        found.append(explanation)
        if not as_json and not quiet:
            say("\n".join(render(explanation)))

    try:
        interrupt.run(explain_run(run, wanted, options, logger(verbose=verbose), tell))
    except InfrastructureError as err:
        ended = err
    if as_json:
        say_json([published(explanation) for explanation in found])
    rewrite_reports(run)
    if ended is not None:
        raise ended

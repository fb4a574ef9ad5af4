"""The command `migmatrix explain`, and what `run --explain` calls; `harness.commands.main` registers it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.errors import UserError
from migmatrix.harness.explain.explain_run import ExplainOptions, explain_run, published, representatives
from migmatrix.harness.explain.render import render
from migmatrix.harness.explain.row import Budget
from migmatrix.harness.model import Verdict
from migmatrix.harness.report import write_reports
from migmatrix.harness.select import Selection
from migmatrix.harness.store import RunStore, default_store
from migmatrix.harness.stored.reports import load_report
from migmatrix.harness.stored.show import find_cell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.explain.records import Explanation
    from migmatrix.harness.model import CellResult

__all__ = ["explain", "explain_after", "explain_signatures"]

_BUDGET = Budget()


def explain(
    run: Annotated[Path, typer.Argument(help="run directory", metavar="RUN")],
    cell: Annotated[
        str | None, typer.Argument(help="cell id, or a part of one; default one cell of every signature")
    ] = None,
    select: Annotated[list[str] | None, typer.Option("--select", help="key=glob, without CELL")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="matrix, if not the run's own")] = None,
    store: Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")] = os.cpu_count() or 1,
    singles: Annotated[
        int, typer.Option(min=1, help="properties that are tried alone, on each side")
    ] = _BUDGET.singles,
    machines: Annotated[
        int, typer.Option(min=0, help="machines that a remedy is verified on; 0: all of the run")
    ] = _BUDGET.machines,
    every_machine: Annotated[
        bool,
        typer.Option("--every-machine", help="verify on all machines that both builds know, not the run's"),
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="every trial as it is run")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Explain failing cells of a stored run: cause, smallest reproducer, fix, each proved by running it."""
    options = ExplainOptions(_store(store), file, jobs, Budget(singles, machines, every_machine))
    with RunStore.open(run) as opened:
        wanted = [find_cell(opened, cell)] if cell is not None else _selected(opened, select or ())
        explain_signatures(opened, wanted, options, verbose=verbose, as_json=as_json)


def explain_after(run: Path, store: Path, jobs: int, *, quiet: bool) -> None:
    """Explain every failing signature of a run that has just ended; nothing is printed when `quiet`."""
    with RunStore.open(run) as opened:
        failing = [r for r in representatives(list(opened.results())) if r.verdict is Verdict.FAIL]
        if failing:
            explain_signatures(opened, failing, ExplainOptions(store, jobs=jobs), quiet=quiet)


def _store(given: Path | None) -> Path:
    return given if given is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


def _selected(run: RunStore, select: Sequence[str]) -> list[CellResult]:
    selection = Selection.parse(select)
    every = list(run.results())
    chosen = representatives([r for r in every if selection.selects_result(r)], every)
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
    """Explain results one after another, print each as it is there, and write the reports of the run anew."""
    found: list[Explanation] = []

    def tell(explanation: Explanation) -> None:
        found.append(explanation)
        if not as_json and not quiet:
            print("\n".join(render(explanation)), flush=True)  # noqa: T201 - the command's answer

    asyncio.run(explain_run(run, wanted, options, _log if verbose else _nothing, tell))
    if as_json:
        print(json.dumps([published(explanation) for explanation in found], indent=1))  # noqa: T201
    write_reports(load_report(run), run.directory)


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _nothing(_: str) -> None:
    """Single trials are told of with --verbose only; the explanation has them all."""

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix judge|report|show`: what is made of stored runs without running anything."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.commands.options import (
    CellArgument,
    JsonOption,
    RunArgument,
    SelectOption,
    log,
    say,
)
from migmatrix.harness.commands.run import conclude
from migmatrix.harness.errors import UserError
from migmatrix.harness.exports.formats import Export, parse_export, parse_notice, render, write
from migmatrix.harness.select import Selection
from migmatrix.harness.stored.reports import judge as judge_run
from migmatrix.harness.stored.reports import open_run, rewrite_reports, selected
from migmatrix.harness.stored.show import list_cells, render_cell

if TYPE_CHECKING:
    from migmatrix.harness.report import RunReport

__all__ = ["judge", "report", "show"]

KnownIssuesOption = Annotated[
    Path | None, typer.Option("--known-issues", help="known-issues file; default the run's own")
]
ExportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--export",
        help="write this format too, to a file of the run or FILE; repeat",
        metavar="FORMAT[=FILE]",
    ),
]
NotifyOption = Annotated[
    str | None,
    typer.Option("--notify", help="print the message that would be sent: email or webhook; nothing is sent"),
]


def judge(
    run: RunArgument,
    known_issues: KnownIssuesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a run again from its evidence.

    Say which results changed, write the reports anew, and exit as `migmatrix run` does.
    """
    with open_run(run) as store:
        changed, judged = judge_run(store, known_issues)
        for before, after in changed:
            log(f"{after.cell.id}: {before.outcome} -> {after.outcome}, {after.signature or after.reason}")
        conclude(judged, as_json=as_json)


def report(
    run: RunArgument,
    select: SelectOption = None,
    export: ExportOption = None,
    notify: NotifyOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the reports of a run anew.

    Print the summary of the run and exit as it did; with --select, of the selected cells, and by them. An export to
    standard output (FORMAT=-), or a message (--notify), takes the place of the summary.
    """
    wanted = [parse_export(text, run) for text in export or ()]
    wanted += [parse_notice(notify)] if notify is not None else []
    if sum(one.printed for one in wanted) + as_json > 1:
        raise UserError("only one thing at a time goes to standard output")
    with open_run(run) as store:
        loaded = rewrite_reports(store)
        loaded = selected(store, select) if select else loaded
        for one in wanted:
            _exported(one, loaded)
        if any(one.printed for one in wanted):
            raise typer.Exit(loaded.exit_code)
        conclude(loaded, as_json=as_json)


def _exported(export: Export, loaded: RunReport) -> None:
    """Write or print one; what is printed is escaped as its format has it, and as it is."""
    if export.printed:
        sys.stdout.write(render(export.format, loaded))
        return
    write(export, loaded)
    log(f"{export.format}: {export.file}")


def show(
    run: RunArgument,
    cell: CellArgument = None,
    select: SelectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one cell with its evidence.

    Print verdict, cause, command lines, stderr and QMP exchange. Without CELL, list the cells.
    """
    with open_run(run) as store:
        if cell is not None:
            say(render_cell(store, cell, as_json=as_json))
            return
        for line in list_cells(store, Selection.parse(select or ()), as_json=as_json):
            say(line)

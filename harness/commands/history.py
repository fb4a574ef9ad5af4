# SPDX-License-Identifier: Apache-2.0
"""`migmatrix history ...`: the memory of a matrix, a line for each run."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from migmatrix.harness.commands.options import (
    JsonOption,
    NightsOption,
    RunArgument,
    VerboseOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.errors import ExitCode, UserError

if TYPE_CHECKING:
    from migmatrix.harness.history import Added

__all__ = ["DatabaseOption", "EveryOption", "app", "cadence", "keep"]

app = typer.Typer(help="Remember runs: history of each cell.", no_args_is_help=True)

DatabaseOption = Annotated[
    Path, typer.Option("--db", help="directory of the history, or its .jsonl file", metavar="DB")
]
DatabaseArgument = Annotated[
    Path, typer.Argument(help="directory of the history, or its .jsonl file", metavar="DB")
]
EveryOption = Annotated[
    str | None, typer.Option("--every", help="how often a run is to come: 24h, 90m, 7d", metavar="TIME")
]

WINDOW: Final = 30
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


def cadence(text: str | None) -> timedelta | None:
    """The time that ``--every`` names; UserError for anything else."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})([mhd])", text)
    if found is None:
        raise UserError(f"--every {text!r} is no time: write 24h, 90m or 7d")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@app.command("add")
def add(
    run: RunArgument, database: DatabaseOption, every: EveryOption = None, as_json: JsonOption = False
) -> None:
    """Append a run to a history.

    A run that is there already is not added again. The run of a shard is refused: merge first.
    """
    added = keep(run, database, every)
    if as_json:
        say_json({"night": added.night.number, "new": added.new, "root": added.night.root})
    else:
        say(told(added))


@app.command("show")
def show(
    database: DatabaseArgument,
    every: EveryOption = None,
    length: NightsOption = WINDOW,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the last night and strips of its cells.

    Exit 1 when it has red cells, 3 when it is missing, ran short or reused everything, else 0.
    """
    from migmatrix.harness.history import History  # noqa: PLC0415 - see `keep`
    from migmatrix.harness.history.overview import (  # noqa: PLC0415
        overview_code,
        overview_json,
        overview_lines,
    )

    history, now, time = History.open(database), datetime.now(UTC), cadence(every)
    if as_json:
        say_json(overview_json(history, now, time, length=length))
    else:
        say("\n".join(overview_lines(history, now, time, whole=verbose, length=length)))
    raise typer.Exit(overview_code(history, now, time))


@app.command("verify")
def verify(database: DatabaseArgument) -> None:
    """Check every line and every Merkle root.

    Exit 2 for a line that is damaged, 1 for a root that is not of its cells.
    """
    from migmatrix.harness.history import History  # noqa: PLC0415 - see `keep`
    from migmatrix.harness.history.merkle import root_of  # noqa: PLC0415

    history = History.open(database)
    wrong = [night.number for night in history.nights if root_of(night.cells) != night.root]
    for number in wrong:
        say(f"night {number}: the root is not that of its cells")
    if history.cut:
        say(f"the last line is cut, {len(history.cut):,} bytes of it are left")
    say(f"{len(history.nights):,} nights, last {history.nights[-1].sha256 if history.nights else 'none'}")
    raise typer.Exit(ExitCode.REGRESSIONS if wrong or history.cut else ExitCode.OK)


def keep(run: Path, database: Path, every: str | None) -> Added:
    """Add the run of a directory to a history."""
    from migmatrix.harness.history import add as add_run  # noqa: PLC0415 - `run` needs it now and then

    return add_run(run, database, log, cadence(every))


def told(added: Added) -> str:
    """What was added, in one line."""
    night, path = added.night, str(added.history.path)
    if added.new:
        return f"night {night.number} of {path}: {len(night.cells):,} cells, root {night.root[:16]}"
    also = ", and was judged otherwise since" if added.changed else ""
    return f"this run is night {night.number} of {path} already{also}: nothing added"

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix history ...`: the memory of a matrix, a line for each run."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from migmatrix.harness.commands.options import JsonOption, RunArgument, log, say, say_json
from migmatrix.harness.errors import UserError

if TYPE_CHECKING:
    from migmatrix.harness.history import Added

__all__ = ["DatabaseOption", "EveryOption", "app", "cadence", "keep"]

app = typer.Typer(help="Remember runs: history of each cell.", no_args_is_help=True)

DatabaseOption = Annotated[
    Path, typer.Option("--db", help="directory of the history, or its .jsonl file", metavar="DB")
]
EveryOption = Annotated[
    str | None, typer.Option("--every", help="how often a run is to come: 24h, 90m, 7d", metavar="TIME")
]

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

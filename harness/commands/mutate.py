# SPDX-License-Identifier: Apache-2.0
"""The command `migmatrix mutate`; `harness.commands.main` registers it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    FileOption,
    JobsOption,
    JsonOption,
    SelectOption,
    StoreOption,
    TablesOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.compat.tables import tables_directory
from migmatrix.harness.errors import ExitCode
from migmatrix.harness.mutate.mutate import MutateOptions
from migmatrix.harness.mutate.mutate import mutate as run_mutants
from migmatrix.harness.mutate.records import Status
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan

if TYPE_CHECKING:
    from migmatrix.harness.mutate.records import Mutant

__all__ = ["mutate"]


def mutate(
    file: FileOption = MATRIX,
    select: SelectOption = None,
    entry: Annotated[
        list[str] | None, typer.Option("--entry", help="glob of DEVICE.PROPERTY; repeat")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="most entries to knock out; 0: all")] = 0,
    profiles: Annotated[int, typer.Option("--profiles", min=1, help="most profiles per entry")] = 4,
    tables: TablesOption = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="print what needs no run, and the cost")] = False,
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    minimum: Annotated[int, typer.Option("--at-least", min=0, help="exit 1 when fewer are caught")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Check that the matrix guards compat entries.

    Knock out each entry and see whether a pair of the matrix notices. Print the cost first. --select takes cells:
    their machines, profiles and builds are used.
    """
    chosen = tables_directory(tables)
    where = store_directory(store)
    prepared = prepare_plan(RunOptions(file=file, store=where, select=tuple(select or ())), log)
    options = MutateOptions(where, chosen, jobs, tuple(entry or ("*",)), limit, profiles, dry)
    card = interrupt.run(run_mutants(prepared, options, log, _tell))
    if as_json:
        say_json(card.to_json())
    else:
        say("\n".join(card.render()))
    raise typer.Exit(ExitCode.OK if card.caught >= minimum else ExitCode.REGRESSIONS)


def _tell(mutant: Mutant) -> None:
    where = f"{mutant.profile} {mutant.route}" if mutant.status is Status.CAUGHT else mutant.status.value
    log(f"{mutant.machine} {mutant.row.text}: {where}")

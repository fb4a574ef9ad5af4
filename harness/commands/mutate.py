"""The command `migmatrix mutate`; `harness.commands.main` registers it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.mutate.mutate import MutateOptions
from migmatrix.harness.mutate.mutate import mutate as run_mutants
from migmatrix.harness.mutate.records import Status
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan
from migmatrix.harness.store import default_store

if TYPE_CHECKING:
    from migmatrix.harness.mutate.records import Mutant

__all__ = ["mutate"]


def mutate(
    file: Annotated[Path, typer.Option("-f", "--file", help="matrix file")] = Path("matrix.yaml"),
    select: Annotated[
        list[str] | None, typer.Option("--select", help="key=glob on cells; their machines, profiles, builds")
    ] = None,
    entry: Annotated[
        list[str] | None, typer.Option("--entry", help="glob of DEVICE.PROPERTY; repeat")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=0, help="knock out so many entries; 0: all")] = 0,
    profiles: Annotated[int, typer.Option("--profiles", min=1, help="profiles per entry at most")] = 4,
    tables: Annotated[Path, typer.Option("--tables", help="tables of builds before 9.1")] = Path("compat"),
    dry: Annotated[
        bool, typer.Option("--dry-run", help="only what is known without a run, and the cost")
    ] = False,
    store: Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")] = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")] = os.cpu_count() or 1,
    minimum: Annotated[int, typer.Option("--at-least", min=0, help="exit 1 when fewer are caught")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="for machines")] = False,
) -> None:
    """Knock out each compat entry and see whether a pair of the matrix notices; the cost is said first."""
    place = store if store is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())
    prepared = prepare_plan(RunOptions(file=file, store=place, select=tuple(select or ())), _log)
    options = MutateOptions(place, tables, jobs, tuple(entry or ("*",)), limit, profiles, dry)
    card = asyncio.run(run_mutants(prepared, options, _log, _tell))
    _say(json.dumps(card.to_json(), indent=1) if as_json else "\n".join(card.render()))
    raise typer.Exit(ExitCode.OK if card.caught >= minimum else ExitCode.REGRESSIONS)


def _tell(mutant: Mutant) -> None:
    where = f"{mutant.profile} {mutant.route}" if mutant.status is Status.CAUGHT else mutant.status.value
    _log(f"{mutant.machine} {mutant.row.text}: {where}")


def _log(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the command's answer

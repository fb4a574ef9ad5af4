# SPDX-License-Identifier: Apache-2.0
"""The command `migmatrix explore`; `harness.commands.main` registers it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    FileOption,
    IntoOption,
    JobsOption,
    JsonOption,
    SelectOption,
    ShardOption,
    StoreOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.errors import UserError
from migmatrix.harness.explore.explore import ExploreOptions
from migmatrix.harness.explore.explore import explore as search_for_breaks
from migmatrix.harness.explore.plan import Budget
from migmatrix.harness.explore.progress import SearchProgress
from migmatrix.harness.explore.records import Phase
from migmatrix.harness.explore.render import render
from migmatrix.harness.plan import parse_shard
from migmatrix.harness.report import progress_console
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import RunOptions, prepare_plan

if TYPE_CHECKING:
    from migmatrix.harness.explore.kept import Outcome

__all__ = ["conclude", "explore"]

_TIME = re.compile(r"(\d+)(s|m|h)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def explore(
    file: FileOption = MATRIX,
    select: SelectOption = None,
    budget: Annotated[
        str,
        typer.Option(
            "--budget",
            help="end after so many legs, stored ones too, or a time as 90s, 30m, 8h; what is under way is done first",
        ),
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="seed of pairs and walks")] = 0,
    devices: Annotated[str, typer.Option("--devices", help="glob of device types")] = "*",
    depth: Annotated[
        int, typer.Option("--depth", min=1, max=4, help="1 plain, 2 options, 3 pairs, 4 on all families")
    ] = 4,
    every_machine: Annotated[
        bool, typer.Option("--every-machine", help="try all on each machine, not in turns")
    ] = False,
    shard: ShardOption = None,
    out: IntoOption = Path("explored"),
    store: StoreOption = None,
    jobs: JobsOption = JOBS,
    as_json: JsonOption = False,
) -> None:
    """Search for breaks that no profile shows.

    Try the devices and options that the builds have, on the machines and builds of a matrix. Leave each problem once,
    as small as it gets, in OUT/findings.json, and as a profile in OUT/profiles-found.yaml.
    """
    bounds = _budget(budget)
    where = store_directory(store)
    prepared = prepare_plan(RunOptions(file=file, store=where, select=tuple(select or ())), log)
    options = ExploreOptions(
        store=where,
        out=out,
        jobs=jobs,
        devices=devices,
        depth=list(Phase)[depth - 1],
        budget=bounds,
        seed=seed,
        shard=parse_shard(shard) if shard else (1, 1),
        every_machine=every_machine,
    )
    with SearchProgress(progress_console()) as progress:
        main = search_for_breaks(
            prepared,
            options,
            progress.log,
            lambda search: progress.batch_done(search.reached),
            progress.leg_done,
        )
        outcome = interrupt.run(main)
    if outcome.ended == "interrupted":
        log("the same command goes on from here")
    conclude(outcome, as_json=as_json)


def conclude(outcome: Outcome, *, as_json: bool) -> NoReturn:
    """Tell what a search found, and exit by it."""
    if as_json:
        say_json(outcome.to_json())
    else:
        say("\n".join(render(outcome)))
    raise typer.Exit(outcome.code)


def _budget(text: str) -> Budget:
    if not text:
        return Budget()
    if text.isdecimal() and int(text):
        return Budget(legs=int(text))
    found = _TIME.fullmatch(text)
    if found is None or not int(found[1]):
        raise UserError(f"--budget {text!r} is neither a number of legs nor a time as 90s, 30m, 8h")
    return Budget(seconds=int(found[1]) * _SECONDS[found[2]])

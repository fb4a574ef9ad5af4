# SPDX-License-Identifier: Apache-2.0
"""`migmatrix plan`, and the options of a plan, which `run` has too."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from migmatrix.harness.commands.options import (
    MATRIX,
    EngineOption,
    FileOption,
    JsonOption,
    PathsOption,
    SeedOption,
    SelectOption,
    ShardOption,
    StoreOption,
    VerboseOption,
    command_line,
    log,
    say,
)
from migmatrix.harness.plan import parse_shard, render_plan
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import RunOptions, engine_specs, prepare_plan
from migmatrix.harness.run.plandocument import plan_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from migmatrix.harness.config.matrix import EngineName

__all__ = ["plan", "plan_options"]


def plan(
    file: FileOption = MATRIX,
    select: SelectOption = None,
    path: PathsOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    store: StoreOption = None,
    engine: EngineOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print the numbered plan and its cost.

    Nothing is run. What --json prints is a file for `migmatrix run --plan`, here or on another machine.
    """
    options = plan_options(file, select, path, shard, seed, store, engine)
    prepared = prepare_plan(options, log)
    if as_json:
        specs = engine_specs(prepared.matrix, options.engine)
        say(json.dumps(plan_document(prepared, options, specs)))
        return
    for line in render_plan(prepared.plan, verbose=verbose):
        say(line)


def plan_options(
    file: Path,
    select: Sequence[str] | None,
    path: Sequence[str] | None,
    shard: str | None,
    seed: int | None,
    store: Path | None,
    engine: EngineName | None,
) -> RunOptions:
    """What the options of a plan say; UserError for a shard that is none."""
    return RunOptions(
        file=file,
        store=store_directory(store),
        select=tuple(select or ()),
        paths=tuple(path or ()),
        shard=parse_shard(shard) if shard else None,
        seed=seed,
        engine=engine,
        command=command_line(),
    )

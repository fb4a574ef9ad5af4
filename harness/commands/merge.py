# SPDX-License-Identifier: Apache-2.0
"""`migmatrix merge`: what shards left, joined into a whole; shards of a run, or of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migmatrix.harness.commands.explore import conclude as conclude_search
from migmatrix.harness.commands.options import IntoOption, JsonOption  # noqa: TC001 - typer reads the annotations
from migmatrix.harness.commands.run import conclude
from migmatrix.harness.explore.merge import is_search, merge_searches
from migmatrix.harness.stored.merge import merge as merge_runs
from migmatrix.harness.stored.reports import open_run, rewrite_reports

__all__ = ["merge"]

RunsArgument = Annotated[
    list[Path], typer.Argument(help="directories of all shards, of a run or a search", metavar="RUN...")
]


def merge(
    runs: RunsArgument,
    out: IntoOption,
    as_json: JsonOption = False,
) -> None:
    """Combine the runs of all shards into one.

    Searches of `explore --shard` too. Exit 3 when a shard is missing or did not end.
    """
    if any(map(is_search, runs)):
        conclude_search(merge_searches(runs, out), as_json=as_json)
    merge_runs(runs, out)
    with open_run(out) as store:
        conclude(rewrite_reports(store), as_json=as_json)

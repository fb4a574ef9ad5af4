# SPDX-License-Identifier: Apache-2.0
"""`migmatrix diff OLD NEW`: what is newly broken, by problem."""

from __future__ import annotations

from typing import Annotated

import typer

from migmatrix.harness.commands.options import JsonOption, say, say_json
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.history.compare import compare
from migmatrix.harness.history.side import read_side
from migmatrix.harness.history.told import to_json, to_lines, to_markdown

__all__ = ["diff"]

SideArgument = Annotated[
    str,
    typer.Argument(
        help="run, report.json, results.jsonl, signed directory, or DB@NIGHT, DB@-1", metavar="SIDE"
    ),
]


def diff(
    old: SideArgument,
    new: SideArgument,
    as_json: JsonOption = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="print Markdown")] = False,
) -> None:
    """Compare two runs or nights by problem.

    Exit 1 when a problem is new, else 0.
    """
    if as_json and markdown:
        raise UserError("--json or --markdown, not both")
    found = compare(read_side(old), read_side(new))
    if as_json:
        say_json(to_json(found))
    elif markdown:
        say(to_markdown(found).rstrip("\n"))
    else:
        say("\n".join(to_lines(found)))
    raise typer.Exit(ExitCode.REGRESSIONS if found.worse else ExitCode.OK)

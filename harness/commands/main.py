# SPDX-License-Identifier: Apache-2.0
"""The app: which command is where, and nothing else. `harness.cli` starts it and turns errors into exit codes.

The options of `stream` are those of `harness.commands.stream`, which reads them without typer.
"""

from __future__ import annotations

from typing import Annotated

import typer

from migmatrix.harness import __version__
from migmatrix.harness.commands import advise, begin, bisect, builds, compat, stored
from migmatrix.harness.commands.attempt import attempt
from migmatrix.harness.commands.explain import explain
from migmatrix.harness.commands.mutate import mutate
from migmatrix.harness.commands.options import say
from migmatrix.harness.commands.plan import plan
from migmatrix.harness.commands.run import run
from migmatrix.harness.commands.stream import main as read_streams

__all__ = ["app"]

app = typer.Typer(
    name="migmatrix",
    help="Test live migration between emulator versions.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for _first in (begin.init, begin.doctor, begin.profiles, begin.schema):
    app.command()(_first)
app.command("try")(attempt)
for _command in (plan, run, stored.judge, stored.report, stored.merge, stored.show, explain, mutate):
    app.command()(_command)
for _name, _group in (("builds", builds), ("bisect", bisect), ("advise", advise), ("compat", compat)):
    app.add_typer(_group.app, name=_name)


@app.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def stream(context: typer.Context) -> None:
    """Read, compare and check migration streams."""
    raise typer.Exit(read_streams(context.args))


def _version(wanted: bool) -> None:
    if wanted:
        say(f"migmatrix {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None: ...

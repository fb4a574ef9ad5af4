# SPDX-License-Identifier: Apache-2.0
"""The app: which command is where, and nothing else. `harness.cli` starts it and turns errors into exit codes.

Rule: importing this module imports no command. `app` imports those that it is asked for: each has other needs, and
all of them take half a second.
The options of `stream` are those of `harness.commands.stream`, which reads them without typer.
"""

from __future__ import annotations

from importlib import import_module
from typing import Annotated

import typer

from migmatrix.harness import __version__

__all__ = ["COMMANDS", "app"]

# Each command, in the order of the help: its module, and its name there; a name `app` is a group.
COMMANDS = {
    "init": ("begin", "init"),
    "doctor": ("begin", "doctor"),
    "profiles": ("begin", "profiles"),
    "schema": ("begin", "schema"),
    "try": ("attempt", "attempt"),
    "plan": ("plan", "plan"),
    "run": ("run", "run"),
    "judge": ("stored", "judge"),
    "report": ("stored", "report"),
    "merge": ("merge", "merge"),
    "show": ("stored", "show"),
    "history": ("history", "app"),
    "diff": ("diff", "diff"),
    "site": ("site", "site"),
    "sign-off": ("signoff", "signoff"),
    "verify": ("signoff", "verify_signed"),
    "explain": ("explain", "explain"),
    "explore": ("explore", "explore"),
    "mutate": ("mutate", "mutate"),
    "stream": ("main", "stream"),
    "builds": ("builds", "app"),
    "store": ("store", "app"),
    "bisect": ("bisect", "app"),
    "advise": ("advise", "app"),
    "compat": ("compat", "app"),
    "ci": ("ci", "app"),
}


def app(*names: str) -> typer.Typer:
    """The app with these of `COMMANDS`, by default all."""
    made = typer.Typer(
        name="migmatrix",
        help="Test live migration between emulator versions.",
        no_args_is_help=True,
        context_settings={"help_option_names": ["-h", "--help"]},
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    made.callback()(_root)
    for name in names or COMMANDS:
        _add(made, name)
    return made


def _add(made: typer.Typer, name: str) -> None:
    module, attribute = COMMANDS[name]
    found = getattr(import_module(f"migmatrix.harness.commands.{module}"), attribute)
    if attribute == "app":
        made.add_typer(found, name=name)
    elif name == "stream":
        settings = {"ignore_unknown_options": True, "allow_extra_args": True}
        made.command(name, add_help_option=False, context_settings=settings)(found)
    else:
        made.command(name)(found)


def stream(context: typer.Context) -> None:
    """Read, compare and check migration streams."""
    from migmatrix.harness.commands.stream import main  # noqa: PLC0415 - see the rule above

    raise typer.Exit(main(context.args))


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migmatrix {__version__}")
        raise typer.Exit


def _root(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version and exit")
    ] = False,
) -> None: ...

# SPDX-License-Identifier: Apache-2.0
"""Entry point of `migmatrix`: finds the command, turns errors into one line and an exit code.

Rule: every command pays for what this file imports. `stream` needs little more than `vmstate`, so it is recognised by
its name, before typer is imported. All other commands are in `harness.commands.main`.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import Any, NoReturn, cast

from migmatrix.harness.errors import ExitCode, InfrastructureError, UserError

__all__ = ["main"]


def main() -> None:
    """Run the command line: one line for the user's mistakes and the host's failures, a traceback for bugs."""
    try:
        sys.exit(_command(sys.argv[1:]))
    except UserError as err:
        _fail(str(err), ExitCode.USAGE)
    except InfrastructureError as err:
        _fail(str(err), ExitCode.INCOMPLETE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.REGRESSIONS)


def _command(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit code; UserError for options that it does not have."""
    if arguments[:1] == ["stream"]:
        gc.disable()  # what it imports and reads stays in use until its end
        from migmatrix.harness.commands.stream import main as stream  # noqa: PLC0415 - see the rule above

        _leave(stream(arguments[1:]))
    import typer  # noqa: PLC0415 - see the rule above

    from migmatrix.harness.commands.main import app  # noqa: PLC0415

    usage_error = cast("type[Exception]", typer.BadParameter.__base__)  # click's, of whatever click typer has
    try:
        return app(arguments, prog_name="migmatrix", standalone_mode=False) or ExitCode.OK
    except usage_error as err:
        raise _one_line(err) from err


def _one_line(err: Any) -> UserError:
    """Put what typer says of an option in the form of our other messages; a missing command gets the help."""
    said, command = err.format_message(), err.ctx.command_path if err.ctx else "migmatrix"
    if "\n" in said:
        return UserError(f"a command is missing\n\n{said}")
    option = "" if command == "migmatrix" else f"{command.removeprefix('migmatrix ')}: "
    return UserError(f"{option}{said[:1].lower()}{said[1:].rstrip('.')}; see {command} --help")


def _leave(code: int) -> NoReturn:
    """Exit at once: all is written and closed, and an orderly end takes as long as reading a hundred megabytes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _fail(message: str, code: ExitCode) -> None:
    sys.stderr.write(f"migmatrix: {message}\n")
    sys.exit(code)

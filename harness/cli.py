"""The door of `migmatrix`: finds the command, turns errors into one line and an exit code.

Rule: what is imported here is paid by every command. `stream` reads files and needs little more than `vmstate`; it
is told apart by its name alone. All other commands are in `harness.commands`, imported when one of them is asked for.
"""

from __future__ import annotations

import gc
import os
import sys

from harness.errors import ExitCode, InfrastructureError, UserError

__all__ = ["main"]


def main() -> None:
    """Entry point: one line for the user's mistakes and the host's failures, a traceback for bugs."""
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
    """Exit code of the command that `arguments` name; the others than `stream` exit themselves."""
    if arguments[:1] == ["stream"]:
        gc.disable()  # nothing that it imports or reads becomes garbage before its end
        from harness.stream_cli import main as stream  # noqa: PLC0415 - see the rule above

        return stream(arguments[1:])
    from harness.commands import app  # noqa: PLC0415 - see the rule above

    app()
    return ExitCode.OK


def _fail(message: str, code: ExitCode) -> None:
    sys.stderr.write(f"migmatrix: {message}\n")
    sys.exit(code)

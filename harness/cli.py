# SPDX-License-Identifier: Apache-2.0
"""Entry point of `migmatrix`: finds the command, turns errors into one line and an exit code.

Rule: every command pays for what this file imports. `stream` needs little more than `vmstate`, so it is recognised by
its name, before typer is imported. All other commands are in `harness.commands.main`.
"""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from typing import Any, NoReturn, cast

from migmatrix.harness.errors import ExitCode, InfrastructureError, UserError

__all__ = ["main"]

# Of errors that no part of the program expected: the host's, not a bug of ours.
_HOST = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}


def main() -> None:
    """Run the command line; whatever goes wrong ends in one line and the exit code of its kind."""
    _print_anything()
    try:
        code = _command(sys.argv[1:])
        sys.stdout.flush()
    except UserError as err:
        code = _say(str(err), ExitCode.USAGE)
    except InfrastructureError as err:
        code = _say(str(err), ExitCode.INCOMPLETE)
    except KeyboardInterrupt:
        code = ExitCode.INTERRUPTED
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        _drop_output()
        code = ExitCode.CLOSED_PIPE
    except OSError as err:
        if err.errno in _HOST:
            _drop_output()
            code = _say(f"the host failed: {err}", ExitCode.INCOMPLETE)
        else:
            code = _bug(err)
    except Exception as err:  # noqa: BLE001 - the last resort
        code = ExitCode.INTERRUPTED if _is_of_signal(err) else _bug(err)
    sys.exit(code)


def _is_of_signal(err: BaseException | None) -> bool:
    """Whether a signal is behind an error: a class that is being made has it as the cause of a RuntimeError of its own."""
    while err is not None and not isinstance(err, KeyboardInterrupt):
        err = err.__cause__ or err.__context__
    return err is not None


def _print_anything() -> None:
    """Write what the locale's encoding lacks (a middle dot in ASCII) as an escape, not as an error."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error is from the start


def _command(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit code; UserError for options that it does not have."""
    if arguments[:1] == ["stream"]:
        gc.disable()  # what it imports and reads stays in use until its end
        from migmatrix.harness.commands.stream import main as stream  # noqa: PLC0415 - see the rule above

        _leave(stream(arguments[1:]))
    from migmatrix.harness import interrupt  # noqa: PLC0415 - see the rule above

    interrupt.heed()
    try:
        return _typed(arguments)
    finally:
        interrupt.over()


def _typed(arguments: list[str]) -> int:
    gc.disable()  # what is imported stays in use; to look through it again and again takes an eighth of a start
    import typer  # noqa: PLC0415 - see the rule above

    from migmatrix.harness.commands.main import COMMANDS, app  # noqa: PLC0415

    # without a name it is a help or a mistake, and all are needed
    command = app(*(name for name in arguments[:1] if name in COMMANDS))
    gc.freeze()
    gc.enable()
    usage_error = cast("type[Exception]", typer.BadParameter.__base__)  # click's, of whatever click typer has
    try:
        return command(arguments, prog_name="migmatrix", standalone_mode=False) or ExitCode.OK
    except usage_error as err:
        raise _one_line(err) from err
    except typer.Abort as err:  # click's word for Ctrl-C
        raise KeyboardInterrupt from err
    except SystemExit as err:
        if isinstance(err.__context__, BrokenPipeError):  # click makes 1 of it, the code of regressions
            raise err.__context__ from None
        raise


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


def _say(message: str, code: ExitCode) -> ExitCode:
    from migmatrix.harness.visible import visible  # noqa: PLC0415 - see the rule above

    sys.stderr.write(f"migmatrix: {visible(message)}\n")
    return code


def _bug(err: Exception) -> ExitCode:
    """Keep the traceback in a file for the report that the line asks for."""
    import shlex  # noqa: PLC0415 - a bug is rare
    import tempfile  # noqa: PLC0415
    import traceback  # noqa: PLC0415

    last = traceback.format_exception_only(err)[-1].strip().splitlines()[0]
    text = f"$ {shlex.join(sys.argv)}\nPython {sys.version}\n\n{''.join(traceback.format_exception(err))}"
    try:
        descriptor, name = tempfile.mkstemp(prefix="migmatrix-bug-", suffix=".txt")
        with os.fdopen(descriptor, "w", errors="backslashreplace") as file:
            file.write(text)
    except OSError:  # a full disk may be what brought us here
        sys.stderr.write(text)
        name = "the traceback above"
    return _say(f"a bug of migmatrix: {last}; please report it with {name}", ExitCode.BUG)


def _drop_output() -> None:
    """Send what is still buffered nowhere, so that the interpreter's own flush at exit does not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()

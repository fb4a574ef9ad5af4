# SPDX-License-Identifier: Apache-2.0
"""Every option and argument that two commands share, and what commands do with them: each is written here, once.

1. A flag has one declaration, so that its help, type and limits are the same wherever it stands. An option of a
   single command is declared by that command, and its flag is on no other.
2. Defaults that Python programs have too (`JOBS`, the store) are those of `harness.run.opening`.
3. Commands print through `say` and log through `log`: answers go to standard output, everything else to standard error.
   Both make control characters visible, as any text may come from an emulator.
"""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from migmatrix.harness.run.opening import JOBS, silent
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["JOBS", "MATRIX", "command_line", "log", "logger", "say", "say_json"]

MATRIX: Final = Path("matrix.yaml")

# -- what is run -------------------------------------------------------------------------------

FileOption = Annotated[Path, typer.Option("-f", "--file", help="matrix file")]
OtherFileOption = Annotated[
    Path | None, typer.Option("-f", "--file", help="matrix file; default the run's own")
]
SelectOption = Annotated[
    list[str] | None, typer.Option("--select", help="key=glob; repeat to narrow, a comma means or")
]
ShardOption = Annotated[str | None, typer.Option("--shard", help="take share I of N, as I/N")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="seed of the sample of chains")]
PathsOption = Annotated[
    list[str] | None, typer.Option("--path", help="take this path, A>B>C, not those of the matrix; repeat")
]
MachineOption = Annotated[str, typer.Option("--machine", help="versioned machine type", metavar="M")]
ProfileOption = Annotated[str, typer.Option("--profile", help="profile of the matrix")]
ModeOption = Annotated[str, typer.Option("--mode", help="mode of the matrix; default its first")]
GuestOption = Annotated[str, typer.Option("--guest", help="guest of the matrix; default its first")]
BuildArgument = Annotated[str, typer.Argument(help="build of the matrix", metavar="BUILD")]
SecondArgument = Annotated[str, typer.Argument(help="another build of the matrix", metavar="BUILD")]
RunArgument = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]
RunOrNoneArgument = Annotated[Path | None, typer.Argument(help="run directory", metavar="RUN")]
CellArgument = Annotated[
    str | None, typer.Argument(help="cell id, a part of one, or its number in the plan", metavar="CELL")
]
ThisCellArgument = Annotated[
    str, typer.Argument(help="cell id, a part of one, or its number in the plan", metavar="CELL")
]

# -- where and how -----------------------------------------------------------------------------

StoreOption = Annotated[Path | None, typer.Option("--store", help="leg store, shared by runs")]
EngineOption = Annotated[
    Literal["docker", "process"] | None,
    typer.Option("--engine", help="where the reference emulator runs; default as the matrix says"),
]
JobsOption = Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")]
OutOption = Annotated[Path | None, typer.Option("--out", help="directory to write to")]
IntoOption = Annotated[Path, typer.Option("--out", help="directory to write to")]
WriteOption = Annotated[Path | None, typer.Option("--out", help="file to write; default standard output")]
NightsOption = Annotated[int, typer.Option("--nights", min=1, help="how many of the last nights")]
TablesOption = Annotated[
    Path | None,
    typer.Option("--tables", help="compat tables of builds before 9.1; default those of this program"),
]
LongestOption = Annotated[int, typer.Option("--longest", min=1, help="most migrations of a path")]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="print every path, trial or run")]
JsonOption = Annotated[bool, typer.Option("--json", help="machine-readable output")]


def command_line() -> str:
    """The command line of this process, quoted for a shell."""
    return shlex.join(["migmatrix", *sys.argv[1:]])


# -- output ------------------------------------------------------------------------------------


def say(text: str) -> None:
    """Print a part of the command's answer."""
    print(visible(text), flush=True)  # noqa: T201


def say_json(data: Any) -> None:
    """Print the command's answer as JSON."""
    say(json.dumps(data, indent=1))


def log(line: str) -> None:
    """Tell what happens on the way, on standard error."""
    print(visible(line), file=sys.stderr, flush=True)  # noqa: T201


def logger(*, verbose: bool) -> Callable[[str], None]:
    """Return where single trials are told: `log`, or nowhere without ``--verbose``."""
    return log if verbose else silent

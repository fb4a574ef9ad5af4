# SPDX-License-Identifier: Apache-2.0
"""`migmatrix bisect`: what changed the verdict of a path - a build, a release, a commit; or a device, a property.

Exit codes: 0 found, 1 a range or nothing, 2 the user's mistake, 3 the host failed, 130 interrupted. The journal is
complete after each of them, and the same command goes on from it.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.bisect import (
    CellOptions,
    CommitOptions,
    Rules,
    bisect_builds,
    bisect_commits,
    bisect_releases,
    exit_code,
    published,
    render,
    sides,
)
from migmatrix.harness.commands.options import (
    JOBS,
    MATRIX,
    EngineOption,
    FileOption,
    GuestOption,
    JsonOption,
    MachineOption,
    ModeOption,
    OutOption,
    ProfileOption,
    RunArgument,
    StoreOption,
    ThisCellArgument,
    VerboseOption,
    command_line,
    logger,
    say,
    say_json,
)
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.explain import ExplainOptions, explain_run
from migmatrix.harness.explain.render import render as render_explanation
from migmatrix.harness.run.opening import silent, store_directory
from migmatrix.harness.stored.reports import open_run
from migmatrix.harness.stored.show import find_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.harness.bisect import Answer
    from migmatrix.harness.explain import Explanation

__all__ = ["app"]

app = typer.Typer(help="Find what changed a verdict.", no_args_is_help=True)

_RULES = Rules()
_BINARY = "bin/qemu-system-x86_64"

ArgsOption = Annotated[str, typer.Option("--args", help="more emulator arguments, quoted as for a shell")]
SourceOption = Annotated[str, typer.Option("--source", help="A..B to search, or one build", metavar="A..B")]
DestinationOption = Annotated[
    str, typer.Option("--destination", help="A..B to search, or one build", metavar="A..B")
]
PathOption = Annotated[
    str, typer.Option("--path", help="whole path, A..B>C>D; for commits with @ as the build of the commit")
]
SignatureOption = Annotated[
    str, typer.Option("--signature", help="the failure to follow; default what the ends show")
]
FlakyOption = Annotated[bool, typer.Option("--flaky", help="believe no single run from the start")]
ConfidenceOption = Annotated[
    float, typer.Option("--confidence", min=0.5, max=0.99999, help="probability to be content with")
]
BudgetOption = Annotated[int, typer.Option("--budget", min=4, help="runs in all")]
VerifyOption = Annotated[int, typer.Option("--verify", min=1, help="runs of each end")]
ConfirmOption = Annotated[int, typer.Option("--confirm", min=1, help="runs of the culprit and its parent")]


def _along(search: Callable[[CellOptions, Callable[[str], None]], list[Answer]]) -> Callable[..., None]:
    """The command of a search over builds that have names."""

    def command(
        file: FileOption = MATRIX,
        machine: MachineOption = "",
        profile: ProfileOption = "",
        args: ArgsOption = "",
        source: SourceOption = "",
        destination: DestinationOption = "",
        path: PathOption = "",
        mode: ModeOption = "",
        guest: GuestOption = "",
        signature: SignatureOption = "",
        flaky: FlakyOption = _RULES.flaky,
        confidence: ConfidenceOption = _RULES.confidence,
        budget: BudgetOption = _RULES.budget,
        verify: VerifyOption = _RULES.verify,
        confirm: ConfirmOption = _RULES.confirm,
        out: OutOption = None,
        store: StoreOption = None,
        engine: EngineOption = None,
        verbose: VerboseOption = False,
        as_json: JsonOption = False,
    ) -> None:
        rules = Rules(verify, confirm, confidence, budget, flaky, signature)
        options = CellOptions(
            file, store_directory(store), _path(path, source, destination), machine, profile, tuple(shlex.split(args)),
            mode, guest, engine, out, rules, command_line(),
        )  # fmt: skip
        _conclude(search(options, logger(verbose=verbose)), as_json=as_json)

    return command


app.command(
    "builds",
    help="""Find the build to blame.

    Search the builds of the matrix in the order of the file. One range A..B is searched on its side. With a range on both sides, each is searched with the other one held at
    its later and at its earlier end, so that the side whose build turned the verdict is told.
    """,
)(_along(bisect_builds))
app.command(
    "releases",
    help="""Find the emulator release to blame.

    Search the releases of the reference emulator in the order of versions: 8.0, 8.0.1, 8.1, ... The matrix gives profiles, default arguments, modes and guests; its builds take no part.
    """,
)(_along(bisect_releases))


@app.command()
def commits(
    good: Annotated[str, typer.Option("--good", help="a commit that passes", metavar="REV")],
    bad: Annotated[str, typer.Option("--bad", help="a commit that fails", metavar="REV")],
    repository: Annotated[Path, typer.Option("--repo", help="git repository; it is only read")] = Path(),
    build: Annotated[
        str, typer.Option("--build", help="shell command that builds a checkout into $MIGMATRIX_OUT")
    ] = "",
    binary: Annotated[str, typer.Option("--binary", help="the emulator in $MIGMATRIX_OUT")] = _BINARY,
    test: Annotated[
        str, typer.Option("--run", help="a command instead of a cell: 0 good, 125 skip, 1-127 bad")
    ] = "",
    path: PathOption = "",
    file: FileOption = MATRIX,
    machine: MachineOption = "",
    profile: ProfileOption = "",
    args: ArgsOption = "",
    mode: ModeOption = "",
    guest: GuestOption = "",
    signature: SignatureOption = "",
    flaky: FlakyOption = _RULES.flaky,
    confidence: ConfidenceOption = _RULES.confidence,
    budget: BudgetOption = _RULES.budget,
    verify: VerifyOption = _RULES.verify,
    confirm: ConfirmOption = _RULES.confirm,
    out: OutOption = None,
    store: StoreOption = None,
    engine: EngineOption = None,
    verbose: VerboseOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find the commit to blame.

    Search for the commit that changed the verdict of a path with the step @, or the exit status of a command. The build command runs in a checkout. As under `git bisect run`, exit status 125 means that a commit cannot be
    tested, and one above 127 stops the search; any other failure to build means that it cannot be tested either.
    """
    if bool(test) == bool(path):
        raise UserError("give a cell with --path, or a command with --run")
    if path and not build:
        raise UserError("a cell needs emulators: give --build")
    rules = Rules(verify, confirm, confidence, budget, flaky, signature)
    options = CellOptions(
        file, store_directory(store), path, machine, profile, tuple(shlex.split(args)), mode, guest, engine, out, rules,
        command_line(),
    )  # fmt: skip
    chosen = CommitOptions(repository, good, bad, build, binary, test)
    _conclude(bisect_commits(options, chosen, logger(verbose=verbose)), as_json=as_json)


@app.command()
def devices(
    run: RunArgument, cell: ThisCellArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Find the devices to blame.

    Reduce the command line of a failing cell to the smallest one that still fails.
    """
    found = _explained(run, cell, store_directory(store))
    made = found.reproducer
    lines = [f"{found.cell}: {found.signature}", f"  path       {'>'.join(made.path)}"]
    lines += [
        f"  arguments  {shlex.join(made.arguments)}",
        *(f"  not needed {word}" for word in made.removed),
    ]
    _tell(found, lines, found=found.reproduced, as_json=as_json)


@app.command()
def properties(
    run: RunArgument, cell: ThisCellArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Find the properties to blame.

    Print a smallest set of properties that makes a failing cell pass.
    """
    found = _explained(run, cell, store_directory(store))
    _tell(found, render_explanation(found), found=bool(found.remedies), as_json=as_json)


def _explained(run: Path, cell: str, store: Path) -> Explanation:
    found: list[Explanation] = []
    with open_run(run) as opened:
        wanted = [find_cell(opened, cell)]
        interrupt.run(explain_run(opened, wanted, ExplainOptions(store, jobs=JOBS), silent, found.append))
    return found[0]


def _tell(explanation: Explanation, lines: Iterable[str], *, found: bool, as_json: bool) -> None:
    if as_json:
        say_json(explanation.to_json())
    else:
        say("\n".join(lines))
    raise typer.Exit(ExitCode.OK if found else ExitCode.REGRESSIONS)


def _path(path: str, source: str, destination: str) -> str:
    """The path of the cell, from whichever options say it."""
    if path and not (source or destination):
        return path
    if source and destination and not path:
        return f"{source}>{destination}"
    raise UserError("give --source and --destination, or --path")


def _conclude(answers: list[Answer], *, as_json: bool) -> None:
    if as_json:
        say_json(published(answers))
    else:
        lines = [line for answer in answers for line in render(answer)]
        say("\n".join([*lines, sides(answers)] if sides(answers) else lines))
    raise typer.Exit(exit_code(answers))

"""`migmatrix bisect`: what changed the verdict of a path - a build, a release, a commit; or a device, a property.

Exit codes: 0 found, 1 a range or nothing, 2 the user's mistake, 3 the host failed, 130 interrupted. The journal is
complete after each of them, and the same command goes on from it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

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
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.explain import ExplainOptions, explain_run
from migmatrix.harness.explain.render import render as render_explanation
from migmatrix.harness.store import RunStore, default_store
from migmatrix.harness.stored.show import find_cell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from migmatrix.harness.bisect import Answer
    from migmatrix.harness.explain import Explanation

__all__ = ["app"]

app = typer.Typer(
    help="What changed the verdict: build, release, commit, device, property.", no_args_is_help=True
)

_RULES = Rules()
_BINARY = "bin/qemu-system-x86_64"
_DEFAULT_FILE = Path("matrix.yaml")

FileOption = Annotated[Path, typer.Option("-f", "--file", help="matrix file: builds, profiles, defaults")]
MachineOption = Annotated[str, typer.Option("--machine", help="versioned machine type", metavar="M")]
ProfileOption = Annotated[str, typer.Option("--profile", help="profile of the matrix")]
ArgsOption = Annotated[str, typer.Option("--args", help="more emulator arguments, quoted as for a shell")]
ModeOption = Annotated[str, typer.Option("--mode", help="mode of the matrix; default its first")]
GuestOption = Annotated[str, typer.Option("--guest", help="guest of the matrix; default its first")]
SourceOption = Annotated[str, typer.Option("--source", help="A..B to search, or one build", metavar="A..B")]
DestinationOption = Annotated[
    str, typer.Option("--destination", help="A..B to search, or one build", metavar="A..B")
]
PathOption = Annotated[str, typer.Option("--path", help="a whole path, A..B>C>D, instead of the two")]
CommitPathOption = Annotated[str, typer.Option("--path", help="the path; @ is the build of the commit")]
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
OutOption = Annotated[Path | None, typer.Option("--out", help="directory of the journals; default runs")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="where builds are kept")]
EngineOption = Annotated[
    Literal["docker", "process"] | None, typer.Option("--engine", help="where the reference emulator runs")
]
VerboseOption = Annotated[bool, typer.Option("-v", "--verbose", help="every run as it is made")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]


def _along(search: Callable[[CellOptions, Callable[[str], None]], list[Answer]]) -> Callable[..., None]:
    """The command of a search over builds that have names."""

    def command(
        file: FileOption = _DEFAULT_FILE,
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
            file, _store(store), _path(path, source, destination), machine, profile, tuple(shlex.split(args)),
            mode, guest, engine, out, rules, _command(),
        )  # fmt: skip
        _conclude(search(options, _log(verbose=verbose)), as_json=as_json)

    return command


app.command(
    "builds",
    help="""Which build of the matrix changed the verdict; its builds are in the order of the file.

    One range A..B is searched on its side. With a range on both sides, each is searched with the other one held at
    its later and at its earlier end, so that the side whose build turned the verdict is told.
    """,
)(_along(bisect_builds))
app.command(
    "releases",
    help="""Which release of the reference emulator changed the verdict: 8.0, 8.0.1, 8.1, ... in the order of versions.

    The matrix gives profiles, default arguments, modes and guests; its builds take no part.
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
    path: CommitPathOption = "",
    file: FileOption = _DEFAULT_FILE,
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
    """Which commit changed the verdict of a path with the step @, or the exit status of a command.

    The build command runs in a checkout. As under `git bisect run`, exit status 125 means that a commit cannot be
    tested, and one above 127 stops the search; any other failure to build means that it cannot be tested either.
    """
    if bool(test) == bool(path):
        raise UserError("give a cell with --path, or a command with --run")
    if path and not build:
        raise UserError("a cell needs emulators: give --build")
    rules = Rules(verify, confirm, confidence, budget, flaky, signature)
    options = CellOptions(
        file, _store(store), path, machine, profile, tuple(shlex.split(args)), mode, guest, engine, out, rules,
        _command(),
    )  # fmt: skip
    chosen = CommitOptions(repository, good, bad, build, binary, test)
    _conclude(bisect_commits(options, chosen, _log(verbose=verbose)), as_json=as_json)


RunArgument = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]
CellArgument = Annotated[str, typer.Argument(help="cell id, or a part of one", metavar="CELL")]


@app.command()
def devices(
    run: RunArgument, cell: CellArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Which devices and options of a failing cell are to blame: the smallest command line that still fails."""
    found = _explained(run, cell, _store(store))
    made = found.reproducer
    lines = [f"{found.cell}: {found.signature}", f"  path       {'>'.join(made.path)}"]
    lines += [
        f"  arguments  {shlex.join(made.arguments)}",
        *(f"  not needed {word}" for word in made.removed),
    ]
    _tell(found, lines, found=found.reproduced, as_json=as_json)


@app.command()
def properties(
    run: RunArgument, cell: CellArgument, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Which properties of a failing cell are to blame: a smallest set that makes it pass."""
    found = _explained(run, cell, _store(store))
    _tell(found, render_explanation(found), found=bool(found.remedies), as_json=as_json)


def _explained(run: Path, cell: str, store: Path) -> Explanation:
    found: list[Explanation] = []
    with RunStore.open(run) as opened:
        wanted = [find_cell(opened, cell)]
        asyncio.run(explain_run(opened, wanted, ExplainOptions(store), _log(verbose=False), found.append))
    return found[0]


def _tell(explanation: Explanation, lines: Iterable[str], *, found: bool, as_json: bool) -> None:
    print(json.dumps(explanation.to_json(), indent=1) if as_json else "\n".join(lines))  # noqa: T201
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
        print(json.dumps(published(answers), indent=1))  # noqa: T201
    else:
        lines = [line for answer in answers for line in render(answer)]
        print("\n".join([*lines, sides(answers)] if sides(answers) else lines))  # noqa: T201
    raise typer.Exit(exit_code(answers))


def _command() -> str:
    return shlex.join(["migmatrix", *sys.argv[1:]])


def _store(given: Path | None) -> Path:
    return given if given is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


def _log(*, verbose: bool) -> Callable[[str], None]:
    return _print_line if verbose else _nothing


def _print_line(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201


def _nothing(_: str) -> None:
    """Single runs are told of with --verbose; the journal has them all."""

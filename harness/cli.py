"""The command `migmatrix`: reads options, calls the session, turns errors into one line and an exit code."""

from __future__ import annotations

import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harness import __version__
from harness.errors import ExitCode, InfrastructureError, UserError
from harness.plan import parse_shard, render_plan, to_json
from harness.replay import judge_again, load_report
from harness.report import Progress, RunReport, render_terminal, write_reports
from harness.session import RunOptions, clean_up, execute, prepare_builds, prepare_plan
from harness.show import render_cell
from harness.store import RunStore, default_store

__all__ = ["app", "main"]

app = typer.Typer(
    name="migmatrix",
    help="Compatibility-matrix harness for live migration between emulator versions.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
builds_app = typer.Typer(help="The emulator builds of a matrix.", no_args_is_help=True)
app.add_typer(builds_app, name="builds")

_out, _err = Console(), Console(stderr=True)

FileOption = Annotated[Path, typer.Option("-f", "--file", help="matrix file")]
SelectOption = Annotated[
    list[str] | None, typer.Option("--select", help="key=glob; repeat to narrow, a comma means or")
]
PathOption = Annotated[list[str] | None, typer.Option("--path", help="walk this path, A>B>C, instead")]
ShardOption = Annotated[str | None, typer.Option("--shard", help="I/N: this share of the cells")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="seed of the sample of chains")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
RunArgument = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]

_DEFAULT_FILE = Path("matrix.yaml")


def _log(line: str) -> None:
    _err.print(line, highlight=False, markup=False, soft_wrap=True)


def _say(text: str) -> None:
    _out.print(text, highlight=False, markup=False, soft_wrap=True)


def _store(given: Path | None) -> Path:
    return given if given is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


@builds_app.command("list")
def builds_list(
    file: FileOption = _DEFAULT_FILE, store: StoreOption = None, as_json: JsonOption = False
) -> None:
    """Show every build of the matrix, prepared: version, digest, where it came from."""
    _show_builds(file, _store(store), [], as_json=as_json, refresh=False)


@builds_app.command("prepare")
def builds_prepare(
    ids: Annotated[list[str] | None, typer.Argument(help="builds, default all", metavar="ID")] = None,
    file: FileOption = _DEFAULT_FILE,
    store: StoreOption = None,
    refresh: Annotated[bool, typer.Option(help="make images anew")] = False,
    as_json: JsonOption = False,
) -> None:
    """Get images and binaries ready."""
    _show_builds(file, _store(store), ids or [], as_json=as_json, refresh=refresh)


def _show_builds(file: Path, store: Path, ids: list[str], *, as_json: bool, refresh: bool) -> None:
    builds = prepare_builds(file, store, ids, _log, refresh=refresh)
    if as_json:
        facts = {
            build.id: {
                "version": build.facts.version,
                "package": build.facts.package,
                "origin": build.origin,
                "digest": build.facts.digest,
                "image": build.image,
                "binary": build.binary,
                "args": build.args,
                "machines": [machine.name for machine in build.facts.machines],
                "capabilities": build.facts.capabilities,
            }
            for build in builds.values()
        }
        print(json.dumps(facts, indent=1))  # noqa: T201
        return
    for build in builds.values():
        facts_ = build.facts
        package = f" ({facts_.package})" if facts_.package else ""
        _say(f"{build.id:16} {facts_.version}{package}, {facts_.digest[:12]}, {build.origin}")


@app.command()
def plan(
    file: FileOption = _DEFAULT_FILE,
    select: SelectOption = None,
    path: PathOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    store: StoreOption = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="every path")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the numbered plan and its cost; nothing is run."""
    prepared = prepare_plan(_options(file, select, path, shard, seed, store), _log)
    if as_json:
        print(json.dumps(to_json(prepared.plan)))  # noqa: T201
        return
    for line in render_plan(prepared.plan, verbose=verbose):
        _say(line)


def _options(
    file: Path,
    select: list[str] | None,
    path: list[str] | None,
    shard: str | None,
    seed: int | None,
    store: Path | None,
    jobs: int = 1,
    out: Path | None = None,
) -> RunOptions:
    return RunOptions(
        file=file,
        store=_store(store),
        select=tuple(select or ()),
        paths=tuple(path or ()),
        shard=parse_shard(shard) if shard else None,
        seed=seed,
        jobs=jobs,
        out=out,
        command=shlex.join(["migmatrix", *sys.argv[1:]]),
    )


@app.command()
def run(
    file: FileOption = _DEFAULT_FILE,
    select: SelectOption = None,
    path: PathOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")] = os.cpu_count() or 1,
    out: Annotated[Path | None, typer.Option("--out", help="run directory; default runs/MATRIX-PLAN")] = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run the matrix: 0 nothing unexpected, 1 regressions, 3 incomplete."""
    options = _options(file, select, path, shard, seed, store, jobs, out)
    clean_up(_log)
    prepared = prepare_plan(options, _log)
    for line in render_plan(prepared.plan):
        _log(line)
    report = execute(prepared, options, Progress(_err), _log)
    _conclude(report, as_json=as_json)


def _conclude(report: RunReport, *, as_json: bool) -> None:
    if as_json:
        print((Path(report.run_dir) / "report.json").read_text())  # noqa: T201
    else:
        render_terminal(report, _out)
    raise typer.Exit(report.exit_code)


@app.command()
def judge(
    run: RunArgument,
    known_issues: Annotated[Path | None, typer.Option(help="known-issues file to judge by")] = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a stored run again from its evidence, and write its reports anew."""
    with RunStore.open(run) as store:
        file = known_issues or (Path(text) if (text := store.meta()["known_issues_file"]) else None)
        for before, after in judge_again(store, file):
            _log(f"{after.cell.id}: {before.outcome} -> {after.outcome}, {after.signature or after.reason}")
        report = load_report(store)
        write_reports(report, run)
        _conclude(report, as_json=as_json)


@app.command()
def report(run: RunArgument, as_json: JsonOption = False) -> None:
    """Write the reports of a stored run anew, and print its summary."""
    with RunStore.open(run) as store:
        loaded = load_report(store)
        write_reports(loaded, run)
        _conclude(loaded, as_json=as_json)


@app.command()
def show(
    run: RunArgument,
    cell: Annotated[str, typer.Argument(help="cell id, or a part of one")],
    as_json: JsonOption = False,
) -> None:
    """Show one cell: verdict, cause, command lines, stderr, QMP exchange."""
    with RunStore.open(run) as store:
        print(render_cell(store, cell, as_json=as_json))  # noqa: T201


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"migmatrix {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None: ...


def main() -> None:
    """Entry point: one line for the user's mistakes and the host's failures, a traceback for bugs."""
    try:
        app()
    except UserError as err:
        _log(f"migmatrix: {err}")
        sys.exit(ExitCode.USAGE)
    except InfrastructureError as err:
        _log(f"migmatrix: {err}")
        sys.exit(ExitCode.INCOMPLETE)
    except KeyboardInterrupt:
        sys.exit(ExitCode.INTERRUPTED)

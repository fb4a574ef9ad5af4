"""The commands of `migmatrix`: their options, and which part of the session they call.

`harness.cli` starts this, and turns the errors that leave it into one line and an exit code. The options of
`stream` are those of `harness.commands.stream`, so that they are said once.
"""

from __future__ import annotations

import json
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from migmatrix.harness import __version__
from migmatrix.harness.commands.advise import app as advise_app
from migmatrix.harness.commands.bisect import app as bisect_app
from migmatrix.harness.commands.compat import app as compat_app
from migmatrix.harness.commands.explain import explain, explain_after
from migmatrix.harness.commands.mutate import mutate
from migmatrix.harness.commands.stream import main as read_streams
from migmatrix.harness.plan import parse_shard, render_plan, to_json
from migmatrix.harness.report import Progress, RunReport, render_terminal, write_reports
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.run.pipeline import (
    RunOptions,
    clean_up,
    execute,
    list_builds,
    prepare_builds,
    prepare_plan,
)
from migmatrix.harness.select import Selection
from migmatrix.harness.store import RunStore, default_store
from migmatrix.harness.stored.merge import merge as merge_runs
from migmatrix.harness.stored.reports import judge_again, load_report
from migmatrix.harness.stored.show import list_cells, render_cell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.config.matrix import EngineName

__all__ = ["app"]

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
app.add_typer(compat_app, name="compat")
app.add_typer(bisect_app, name="bisect")
app.add_typer(advise_app, name="advise")

_out, _err = Console(), Console(stderr=True)

FileOption = Annotated[Path, typer.Option("-f", "--file", help="matrix file")]
SelectOption = Annotated[
    list[str] | None, typer.Option("--select", help="key=glob; repeat to narrow, a comma means or")
]
PathOption = Annotated[list[str] | None, typer.Option("--path", help="walk this path, A>B>C, instead")]
ShardOption = Annotated[str | None, typer.Option("--shard", help="I/N: this share of the cells")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="seed of the sample of chains")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")]
EngineOption = Annotated[
    Literal["docker", "process"] | None,
    typer.Option("--engine", help="where the reference emulator runs; default as the matrix says"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
RunArgument = Annotated[Path, typer.Argument(help="run directory", metavar="RUN")]

_DEFAULT_FILE = Path("matrix.yaml")
_STORE_LIMIT = 20.0  # GiB
_JOBS = (os.cpu_count() or 1) + 1  # an emulator that starts or ends leaves its processor idle for a moment


def _log(line: str) -> None:
    _err.print(line, highlight=False, markup=False, soft_wrap=True)


def _say(text: str) -> None:
    _out.print(text, highlight=False, markup=False, soft_wrap=True)


def _store(given: Path | None) -> Path:
    return given if given is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


@builds_app.command("list")
def builds_list(
    file: FileOption = _DEFAULT_FILE,
    store: StoreOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show every build of the matrix: version, digest, where it came from; makes nothing."""
    _show_builds(list_builds(file, _store(store), _log, engine=engine), as_json=as_json)


@builds_app.command("prepare")
def builds_prepare(
    ids: Annotated[list[str] | None, typer.Argument(help="builds, default all", metavar="ID")] = None,
    file: FileOption = _DEFAULT_FILE,
    store: StoreOption = None,
    refresh: Annotated[bool, typer.Option(help="make images anew")] = False,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Get images and binaries ready."""
    builds = prepare_builds(file, _store(store), ids or [], _log, refresh=refresh, engine=engine)
    _show_builds(builds, as_json=as_json)


def _show_builds(builds: Mapping[str, PreparedBuild | None], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({id_: build and _facts(build) for id_, build in builds.items()}, indent=1))  # noqa: T201
        return
    for id_, build in builds.items():
        if build is None:
            _say(f"{id_:16} not prepared")
            continue
        package = f" ({build.facts.package})" if build.facts.package else ""
        _say(f"{id_:16} {build.facts.version}{package}, {build.facts.digest[:12]}, {build.origin}")


def _facts(build: PreparedBuild) -> dict[str, Any]:
    facts = build.facts
    return {
        "version": facts.version,
        "package": facts.package,
        "origin": build.origin,
        "digest": facts.digest,
        "image": build.image,
        "binary": build.binary,
        "args": build.args,
        "machines": [machine.name for machine in facts.machines],
        "capabilities": facts.capabilities,
    }


@app.command()
def plan(
    file: FileOption = _DEFAULT_FILE,
    select: SelectOption = None,
    path: PathOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    store: StoreOption = None,
    engine: EngineOption = None,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="every path")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the numbered plan and its cost; nothing is run."""
    prepared = prepare_plan(_options(file, select, path, shard, seed, store, engine), _log)
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
    engine: EngineName | None,
    jobs: int = 1,
    out: Path | None = None,
    store_limit: float = _STORE_LIMIT,
) -> RunOptions:
    return RunOptions(
        store_limit=int(store_limit * (1 << 30)),
        file=file,
        store=_store(store),
        select=tuple(select or ()),
        paths=tuple(path or ()),
        shard=parse_shard(shard) if shard else None,
        seed=seed,
        jobs=jobs,
        out=out,
        engine=engine,
        command=shlex.join(["migmatrix", *sys.argv[1:]]),
    )


@app.command()
def run(
    file: FileOption = _DEFAULT_FILE,
    select: SelectOption = None,
    path: PathOption = None,
    shard: ShardOption = None,
    seed: SeedOption = None,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="emulators at once")] = _JOBS,
    out: Annotated[Path | None, typer.Option("--out", help="run directory; default runs/MATRIX-PLAN")] = None,
    store: StoreOption = None,
    engine: EngineOption = None,
    store_limit: Annotated[
        float, typer.Option(min=0, help="GiB of streams that stay in the store afterwards")
    ] = _STORE_LIMIT,
    explained: Annotated[
        bool, typer.Option("--explain", help="explain every failing signature afterwards")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the matrix: 0 nothing unexpected, 1 regressions, 3 incomplete."""
    options = _options(file, select, path, shard, seed, store, engine, jobs, out, store_limit)
    clean_up(_log)
    prepared = prepare_plan(options, _log)
    for line in render_plan(prepared.plan):
        _log(line)
    report = execute(prepared, options, Progress(_err), _log)
    if explained and not report.interrupted:
        explain_after(Path(report.run_dir), options.store, jobs, quiet=as_json)
        with RunStore.open(Path(report.run_dir)) as stored:
            report = load_report(stored)
    _conclude(report, as_json=as_json)


def _conclude(report: RunReport, *, as_json: bool) -> None:
    if as_json:
        print(render_json(report))  # noqa: T201
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
def report(run: RunArgument, select: SelectOption = None, as_json: JsonOption = False) -> None:
    """Write the reports of a stored run anew, and print its summary, or that of the selected cells."""
    with RunStore.open(run) as store:
        loaded = load_report(store)
        write_reports(loaded, run)
        if select:
            chosen = Selection.parse(select)
            results = [result for result in loaded.results if chosen.selects_result(result)]
            loaded = replace(loaded, results=results, selection=(*loaded.selection, *select))
        _conclude(loaded, as_json=as_json)


@app.command()
def merge(
    runs: Annotated[list[Path], typer.Argument(help="run directories of all shards", metavar="RUN...")],
    out: Annotated[Path, typer.Option("--out", help="run directory of the whole")],
    as_json: JsonOption = False,
) -> None:
    """Make one run of the runs of its shards: 3 when one is missing or did not end."""
    merge_runs(runs, out)
    with RunStore.open(out) as store:
        report = load_report(store)
        write_reports(report, out)
        _conclude(report, as_json=as_json)


@app.command()
def show(
    run: RunArgument,
    cell: Annotated[str | None, typer.Argument(help="cell id, or a part of one")] = None,
    select: SelectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one cell: verdict, cause, command lines, stderr, QMP exchange. Without CELL, list the cells."""
    with RunStore.open(run) as store:
        if cell is not None:
            print(render_cell(store, cell, as_json=as_json))  # noqa: T201
            return
        for line in list_cells(store, Selection.parse(select or ()), as_json=as_json):
            print(line)  # noqa: T201


app.command()(explain)
app.command()(mutate)


@app.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_extra_args": True}
)
def stream(context: typer.Context) -> None:
    """Read, compare and check migration streams."""
    raise typer.Exit(read_streams(context.args))


def _version(wanted: bool) -> None:
    if wanted:
        _say(f"migmatrix {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="print it")] = False,
) -> None: ...

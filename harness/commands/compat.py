"""The commands `migmatrix compat extract|diff|lint|static`: compat tables of builds and of ``compat/``.

`extract` writes or checks the tables of a build, `diff` compares two builds, `lint` looks for mistakes, `static`
marks the red cells of a run.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.compat.diff import differing
from migmatrix.harness.compat.effective import tables_of, types_of
from migmatrix.harness.compat.extract import check, fetch, write
from migmatrix.harness.compat.lint import lint_binary, lint_history, lint_tables
from migmatrix.harness.compat.static import StaticTools
from migmatrix.harness.compat.tables import read
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import version_key
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import prepare_builds
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.select import Selection
from migmatrix.harness.store import RunStore, default_store
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.compat.effective import TypeFacts
    from migmatrix.harness.compat.lint import Finding
    from migmatrix.harness.compat.tables import Table
    from migmatrix.harness.model import Stage

__all__ = ["app"]

FileOption = Annotated[Path, typer.Option("-f", "--file", help="matrix file")]
TablesOption = Annotated[Path, typer.Option("--tables", help="tables, also of builds before 9.1")]
StoreOption = Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")]
JsonOption = Annotated[bool, typer.Option("--json", help="for machines")]
_FILE, _TABLES = Path("matrix.yaml"), Path("compat")

app = typer.Typer(help="QEMU's compat tables, read from builds.", no_args_is_help=True)


@app.command()
def extract(
    build: Annotated[str, typer.Argument(help="a build of the matrix, QEMU 9.1 or later", metavar="BUILD")],
    file: Annotated[Path, typer.Option("-f", "--file", help="matrix file")] = Path("matrix.yaml"),
    out: Annotated[Path | None, typer.Option("--out", help="write the tables there, keep life-times")] = None,
    against: Annotated[Path, typer.Option("--check", help="without --out: compare with these")] = Path(
        "compat"
    ),
    store: Annotated[Path | None, typer.Option("--store", help="hop store, shared by runs")] = None,
) -> None:
    """Ask a build for its compat entries: write them with --out, else compare; exit 1 when they differ."""
    prepared = _prepared(file, store, [build])[build]
    props = fetch(prepared)
    if out is not None:
        typer.echo(f"{len(write(props, prepared, out))} tables of {prepared.facts.version} in {out}")
        return
    differing = check(props, prepared, against)
    typer.echo("\n".join(differing) or f"{against} is as {prepared.facts.version} says")
    raise typer.Exit(ExitCode.REGRESSIONS if differing else ExitCode.OK)


def _prepared(file: Path, store: Path | None, ids: Sequence[str]) -> dict[str, PreparedBuild]:
    return prepare_builds(file, _place(store), ids, lambda line: typer.echo(line, err=True))


def _place(store: Path | None) -> Path:
    return store if store is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())


@app.command()
def diff(
    first: Annotated[str, typer.Argument(help="a build of the matrix", metavar="BUILD")],
    second: Annotated[str, typer.Argument(help="another one", metavar="BUILD")],
    machine: Annotated[str, typer.Option("--machine", help="a versioned machine type that both know")],
    file: FileOption = _FILE,
    tables: TablesOption = _TABLES,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """What two builds set differently for a machine type: 1 when anything but a newer table's entry differs."""
    builds = _prepared(file, store, [first, second])
    one, two = builds[first], builds[second]
    for build in (one, two):
        if not build.facts.knows_machine(machine):
            raise UserError(f"build {build.id!r} does not know the machine {machine!r}")
    found = differing(one, tables_of(one, tables), two, tables_of(two, tables), machine)
    if as_json:
        typer.echo(json.dumps([d.to_json() for d in found], indent=1))
    else:
        typer.echo("\n".join(d.text for d in found) or f"{first} and {second} set the same for {machine}")
    raise typer.Exit(ExitCode.OK if all(d.expected for d in found) else ExitCode.REGRESSIONS)


@app.command()
def lint(
    build: Annotated[
        str | None, typer.Argument(help="a build of the matrix; default only the tables", metavar="[BUILD]")
    ] = None,
    file: FileOption = _FILE,
    tables: TablesOption = _TABLES,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mistakes in compat tables; of BUILD with what it and the matrix's older builds know: 1 when there are any."""
    found = list(lint_tables(read(tables)) if build is None else _lint_build(build, file, tables, store))
    if as_json:
        typer.echo(json.dumps([f.to_json() for f in found], indent=1))
    else:
        typer.echo("\n".join(f.text for f in found) or "nothing found")
    raise typer.Exit(ExitCode.REGRESSIONS if any(f.counts for f in found) else ExitCode.OK)


def _lint_build(name: str, file: Path, directory: Path, store: Path | None) -> Iterable[Finding]:
    """The tables that a build has, against its own binary and the older ones of the matrix."""
    builds = _prepared(file, store, [])
    if name not in builds:
        raise UserError(f"unknown build {name!r}")
    build = builds[name]
    tables = _living(tables_of(build, directory), build.facts.version)
    age = version_key(build.facts.version)
    older = [b for b in builds.values() if version_key(b.facts.version) < age and not b.args]
    types = asyncio.run(_types([build, *older], tables, load_matrix(file).policy.deadlines))
    yield from lint_tables(tables)
    yield from lint_binary(tables, types[name], name)
    yield from lint_history(tables, [(b.id, b.facts.version, types[b.id]) for b in older])


def _living(tables: Mapping[str, Table], version: str) -> dict[str, Table]:
    """The tables with the entries that a release has."""
    return {
        name: replace(
            table,
            entries=tuple(e for e in table.entries if lives(e.shipped or table.began, e.until, version)),
        )
        for name, table in tables.items()
    }


async def _types(
    builds: Sequence[PreparedBuild], tables: Mapping[str, Table], deadlines: Mapping[Stage, float]
) -> dict[str, dict[str, TypeFacts]]:
    names = {entry.device for table in tables.values() for entry in table.entries}
    async with opened(None, Settings(1, deadlines), lambda line: typer.echo(line, err=True)) as where:
        return {build.id: await types_of(where.engine, build, names, deadlines) for build in builds}


@app.command()
def static(
    run: Annotated[Path, typer.Argument(help="run directory", metavar="RUN")],
    select: Annotated[list[str] | None, typer.Option("--select", help="key=glob on results")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="matrix, if not the run's own")] = None,
    tables: TablesOption = _TABLES,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark every red cell of a run: whether the tables, or -dump-vmstate, show it without a migration."""
    selection = Selection.parse(select or ())
    with RunStore.open(run) as opened:
        failing = [r for r in opened.results() if r.verdict is Verdict.FAIL and selection.selects_result(r)]
        origin = Origin.of_run(
            opened, file, _place(store) / "builds", lambda line: typer.echo(line, err=True)
        )
    tools = StaticTools(origin.builds, tables)
    found = {r.cell.id: tools.sees(r) for r in failing if r.hop is not None and r.cause is not None}
    if as_json:
        rows = {cell: {"seen": view.seen, **asdict(view)} for cell, view in found.items()}
        typer.echo(json.dumps(rows, indent=1))
        return
    for cell, view in found.items():
        typer.echo(f"{cell}: {view.text}")
    seen = sum(view.seen for view in found.values())
    typer.echo(f"static tools see {seen} of {len(found)} red cells")

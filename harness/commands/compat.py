# SPDX-License-Identifier: Apache-2.0
"""`migmatrix compat extract|diff|lint|static`: compat tables of builds, and those that come with the program."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness import interrupt
from migmatrix.harness.commands.options import (
    MATRIX,
    BuildArgument,
    FileOption,
    JsonOption,
    MachineOption,
    OtherFileOption,
    OutOption,
    RunArgument,
    SecondArgument,
    SelectOption,
    StoreOption,
    TablesOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.compat.diff import differing
from migmatrix.harness.compat.effective import tables_of, types_of
from migmatrix.harness.compat.extract import check, fetch, write
from migmatrix.harness.compat.lint import lint_binary, lint_history, lint_tables
from migmatrix.harness.compat.static import StaticTools
from migmatrix.harness.compat.tables import read, tables_directory
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import ExitCode, UserError
from migmatrix.harness.exports.formats import write_text
from migmatrix.harness.exports.sarif import diff_sarif, lint_sarif
from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import NO_TABLES, table_line, version_key
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.run.opening import opened, store_directory
from migmatrix.harness.run.pipeline import prepare_builds
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.select import Selection
from migmatrix.harness.stored.reports import open_run
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.compat.effective import TypeFacts
    from migmatrix.harness.compat.lint import Finding
    from migmatrix.harness.compat.tables import Table
    from migmatrix.harness.model import Stage

__all__ = ["app"]

CheckOption = Annotated[
    Path | None, typer.Option("--check", help="compare with these tables; default those of this program")
]

SarifOption = Annotated[Path | None, typer.Option("--sarif", help="write what is found as SARIF 2.1.0 too")]

app = typer.Typer(help="Read QEMU's compat tables from builds.", no_args_is_help=True)


@app.command()
def extract(
    build: BuildArgument,
    file: FileOption = MATRIX,
    out: OutOption = None,
    against: CheckOption = None,
    store: StoreOption = None,
) -> None:
    """Get the compat tables of a build.

    Ask a build of QEMU 9.1 or later for its compat entries. With --out write them there and keep the life-times
    that are there. Without it compare, and exit 1 when they differ.
    """
    tables = tables_directory(against)
    prepared = _prepared(file, store, [build])[build]
    props = fetch(prepared)
    if out is not None:
        say(f"{len(write(props, prepared, out))} tables of {prepared.facts.version} in {out}")
        return
    differing = check(props, prepared, tables)
    say("\n".join(differing) or f"{tables} is as {prepared.facts.version} says")
    raise typer.Exit(ExitCode.REGRESSIONS if differing else ExitCode.OK)


def _prepared(file: Path, store: Path | None, ids: Sequence[str]) -> dict[str, PreparedBuild]:
    return prepare_builds(file, store_directory(store), ids, log)


@app.command()
def diff(
    first: BuildArgument,
    second: SecondArgument,
    machine: MachineOption,
    file: FileOption = MATRIX,
    tables: TablesOption = None,
    store: StoreOption = None,
    sarif: SarifOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare what two builds set.

    Print the entries that they set differently for a machine type. Exit 1 when anything but an entry of a newer
    table differs.
    """
    chosen = tables_directory(tables)
    builds = _prepared(file, store, [first, second])
    one, two = builds[first], builds[second]
    for build in (one, two):
        if not build.facts.knows_machine(machine):
            raise UserError(f"build {build.id!r} does not know the machine {machine!r}")
    if not table_line(machine):
        log(f"{machine}: {NO_TABLES}")
    found = differing(one, tables_of(one, chosen), two, tables_of(two, chosen), machine)
    _write(sarif, lambda: diff_sarif(found, chosen, (first, second), machine))
    if as_json:
        say_json([d.to_json() for d in found])
    else:
        say("\n".join(d.text for d in found) or _alike(first, second, machine))
    raise typer.Exit(ExitCode.OK if all(d.expected for d in found) else ExitCode.REGRESSIONS)


def _alike(first: str, second: str, machine: str) -> str:
    """What to say where nothing differs: without tables nothing was compared."""
    what = "set the same" if table_line(machine) else "cannot be compared by tables"
    return f"{first} and {second} {what} for {machine}"


@app.command()
def lint(
    build: Annotated[
        str | None, typer.Argument(help="build of the matrix; default only the tables", metavar="[BUILD]")
    ] = None,
    file: FileOption = MATRIX,
    tables: TablesOption = None,
    store: StoreOption = None,
    sarif: SarifOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find mistakes in compat tables.

    With BUILD, hold its tables against what it and the older builds of the matrix know. Exit 1 when there are any.
    """
    chosen = tables_directory(tables)
    found = list(lint_tables(read(chosen)) if build is None else _lint_build(build, file, chosen, store))
    _write(sarif, lambda: lint_sarif(found, chosen))
    if as_json:
        say_json([f.to_json() for f in found])
    else:
        say("\n".join(f.text for f in found) or "nothing found")
    raise typer.Exit(ExitCode.REGRESSIONS if any(f.counts for f in found) else ExitCode.OK)


def _write(file: Path | None, render: Callable[[], str]) -> None:
    """Write a document to a file that was asked for."""
    if file is not None:
        write_text(file, render())


def _lint_build(name: str, file: Path, directory: Path, store: Path | None) -> Iterable[Finding]:
    """The tables that a build has, against its own binary and the older ones of the matrix."""
    builds = _prepared(file, store, [])
    if name not in builds:
        raise UserError(f"unknown build {name!r}")
    build = builds[name]
    tables = _living(tables_of(build, directory), build.facts.version)
    age = version_key(build.facts.version)
    older = [b for b in builds.values() if version_key(b.facts.version) < age and not b.args]
    types = interrupt.run(_types([build, *older], tables, load_matrix(file).policy.deadlines))
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
    async with opened(None, Settings(1, deadlines), log) as where:
        return {build.id: await types_of(where.engine, build, names, deadlines) for build in builds}


@app.command()
def static(
    run: RunArgument,
    select: SelectOption = None,
    file: OtherFileOption = None,
    tables: TablesOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Mark red cells that static tools see.

    Say for each whether the compat tables, or -dump-vmstate of the builds, show the failure without a migration.
    """
    chosen = tables_directory(tables)
    selection = Selection.parse(select or ())
    with open_run(run) as stored:
        failing = [r for r in stored.results() if r.verdict is Verdict.FAIL and selection.selects_result(r)]
        origin = Origin.of_run(stored, file, store_directory(store) / "builds", log)
    tools = StaticTools(origin.builds, chosen)
    found = {r.cell.id: tools.sees(r) for r in failing if r.hop is not None and r.cause is not None}
    if as_json:
        rows = {cell: {"seen": view.seen, **asdict(view)} for cell, view in found.items()}
        say_json(rows)
        return
    for cell, view in found.items():
        say(f"{cell}: {view.text}")
    seen = sum(view.seen for view in found.values())
    say(f"static tools see {seen} of {len(found)} red cells")

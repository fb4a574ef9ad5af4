"""`migmatrix compat extract BUILD`: the compat tables of a build, written to a directory or compared with one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from harness.compat_extract import check, fetch, write
from harness.errors import ExitCode
from harness.session import prepare_builds
from harness.store import default_store

__all__ = ["app"]

app = typer.Typer(help="QEMU's compat tables, read from builds.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `extract` a command of its own."""


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
    place = store if store is not None else Path(os.environ.get("MIGMATRIX_STORE") or default_store())
    prepared = prepare_builds(file, place, [build], lambda line: typer.echo(line, err=True))[build]
    props = fetch(prepared)
    if out is not None:
        typer.echo(f"{len(write(props, prepared, out))} tables of {prepared.facts.version} in {out}")
        return
    differing = check(props, prepared, against)
    typer.echo("\n".join(differing) or f"{against} is as {prepared.facts.version} says")
    raise typer.Exit(ExitCode.REGRESSIONS if differing else ExitCode.OK)

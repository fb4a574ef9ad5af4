# SPDX-License-Identifier: Apache-2.0
"""`migmatrix builds list|prepare|export|import`: the emulator builds of a matrix."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from migmatrix.harness.builds.archives import export_images, import_images
from migmatrix.harness.commands.options import (
    MATRIX,
    EngineOption,
    FileOption,
    IntoOption,
    JsonOption,
    StoreOption,
    log,
    say,
    say_json,
)
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import list_builds, prepare_builds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.builds import PreparedBuild

__all__ = ["app"]

BuildsArgument = Annotated[list[str] | None, typer.Argument(help="builds; default all", metavar="ID")]

app = typer.Typer(help="Get emulator builds ready.", no_args_is_help=True)


@app.command("list")
def list_all(
    file: FileOption = MATRIX,
    store: StoreOption = None,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the builds of a matrix.

    Print the version, digest and origin of each, as far as it is prepared. Make nothing.
    """
    _show(list_builds(file, store_directory(store), log, engine=engine), as_json=as_json)


@app.command()
def prepare(
    ids: BuildsArgument = None,
    file: FileOption = MATRIX,
    store: StoreOption = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="make images anew")] = False,
    engine: EngineOption = None,
    as_json: JsonOption = False,
) -> None:
    """Get images and binaries ready."""
    builds = prepare_builds(file, store_directory(store), ids or [], log, refresh=refresh, engine=engine)
    _show(builds, as_json=as_json)


@app.command()
def export(
    ids: BuildsArgument = None,
    file: FileOption = MATRIX,
    out: IntoOption = Path("images"),
    store: StoreOption = None,
    engine: EngineOption = None,
) -> None:
    """Write images to files, for other engines.

    Make what is not there yet. A job that imports the files makes none anew, and its legs have the same keys.
    """
    builds = prepare_builds(file, store_directory(store), ids or [], log, engine=engine)
    if not export_images(builds.values(), out, log):
        say("nothing to export: these builds run on this host")


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(help="files, or directories of them", metavar="FILE...")],
) -> None:
    """Load images that `builds export` wrote."""
    for line in import_images(paths, log):
        say(line)


def _show(builds: Mapping[str, PreparedBuild | None], *, as_json: bool) -> None:
    if as_json:
        say_json({id_: build and _facts(build) for id_, build in builds.items()})
        return
    for id_, build in builds.items():
        say(f"{id_:16} {_line(build) if build else 'not prepared'}")


def _line(build: PreparedBuild) -> str:
    package = f" ({build.facts.package})" if build.facts.package else ""
    return f"{build.facts.version}{package}, {build.facts.digest[:12]}, {build.origin}"


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

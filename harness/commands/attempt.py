# SPDX-License-Identifier: Apache-2.0
"""`migmatrix try`: a build of one's own against others, without a matrix file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from migmatrix.harness.commands.options import (
    JOBS,
    JobsOption,
    JsonOption,
    OutOption,
    StoreOption,
    command_line,
    log,
)
from migmatrix.harness.commands.run import conclude
from migmatrix.harness.report import Progress, progress_console
from migmatrix.harness.run.against import matrix_against
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.run.pipeline import RunOptions, execute, prepare_plan

__all__ = ["attempt"]


def attempt(
    binary: Annotated[Path, typer.Argument(help="emulator to try", metavar="BINARY")],
    against: Annotated[
        list[str] | None,
        typer.Option("--against", help="another emulator, or a glob of releases such as qemu-10*; repeat"),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option("--on", help="machine type; default the newest q35 that two know", metavar="M"),
    ] = None,
    use: Annotated[list[str] | None, typer.Option("--use", help="glob of built-in profiles; repeat")] = None,
    jobs: JobsOption = JOBS,
    out: OutOption = None,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try an emulator against releases.

    Migrate from it and to it. The matrix is left in runs/try-BINARY.yaml, for `migmatrix run -f`; releases run in
    containers.
    """
    text = matrix_against(binary, against or (), on, use or ())
    file = Path("runs") / f"try-{binary.name}.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    options = RunOptions(file=file, store=store_directory(store), jobs=jobs, out=out, command=command_line())
    prepared = prepare_plan(options, log)
    conclude(execute(prepared, options, Progress(progress_console()), log), as_json=as_json)

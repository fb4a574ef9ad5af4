# SPDX-License-Identifier: Apache-2.0
"""`migmatrix ci gitlab|github|kubernetes|tekton`: files for CI servers that run a matrix every night, in shards."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from migmatrix.harness import __version__
from migmatrix.harness.ci.emitters import (
    files_of,
    for_github,
    for_gitlab,
    for_kubernetes,
    for_tekton,
    named_from_the_top,
)
from migmatrix.harness.ci.kubernetes import Cluster
from migmatrix.harness.ci.scripts import Night
from migmatrix.harness.commands.history import EveryOption, cadence
from migmatrix.harness.commands.options import MATRIX, FileOption, WriteOption, command_line
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import UserError
from migmatrix.harness.exports.formats import write_text
from migmatrix.harness.run.pipeline import in_containers

__all__ = ["app"]

_INSTALL: Final = f"python3 -m pip install migmatrix=={__version__}"
_EVERY: Final = "24h"
_POD: Final = f"migmatrix:{__version__}"
_IMAGE: Final = "python:3.13"

ShardsOption = Annotated[int, typer.Option("--shards", min=1, help="jobs at once, each with a share")]
InstallOption = Annotated[str, typer.Option("--install", help="command that installs migmatrix")]
ScheduleOption = Annotated[str, typer.Option("--schedule", help="when to run: five fields of cron, UTC")]
PolicyOption = Annotated[
    Path | None, typer.Option("--policy", help="sign the merged run if it meets this policy")
]
PodImageOption = Annotated[
    str, typer.Option("--image", help="image with migmatrix, made from its Dockerfile")
]
HoursOption = Annotated[int, typer.Option("--hours", min=1, help="deadline of the shards")]
SizeOption = Annotated[str, typer.Option("--size", help="of the volume for store, runs and history")]
StorageOption = Annotated[str, typer.Option("--storage-class", help="of the volume, shared by nodes")]

app = typer.Typer(help="Write files for CI servers.", no_args_is_help=True)


@app.command()
def gitlab(
    shards: ShardsOption,
    file: FileOption = MATRIX,
    image: Annotated[str, typer.Option("--image", help="image of the jobs, with Python and pip")] = _IMAGE,
    install: InstallOption = _INSTALL,
    every: EveryOption = _EVERY,
    policy: PolicyOption = None,
    out: WriteOption = None,
) -> None:
    """Write a pipeline for GitLab CI.

    It prepares the builds, runs the shards, merges them, remembers the run in a history, and is as red as the merged
    run. Nothing is run here.
    """
    _write(for_gitlab(_night(file, shards, install, "", every, policy), image, command_line()), out)


@app.command()
def github(
    shards: ShardsOption,
    file: FileOption = MATRIX,
    install: InstallOption = _INSTALL,
    schedule: ScheduleOption = "17 2 * * *",
    every: EveryOption = _EVERY,
    policy: PolicyOption = None,
    out: WriteOption = None,
) -> None:
    """Write a workflow for GitHub Actions.

    It prepares the builds, runs the shards, merges them, remembers the run in a history, and is as red as the merged
    run. Nothing is run here.
    """
    _write(for_github(_night(file, shards, install, schedule, every, policy), command_line()), out)


@app.command()
def kubernetes(
    shards: ShardsOption,
    file: FileOption = MATRIX,
    image: PodImageOption = _POD,
    schedule: ScheduleOption = "17 1 * * *",
    merge_schedule: Annotated[
        str, typer.Option("--merge-schedule", help="when to merge: after the deadline of the shards")
    ] = "17 6 * * *",
    hours: Annotated[int, typer.Option("--hours", min=1, help="deadline of the shards")] = 4,
    size: Annotated[str, typer.Option("--size", help="of the volume for store, runs and history")] = "20Gi",
    storage_class: Annotated[
        str, typer.Option("--storage-class", help="of the volume, shared by nodes")
    ] = "",
    every: EveryOption = _EVERY,
    policy: PolicyOption = None,
    out: WriteOption = None,
) -> None:
    """Write manifests for Kubernetes.

    An Indexed Job for the shards and a job that merges them, by the clock, with a volume for store, runs and history.
    Nothing is run here.
    """
    night = _night(file, shards, "", schedule, every, policy)
    cluster = Cluster(image, size, storage_class, merge_schedule, hours, files_of(file, policy))
    _write(for_kubernetes(night, cluster, command_line()), out)


@app.command()
def tekton(
    shards: ShardsOption,
    file: FileOption = MATRIX,
    image: PodImageOption = _POD,
    hours: HoursOption = 4,
    size: SizeOption = "20Gi",
    storage_class: StorageOption = "",
    every: EveryOption = _EVERY,
    policy: PolicyOption = None,
    out: WriteOption = None,
) -> None:
    """Write a pipeline for Tekton.

    A task for each shard, and one that merges them whatever they end with, with a volume for store, runs and history.
    Nothing is run here.
    """
    cluster = Cluster(image, size, storage_class, "", hours, files_of(file, policy))
    _write(for_tekton(_night(file, shards, "", "", every, policy), cluster, command_line()), out)


def _night(
    file: Path, shards: int, install: str, schedule: str, every: str | None, policy: Path | None
) -> Night:
    """What is to be run each night, of a matrix that can be read."""
    name = named_from_the_top(file)
    signed_by = named_from_the_top(policy) if policy else ""
    if policy and not policy.is_file():
        raise UserError(f"no policy {str(policy)!r}")
    cadence(every)
    contained = in_containers(load_matrix(file))
    return Night(name, shards, contained, install, schedule, every or _EVERY, signed_by)


def _write(text: str, out: Path | None) -> None:
    """Write what was emitted; it is ASCII."""
    if out is None:
        sys.stdout.write(text)
        return
    write_text(out, text)

# SPDX-License-Identifier: Apache-2.0
"""`migmatrix init|doctor|profiles|schema`: what somebody wants before the first run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import TYPE_CHECKING, Annotated

import typer

from migmatrix.harness.commands.options import MATRIX, JsonOption, StoreOption, say, say_json
from migmatrix.harness.config.matrix import load_profiles
from migmatrix.harness.config.published import matrix_schema
from migmatrix.harness.config.shipped import PROFILES, START, matrices, shipped
from migmatrix.harness.errors import ExitCode, UserError, did_you_mean
from migmatrix.harness.run.doctor import examine
from migmatrix.harness.run.opening import store_directory
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from migmatrix.harness.model import Profile

__all__ = ["doctor", "init", "profiles", "schema"]


def init(file: Annotated[Path, typer.Argument(help="file to write", metavar="[FILE]")] = MATRIX) -> None:
    """Write a first, commented matrix file.

    Refuse to replace a file. The matrix runs at once: on the reference emulator, without a container engine.
    """
    try:
        with file.open("x") as target:
            target.write(shipped(*START).read_text())
    except FileExistsError as err:
        raise UserError(f"{str(file)!r} exists and is left as it is") from err
    except OSError as err:
        raise UserError(f"cannot write {str(file)!r}: {err.strerror}") from err
    named = "" if file == MATRIX else f" -f {file}"
    say(f"wrote {file}; next: migmatrix plan{named}, migmatrix run{named}")


def doctor(store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Say whether this host can run matrices.

    A line for each thing. Exit 3 when one is missing that every run needs.
    """
    found = list(examine(store_directory(store)))
    if as_json:
        say_json([asdict(finding) for finding in found])
    for finding in () if as_json else found:
        say(
            f"{'ok' if finding.fit else 'MISSING' if finding.needed else 'no':8} {finding.name:12} {finding.text}"
        )
    unfit = any(finding.needed and not finding.fit for finding in found)
    raise typer.Exit(ExitCode.INCOMPLETE if unfit else ExitCode.OK)


def profiles(
    wanted: Annotated[
        list[str] | None, typer.Argument(help="globs of names; default all", metavar="GLOB")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the built-in profiles and matrices.

    A matrix file takes profiles by `profiles: {use: [GLOB]}`; -f takes the name of a matrix.
    """
    known = {profile.name: profile for profile in load_profiles(shipped(*PROFILES))}
    for glob in wanted or ():
        if not any(glob_match(name, glob) for name in known):
            raise UserError(f"{glob!r} matches no profile: {did_you_mean(glob.strip('*?'), known)}")
    chosen = [p for p in known.values() if not wanted or any(glob_match(p.name, glob) for glob in wanted)]
    if as_json:
        say_json([{**asdict(profile)} for profile in chosen])
        return
    for profile in chosen:
        say(_line(profile))
    if not wanted:
        say(f"\nmatrices, for -f: {', '.join(matrices())}")


def _line(profile: Profile) -> str:
    return f"{profile.name:24} {profile.description or ' '.join(profile.args)}"


def schema() -> None:
    """Print the JSON schema of the matrix file.

    For an editor: begin the file with `# yaml-language-server: $schema=FILE`.
    """
    say_json(matrix_schema())

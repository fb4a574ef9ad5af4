# SPDX-License-Identifier: Apache-2.0
"""Which failure is meant: FINDING is a file of a search, or the directory of a run, and behind ``#`` which one of it.

``findings.json#PROFILE-NAME`` or ``#N`` (from 1), ``RUN#CELL`` as `explain` takes a cell. The name may be left out where
there is one only.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.harness.errors import UserError
from migmatrix.harness.explain.explain_run import representatives
from migmatrix.harness.model import Cell, Guest, Mode
from migmatrix.harness.run.definition import Origin
from migmatrix.harness.stored.reports import open_run
from migmatrix.harness.stored.show import find_cell
from migmatrix.harness.trials.records import Step, Trial, trial_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Subject", "subject_of"]


@dataclass(frozen=True, slots=True)
class Subject:
    """A failure with its builds ready. `machines` are others to try; `name` is for files, `signature` what it was."""

    name: str
    signature: str
    origin: Origin
    cell: Cell
    trial: Trial
    machines: tuple[str, ...]


def subject_of(named: str, file: Path | None, cache: Path, log: Callable[[str], None]) -> Subject:
    """Find what FINDING names and make its builds ready; `file` replaces the matrix that it was made of.

    UserError for a name that means none or several, and where the builds are not those that showed it.
    """
    path, which = _split(named)
    if path.is_dir() and not (path / "findings.json").is_file():
        return _of_run(path, which, file, cache, log)
    return _of_search(path / "findings.json" if path.is_dir() else path, which, file, cache, log)


def _split(named: str) -> tuple[Path, str]:
    """Path and name; a file whose own name has a ``#`` is that file."""
    if Path(named).exists():
        return Path(named), ""
    path, _, which = named.partition("#")
    return Path(path), which


# -- of a search -------------------------------------------------------------------------------


def _of_search(path: Path, which: str, file: Path | None, cache: Path, log: Callable[[str], None]) -> Subject:
    data = _read(path)
    row = _chosen(_rows(data, path), which, path)
    meta = data.get("origin", {"builds": []})
    if file is None and "definition" not in meta:
        raise UserError(f"{str(path)!r} does not say how its builds are made: name its matrix with -f")
    origin = Origin.of_meta(meta, file, cache, log)
    try:
        trial = _trial(row, origin)
        name, signature = _name(row), str(row["signature"])
    except KeyError as err:
        raise UserError(f"{str(path)!r} holds no finding of a search: {err.args[0]!r} is missing") from err
    _refuse_other_versions(data.get("builds", {}), trial, origin)
    cell = Cell(trial.machine, name, tuple(row["path"]), trial.mode.name, trial.guest.name)
    return Subject(name, signature, origin, cell, trial, tuple(data.get("machines", ())))


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except OSError as err:
        raise UserError(f"cannot read {str(path)!r}: {err.strerror}") from err
    except ValueError as err:
        raise UserError(f"{str(path)!r} is no JSON: {err}") from err
    if not isinstance(data, dict):
        raise UserError(f"{str(path)!r} holds no findings")
    return data


def _rows(data: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    """The findings of a file; one that is a finding itself has that one."""
    rows = data.get("findings", [data] if "signature" in data else [])
    if not rows:
        raise UserError(f"{str(path)!r} holds no findings")
    return list(rows)


def _name(row: Mapping[str, Any]) -> str:
    """That of its profile; of one that is no profile for a matrix, its kind and signature."""
    words = row.get("profile") or f"{row.get('kind', 'found')} {row.get('signature', '')}"
    return re.sub(r"[^\w.+@:/-]+", "-", str(words)).strip("-")


def _chosen(rows: list[dict[str, Any]], which: str, path: Path) -> dict[str, Any]:
    names = list(map(_name, rows))
    if which.isascii() and which.isdecimal() and 0 < int(which) <= len(rows):
        return rows[int(which) - 1]
    found = [row for row, name in zip(rows, names, strict=True) if which in ("", name)]
    if len(found) == 1:
        return found[0]
    what = f"has no finding {which!r}" if which and not found else f"has {len(found)} findings"
    raise UserError(f"{str(path)!r} {what}: name one behind a '#': {', '.join(names)}")


def _trial(row: Mapping[str, Any], origin: Origin) -> Trial:
    missing = [build for build in row["path"] if build not in origin.builds]
    if missing:
        raise UserError(f"the matrix has no build {missing[0]!r}, which the finding has")
    return Trial(
        machine=row["machine"],
        arguments=tuple(row["arguments"]),
        path=tuple(Step(build) for build in row["path"]),
        mode=_mode(origin, row["mode"]),
        guest=_guest(origin, row["guest"]),
    )


def _refuse_other_versions(versions: Mapping[str, str], trial: Trial, origin: Origin) -> None:
    """Of a file that has no digests of its builds."""
    for step in trial.path:
        here = origin.builds[step.build].facts.version
        if versions.get(step.build, here) != here:
            raise UserError(
                f"build {step.build!r} is {here} here, another than the finding's {versions[step.build]}"
            )


def _mode(origin: Origin, name: str) -> Mode:
    """By its name; a search reduces to the plain mode and guest, which the matrix need not have."""
    found = {"snapshot": Mode("snapshot"), **origin.modes}.get(name)
    if found is None:
        raise UserError(f"the matrix has no mode {name!r}, which the finding has")
    return found


def _guest(origin: Origin, name: str) -> Guest:
    found = {"paused": Guest("paused", "paused"), **origin.guests}.get(name)
    if found is None:
        raise UserError(f"the matrix has no guest {name!r}, which the finding has")
    return found


# -- of a run ----------------------------------------------------------------------------------


def _of_run(
    directory: Path, which: str, file: Path | None, cache: Path, log: Callable[[str], None]
) -> Subject:
    with open_run(directory) as run:
        every = list(run.results())
        if which:
            result = find_cell(run, which)
        else:
            failing = representatives(run, every, file)
            if len(failing) != 1:
                some = ", ".join(r.cell.id for r in failing)
                what = (
                    f"has {len(failing)} failures: name one behind a '#': {some}"
                    if failing
                    else "has no failure"
                )
                raise UserError(f"{str(directory)!r} {what}")
            result = failing[0]
        if not result.signature:
            raise UserError(f"{result.cell.id!r} is {result.verdict.value}: there is nothing to report")
        origin = Origin.of_run(run, file, cache, log)
    trial = trial_of(origin, result.cell)
    path = trial.path[: (result.hop or len(trial.path) - 1) + 1]
    cell = replace(result.cell, path=tuple(step.build for step in path))
    machines = tuple(dict.fromkeys(r.cell.machine for r in every))
    return Subject(result.cell.profile, result.signature, origin, cell, replace(trial, path=path), machines)

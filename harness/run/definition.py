# SPDX-License-Identifier: Apache-2.0
"""What a stored run was made of, enough to run its cells again: builds, arguments, modes, guests, deadlines.

A run keeps its definition. A run that is older than this has only the name of its matrix file, which is read instead.
A build counts as the same when its content has the same digest, wherever its image came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.providers import spec_from_json, spec_to_json
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import UserError
from migmatrix.harness.model import Guest, Mode, Profile, Stage  # noqa: TC001 - pydantic reads the annotations

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from migmatrix.harness.builds import BuildSpec, PreparedBuild
    from migmatrix.harness.config import Matrix
    from migmatrix.harness.store import RunStore

__all__ = ["Origin", "definition", "sides_of_run"]


@dataclass(frozen=True, slots=True)
class _Definition:
    """What is kept in the run's meta table under `definition`."""

    builds: tuple[dict[str, Any], ...]  # `spec_to_json`
    profiles: tuple[Profile, ...]
    modes: tuple[Mode, ...]
    guests: tuple[Guest, ...]
    default_args: tuple[str, ...]
    deadlines: dict[Stage, float]
    retries: int


_DEFINITION = TypeAdapter(_Definition)


def definition(matrix: Matrix, builds: Mapping[str, BuildSpec]) -> Any:
    """Return the part of a matrix that cells depend on, as JSON; `Origin.of_run` reads it back."""
    return _DEFINITION.dump_python(_of_matrix(matrix, builds), mode="json")


def _of_matrix(matrix: Matrix, builds: Mapping[str, BuildSpec]) -> _Definition:
    return _Definition(
        builds=tuple(map(spec_to_json, builds.values())),
        profiles=matrix.profiles,
        modes=matrix.modes,
        guests=matrix.guests,
        default_args=matrix.default_args,
        deadlines=dict(matrix.policy.deadlines),
        retries=matrix.policy.retries,
    )


@dataclass(frozen=True, slots=True)
class Origin:
    """A run's definition with its builds ready."""

    builds: Mapping[str, PreparedBuild]
    profiles: Mapping[str, Profile]
    modes: Mapping[str, Mode]
    guests: Mapping[str, Guest]
    default_args: tuple[str, ...]
    deadlines: Mapping[Stage, float]
    retries: int

    @classmethod
    def of_matrix(cls, matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> Origin:
        """A matrix with its builds ready."""
        return cls._with(_of_matrix(matrix, matrix.builds), builds)

    @classmethod
    def of_run(cls, run: RunStore, file: Path | None, cache: Path, log: Callable[[str], None]) -> Origin:
        """Make the run's builds ready; UserError when they are not the ones of the run, or not to be had."""
        return cls.of_meta(run.meta(), file, cache, log)

    @classmethod
    def of_meta(
        cls, meta: Mapping[str, Any], file: Path | None, cache: Path, log: Callable[[str], None]
    ) -> Origin:
        """The same of what a run knows of itself: `definition`, and `builds` with id, version and digest of each."""
        found = _read(meta, file)
        specs = map(spec_from_json, found.builds)
        builds = prepare({spec.id: spec for spec in specs}, cache=cache, log=log)
        for row in meta["builds"]:
            _refuse_another(builds, row)
        return cls._with(found, builds)

    @classmethod
    def _with(cls, found: _Definition, builds: Mapping[str, PreparedBuild]) -> Origin:
        return cls(
            builds=builds,
            profiles={profile.name: profile for profile in found.profiles},
            modes={mode.name: mode for mode in found.modes},
            guests={guest.name: guest for guest in found.guests},
            default_args=found.default_args,
            deadlines=found.deadlines,
            retries=found.retries,
        )


def sides_of_run(run: RunStore, file: Path | None) -> tuple[dict[str, tuple[str, ...]], dict[str, Mode]]:
    """The arguments of each build of a run and its modes by name, without making a build ready."""
    found = _read(run.meta(), file)
    return {spec.id: spec.args for spec in map(spec_from_json, found.builds)}, {
        m.name: m for m in found.modes
    }


def _read(meta: Mapping[str, Any], file: Path | None) -> _Definition:
    if file is None and "definition" in meta:
        return _DEFINITION.validate_python(meta["definition"], strict=False)
    path = file or Path(meta["matrix_file"])
    if not path.exists():
        raise UserError(f"the run does not hold its matrix and there is no {str(path)!r}: name it with -f")
    matrix = load_matrix(path)
    return _of_matrix(matrix, matrix.builds)


def _refuse_another(builds: Mapping[str, PreparedBuild], row: Mapping[str, Any]) -> None:
    build = builds.get(row["id"])
    if build is None:
        raise UserError(f"the matrix has no build {row['id']!r}, which the run has")
    if build.facts.digest != row["digest"]:
        raise UserError(
            f"build {row['id']!r} is {build.facts.version} with digest {build.facts.digest[:12]} here, another than the"
            f" run's {row['version']} with {row['digest'][:12]}"
        )

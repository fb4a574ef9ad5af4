# SPDX-License-Identifier: Apache-2.0
"""The matrix file as one frozen record, made of the records of `harness.model`.

Everything that can be said without starting an emulator is checked here; what depends on what the builds know
(a machine type, a capability) is checked by `harness.plan`, with the positions kept in `Matrix.where`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypeVar

from pydantic import TypeAdapter

from migmatrix.harness.builds.providers import PROVIDERS
from migmatrix.harness.builds.spec import BuildSpec, Form, forms
from migmatrix.harness.config.collisions import collisions
from migmatrix.harness.config.nodes import Document, Loc, read_document
from migmatrix.harness.config.records import Name, validate
from migmatrix.harness.config.schema import (
    Chains,
    Common,
    GuestSpec,
    MatrixFile,
    ModeSpec,
    ProfileSpec,
    split_path,
)
from migmatrix.harness.config.selectors import selection_of
from migmatrix.harness.config.shipped import PROFILES, matrix_file, shipped
from migmatrix.harness.errors import ConfigError, Position, UserError, did_you_mean, together
from migmatrix.harness.model import Guest, Mode, Profile, Stage
from migmatrix.harness.select import glob_match
from migmatrix.harness.tested import Demand

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["ChainRule", "EngineName", "MachineRule", "Matrix", "PathRule", "Policy", "load_matrix"]

_DEADLINES = {
    Stage.START: 20.0,
    Stage.LOAD: 60.0,
    Stage.EQUALITY: 60.0,
    Stage.CHECK: 60.0,  # firmware on a busy host: the ROM of a network card is silent for 12 s under TCG
    Stage.RUN: 30.0,
    Stage.SAVE: 60.0,
    Stage.MIGRATE: 120.0,
    Stage.QUIT: 10.0,
}
EngineName = Literal["docker", "process"]
_Named = TypeVar("_Named", ModeSpec, GuestSpec)
_MATRIX = TypeAdapter(MatrixFile)
_PROFILES = TypeAdapter(dict[Name, ProfileSpec])


@dataclass(frozen=True, slots=True)
class Policy:
    """Deadlines in seconds per stage, repeats after a host failure, and what counts as what.

    `unusable` is about profiles that no build starts; `must_pass` are demands on the results.
    """

    deadlines: Mapping[Stage, float] = field(default_factory=lambda: MappingProxyType(dict(_DEADLINES)))
    retries: int = 2
    blocked: Literal["ok", "regression"] = "ok"
    unusable: Literal["error", "skip"] = "error"
    must_pass: tuple[Demand, ...] = ()


@dataclass(frozen=True, slots=True)
class MachineRule:
    """A machine by `name`, or the `common` types of a family, narrowed to `only` these versions."""

    name: str = ""
    common: str = ""
    only: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChainRule:
    """All chains of these lengths over the builds; `sample` cells of them are kept, drawn by `seed`."""

    lengths: tuple[int, ...] = (3,)
    repeats: bool = True
    sample: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class PathRule:
    """One path, for the machines and profiles that match the globs."""

    path: tuple[str, ...]
    machines: tuple[str, ...] = ("*",)
    profiles: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True)
class Matrix:
    """What a matrix file asks for.

    `pairs` is None for all pairs; `chains` is None for no chains. `explicit_builds` take part in the paths
    that name them, not in "all". `where` has the position of each named part, such as `("profiles", NAME)`,
    `("builds", ID)`, `("modes", NAME)` and `("machines", INDEX)`, for errors that are found later.
    """

    file: Path
    builds: Mapping[str, BuildSpec]
    machines: tuple[MachineRule, ...]
    profiles: tuple[Profile, ...]
    modes: tuple[Mode, ...]
    guests: tuple[Guest, ...]
    default_args: tuple[str, ...] = ()
    pairs: tuple[PathRule, ...] | None = None
    chains: ChainRule | None = None
    explicit: tuple[PathRule, ...] = ()
    explicit_builds: frozenset[str] = frozenset()
    engine: EngineName | None = None
    known_issues: Path | None = None
    policy: Policy = Policy()
    where: Mapping[Loc, Position] = field(default_factory=lambda: MappingProxyType({}))

    def mistake(self, message: str, *loc: str | int) -> UserError:
        """An error at the place of a named part, or without a place when that is not known."""
        position = self.where.get(loc)
        return UserError(message) if position is None else ConfigError(message, position)


def load_matrix(path: Path) -> Matrix:
    """Read a matrix file and the profiles file that it names.

    A plain name that is no file here, such as ``debian``, is a matrix that comes with the program; profiles without a
    `file` but with `use` are those that come with it. UserError when a file cannot be read, ConfigError with its position for the first mistake; arguments that collide
    with the harness's own are told all at once.
    """
    path = matrix_file(path)
    document = read_document(path)
    return _Loader(path, document, validate(_MATRIX, document)).matrix()


def load_profiles(path: Path) -> tuple[Profile, ...]:
    """Read a profiles file; errors as of `load_matrix`."""
    specs = validate(_PROFILES, read_document(path))
    return tuple(
        Profile(name, s.args, s.machines, s.description, s.explicit, s.architectures)
        for name, s in specs.items()
    )


class _Loader:
    """Turns the checked file into records, with the checks that need more than one place of it."""

    def __init__(self, path: Path, document: Document, spec: MatrixFile) -> None:
        self._path = path
        self._document = document
        self._spec = spec
        self._where: dict[Loc, Position] = {}
        self._collisions: list[ConfigError] = []

    def matrix(self) -> Matrix:
        matrix = self._matrix()
        found = sorted(self._collisions, key=lambda error: error.position)
        if found:
            raise together(found)
        return matrix

    def _matrix(self) -> Matrix:
        spec = self._spec
        return Matrix(
            file=self._path,
            builds=MappingProxyType(dict(self._builds())),
            machines=tuple(self._machines()),
            profiles=self._profiles(),
            modes=tuple(_mode(mode) for mode in self._distinct("modes", spec.modes)),
            guests=tuple(_guest(guest) for guest in self._distinct("guests", spec.guests)),
            default_args=self._args(self._document, ("defaults", "args"), spec.defaults.args),
            pairs=self._pairs(),
            chains=_chain_rule(spec.paths.chains),
            explicit=tuple(self._explicit()),
            explicit_builds=frozenset(id_ for id_, build in spec.builds.items() if build.explicit),
            engine=spec.engine,
            known_issues=self._known_issues(),
            policy=self._policy(),
            where=MappingProxyType(self._where),
        )

    def _error(self, message: str, *loc: str | int) -> ConfigError:
        return ConfigError(message, self._document.position(loc))

    def _builds(self) -> Iterable[tuple[str, BuildSpec]]:
        for id_, build in self._spec.builds.items():
            self._where["builds", id_] = self._document.key_position(("builds", id_))
            for key in self._document.data["builds"][id_]:
                self._where["builds", id_, key] = self._document.position(("builds", id_, key))
            self._args(self._document, ("builds", id_, "args"), build.args)
            given = build.model_dump(exclude={"explicit"})
            kind = PROVIDERS[given.pop("provider")].spec
            files = [name for name, form in forms(kind).items() if form is Form.FILE]
            yield id_, kind(id=id_, **given | {name: str(self._path.parent / given[name]) for name in files})

    def _machines(self) -> Iterable[MachineRule]:
        for index, machine in enumerate(self._spec.machines):
            self._where["machines", index] = self._document.position(("machines", index))
            if isinstance(machine, Common):
                yield MachineRule(common=machine.common, only=machine.only)
            else:
                yield MachineRule(name=machine)

    def _profiles(self) -> tuple[Profile, ...]:
        found = dict(self._profiles_of_file())
        for name, spec in self._spec.profiles.define.items():
            position = self._document.key_position(("profiles", "define", name))
            if name in found:
                file = self._spec.profiles.file
                known = repr(file) if file else "those of the program"
                raise ConfigError(f"profile {name!r} is also in {known}", position)
            self._where["profiles", name] = position
            found[name] = self._profile(self._document, ("profiles", "define", name), spec)
        if not found:
            raise self._error(
                "no profile: give a `file`, `use` some of the program's, or `define` one", "profiles"
            )
        return tuple(found.values())

    def _profiles_of_file(self) -> Iterable[tuple[str, Profile]]:
        if self._spec.profiles.file is None and "use" not in self._spec.profiles.model_fields_set:
            return
        document = read_document(self._profiles_file())
        specs = validate(_PROFILES, document)
        for index, glob in enumerate(self._spec.profiles.use):
            if not any(glob_match(name, glob) for name in specs):
                hint = did_you_mean(glob.strip("*?"), specs)
                raise self._error(f"{glob!r} matches no profile: {hint}", "profiles", "use", index)
        for name, spec in specs.items():
            if any(glob_match(name, glob) for glob in self._spec.profiles.use):
                self._where["profiles", name] = document.key_position((name,))
                yield name, self._profile(document, (name,), spec)

    def _profiles_file(self) -> Path:
        name = self._spec.profiles.file
        if name is None:
            return shipped(*PROFILES)
        file = self._path.parent / name
        if not file.is_file():
            raise self._error(f"no file {name!r}", "profiles", "file")
        return file

    def _profile(self, document: Document, loc: Loc, spec: ProfileSpec) -> Profile:
        """The profile at `loc`, whose last part is its name."""
        name = str(loc[-1])
        args = self._args(document, (*loc, "args"), spec.args)
        self._where.update(
            (("profiles", name, index), document.position((*loc, "args", index)))
            for index in range(len(args))
        )
        return Profile(name, args, spec.machines, spec.description, spec.explicit, spec.architectures)

    def _args(self, document: Document, loc: Loc, args: tuple[str, ...]) -> tuple[str, ...]:
        """The arguments at `loc`; those that would make the cell another one are noted as mistakes."""
        running = any(guest.kind == "firmware" for guest in self._spec.guests)
        self._collisions.extend(
            ConfigError(found.message, document.position((*loc, found.index)))
            for found in collisions(args, running=running)
        )
        return args

    def _distinct(self, key: str, specs: tuple[_Named, ...]) -> Iterable[_Named]:
        """The specs of a list, whose names must differ."""
        for index, spec in enumerate(specs):
            position = self._document.position((key, index))
            if (key, spec.name) in self._where:
                raise ConfigError(f"{spec.name!r} is twice in {key!r}", position)
            self._where[key, spec.name] = position
            yield spec

    def _pairs(self) -> tuple[PathRule, ...] | None:
        pairs = self._spec.paths.pairs
        if isinstance(pairs, str):
            return None if pairs == "all" else ()
        return tuple(
            PathRule(self._path_of(text, "paths", "pairs", index)) for index, text in enumerate(pairs)
        )

    def _explicit(self) -> Iterable[PathRule]:
        for index, rule in enumerate(self._spec.paths.explicit):
            self._where["explicit", index] = self._document.position(("paths", "explicit", index))
            path = self._path_of(rule.path, "paths", "explicit", index, "path")
            yield PathRule(path, rule.machines, rule.profiles)

    def _path_of(self, text: str, *loc: str | int) -> tuple[str, ...]:
        path = split_path(text)
        for build in path:
            if build not in self._spec.builds:
                hint = did_you_mean(build, list(self._spec.builds))
                raise self._error(f"unknown build {build!r} in path {text!r}: {hint}", *loc)
        return path

    def _known_issues(self) -> Path | None:
        name = self._spec.known_issues
        if name is None:
            return None
        file = self._path.parent / name
        if not file.is_file():
            raise self._error(f"no file {name!r}", "known_issues")
        return file

    def _policy(self) -> Policy:
        spec = self._spec.policy
        deadlines = {**_DEADLINES, **spec.deadline}
        return Policy(
            MappingProxyType(deadlines), spec.retries, spec.blocked, spec.unusable, tuple(self._demands())
        )

    def _demands(self) -> Iterable[Demand]:
        for index, spec in enumerate(self._spec.policy.must_pass):
            loc = ("policy", "must_pass", index, "select")
            terms = selection_of(self._document, loc, spec.select).terms
            yield Demand(tuple(map(str, terms)), spec.percent)


def _mode(spec: ModeSpec) -> Mode:
    return Mode(
        name=spec.name,
        transport=spec.transport or "",
        capabilities=spec.capabilities,
        parameters=tuple(sorted(spec.parameters.items())),
        source_capabilities=spec.source.capabilities,
        source_parameters=tuple(sorted(spec.source.parameters.items())),
        destination_capabilities=spec.destination.capabilities,
        destination_parameters=tuple(sorted(spec.destination.parameters.items())),
        postcopy=spec.postcopy is not None,
        passes=spec.postcopy.passes if spec.postcopy else 0,
        cut_within=spec.cut.within if spec.cut else 0,
        cut_seed=spec.cut.seed if spec.cut else 0,
        tls=spec.tls,
        memory=spec.memory or "",
        refused=spec.refused or "",
        check=spec.check or "",
    )


def _guest(spec: GuestSpec) -> Guest:
    return Guest(spec.name, spec.kind, 0.0 if spec.kind == "paused" else spec.seconds, spec.tasks)


def _chain_rule(spec: Chains | str) -> ChainRule | None:
    if isinstance(spec, str):
        return ChainRule() if spec == "all" else None
    return ChainRule(spec.length, spec.repeats, spec.sample, spec.seed)

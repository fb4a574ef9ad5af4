# SPDX-License-Identifier: Apache-2.0
"""The axes of the matrix once it is known what the builds can do: machines and paths.

A name that no build knows is the user's mistake and an error with its position; what only some builds know
drops cells with a reason.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from itertools import permutations, product
from typing import TYPE_CHECKING

from migmatrix.harness.config.matrix import PathRule
from migmatrix.harness.errors import did_you_mean, together
from migmatrix.harness.model import Role
from migmatrix.harness.plan.cannot import cannot_path
from migmatrix.harness.releases import machine_parts, type_key
from migmatrix.harness.select import glob_match

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.config.matrix import ChainRule, MachineRule, Matrix
    from migmatrix.harness.errors import UserError
    from migmatrix.harness.model import Mode, Profile

__all__ = [
    "CandidatePath",
    "PathSet",
    "applies",
    "candidate_paths",
    "check_known",
    "machines_of",
    "paths_for",
    "suits",
]


@dataclass(frozen=True, slots=True)
class CandidatePath:
    """A path of the matrix; `sampled` when it stands in for many and is subject to drawing."""

    rule: PathRule
    sampled: bool = False


@dataclass(slots=True)
class PathSet:
    """The candidates that can be walked with one machine and mode, and why the others cannot."""

    kept: list[CandidatePath] = field(default_factory=list)
    dropped: list[tuple[tuple[str, ...], tuple[str, str]]] = field(
        default_factory=list
    )  # path, (what, reason)

    def refused(self, what: str, reason: str) -> PathSet:
        """The same with nothing kept, for one reason more."""
        more = [(candidate.rule.path, (what, reason)) for candidate in self.kept]
        return PathSet([], [*self.dropped, *more])

    def without(self, what: str, reasons: Mapping[str, str]) -> PathSet:
        """The same less the paths with a build, by id, for which there is a reason; that of the first counts."""
        if not reasons:
            return self
        kept, dropped = [], [*self.dropped]
        for candidate in self.kept:
            path = candidate.rule.path
            if build := next((id_ for id_ in path if id_ in reasons), None):
                dropped.append((path, (what, reasons[build])))
            else:
                kept.append(candidate)
        return PathSet(kept, dropped)


def machines_of(matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> tuple[str, ...]:
    """The machines of the matrix in the order of the file, versions ascending, each once.

    UserError or ConfigError for a machine that no build knows by that name and for an empty `common`.
    """
    found: dict[str, None] = {}
    for index, rule in enumerate(matrix.machines):
        names = _common(matrix, builds, rule, index) if rule.common else _named(matrix, builds, rule, index)
        found.update(dict.fromkeys(names))
    return tuple(found)


def _named(
    matrix: Matrix, builds: Mapping[str, PreparedBuild], rule: MachineRule, index: int
) -> tuple[str, ...]:
    types = [machine for build in builds.values() for machine in build.facts.machines]
    if any(machine.name == rule.name for machine in types):
        return (rule.name,)
    if any(machine.alias == rule.name for machine in types):
        meant = sorted({m.name for m in types if m.alias == rule.name}, key=type_key)
        family, _ = machine_parts(meant[-1])
        problem = (
            f"{rule.name!r} means another machine in each build: name a versioned type,"
            f" for example {meant[-1]} or {{common: {family}}}"
        )
    else:
        hint = did_you_mean(rule.name, [machine.name for machine in types])
        problem = f"machine {rule.name!r} is known to no build: {hint}"
    raise matrix.mistake(problem, "machines", index)


def _common(
    matrix: Matrix, builds: Mapping[str, PreparedBuild], rule: MachineRule, index: int
) -> tuple[str, ...]:
    versions = _versions(rule.common, builds.values())
    if not versions:
        problem = f"no versioned machine type of {rule.common!r} is known to two builds"
        raise matrix.mistake(problem, "machines", index)
    wanted = [versions[-1] if version == "newest" else version for version in rule.only] or versions
    for version in wanted:
        if version not in versions:
            problem = f"{rule.common}-{version} is not known to two builds: known: {', '.join(versions)}"
            raise matrix.mistake(problem, "machines", index)
    return tuple(f"{rule.common}-{version}" for version in versions if version in wanted)


def _versions(family: str, builds: Iterable[PreparedBuild]) -> list[str]:
    """The versions of a machine family that two or more builds know, ascending."""
    parts = (machine_parts(m.name) for build in builds for m in build.facts.machines)
    known = Counter(version for of, version in parts if of == family and version)
    return sorted((version for version, count in known.items() if count > 1), key=type_key)


def candidate_paths(matrix: Matrix, by_hand: Sequence[tuple[str, ...]] = ()) -> tuple[CandidatePath, ...]:
    """Every path that the matrix asks for, each once; `by_hand` replaces them all."""
    if by_hand:
        every = tuple(profile.name for profile in matrix.profiles)  # explicit ones too
        return tuple(CandidatePath(PathRule(path, profiles=every)) for path in dict.fromkeys(by_hand))
    ids = [id_ for id_ in matrix.builds if id_ not in matrix.explicit_builds]
    pairs = map(PathRule, product(ids, repeat=2)) if matrix.pairs is None else matrix.pairs
    found = dict.fromkeys(pairs, False)
    if matrix.chains is not None:
        for path in _chains(ids, matrix.chains):
            found.setdefault(PathRule(path), matrix.chains.sample is not None)
    for rule in matrix.explicit:
        found[rule] = False
    return tuple(CandidatePath(rule, sampled) for rule, sampled in found.items())


def _chains(ids: list[str], rule: ChainRule) -> Iterator[tuple[str, ...]]:
    for length in rule.lengths:
        yield from product(ids, repeat=length) if rule.repeats else permutations(ids, length)


def paths_for(
    candidates: Sequence[CandidatePath], machine: str, mode: Mode, builds: Mapping[str, PreparedBuild]
) -> PathSet:
    """Split the candidates by whether every build on the path knows the machine and the capabilities."""
    result = PathSet()
    no_machine = {id_ for id_, build in builds.items() if not build.facts.knows_machine(machine)}
    lacks = _Lacks(mode, builds)
    for candidate in candidates:
        path = candidate.rule.path
        stranger = next((id_ for id_ in path if id_ in no_machine), None)
        if stranger is not None:
            result.dropped.append((path, (machine, f"{stranger} does not know the machine")))
        elif foreign := _foreign(path, builds):
            result.dropped.append((path, (machine, foreign)))
        elif reason := lacks.reason(path) or cannot_path(mode, path, builds, machine):
            result.dropped.append((path, (f"mode {mode.name}", reason)))
        else:
            result.kept.append(candidate)
    return result


def _foreign(path: tuple[str, ...], builds: Mapping[str, PreparedBuild]) -> str:
    """Why no guest can go this way: the builds that run guests of different architectures; or empty."""
    targets = {builds[id_].facts.target: id_ for id_ in path if builds[id_].facts.target}
    if len(targets) < 2:  # noqa: PLR2004 - one architecture
        return ""
    told = " and ".join(f"{id_} runs guests of {target}" for target, id_ in targets.items())
    return f"{told}: no guest goes from one to the other"


class _Lacks:
    """Which builds lack a capability that a mode sets on the source or on the destination side."""

    def __init__(self, mode: Mode, builds: Mapping[str, PreparedBuild]) -> None:
        self._source = _missing(builds, mode.side(Role.SOURCE).capabilities)
        self._destination = _missing(builds, mode.side(Role.DESTINATION).capabilities)

    def reason(self, path: tuple[str, ...]) -> str:
        """Why the path cannot be walked, or empty."""
        for side, ids in ((self._source, path[:-1]), (self._destination, path[1:])):
            for id_ in ids:
                if id_ in side:
                    return f"{id_} does not know the capability {side[id_]!r}"
        return ""


def _missing(builds: Mapping[str, PreparedBuild], wanted: tuple[str, ...]) -> dict[str, str]:
    """Build id to the first wanted capability that it lacks."""
    return {
        id_: capability
        for id_, build in builds.items()
        for capability in reversed(wanted)
        if capability not in build.facts.capabilities
    }


def check_known(matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> None:
    """ConfigError for a capability or a `-device` name that no build knows: it can only be a typo; all at once."""
    mistakes = [*_unknown_capabilities(matrix, builds), *_unknown_credentials(matrix, builds)]
    if matrix.policy.unusable == "error":
        mistakes += _unknown_devices(matrix, builds)
    if mistakes:
        raise together(mistakes)


def _unknown_capabilities(matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> Iterator[UserError]:
    known = sorted({name for build in builds.values() for name in build.facts.capabilities})
    for mode in matrix.modes:
        for name in dict.fromkeys(name for role in Role for name in mode.side(role).capabilities):
            if name not in known:
                problem = f"capability {name!r} is known to no build: {did_you_mean(name, known)}"
                yield matrix.mistake(problem, "modes", mode.name)


def _unknown_devices(matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> Iterator[UserError]:
    """Each at the place of the word."""
    for profile in matrix.profiles:
        meant = [build.facts for build in builds.values() if suits(profile, build.facts.target)]
        known = sorted({name for facts in meant for name in facts.devices})
        for index, name in _device_names(profile):
            if meant and name not in known:
                problem = f"no build accepts profile {profile.name!r}: device {name!r} is known to none"
                word = ("profiles", profile.name, index)
                place = word if word in matrix.where else word[:2]
                yield matrix.mistake(f"{problem}: {did_you_mean(name, known)}", *place)


def _unknown_credentials(matrix: Matrix, builds: Mapping[str, PreparedBuild]) -> Iterator[UserError]:
    """TLS credentials of a mode that no argument of any cell names, so that no object has that id."""
    lists = (matrix.default_args, *(p.args for p in matrix.profiles), *(b.args for b in builds.values()))
    words = {word for args in lists for arg in args for word in re.findall(r"[\w.-]+", arg)}
    if "-readconfig" in words:
        return
    for mode in matrix.modes:
        for name in dict.fromkeys(mode.side(role).parameters.get("tls-creds") for role in Role):
            if name and name not in words:
                problem = f"mode {mode.name!r} names the TLS object {name!r}, which no argument makes (-object ...,id={name})"
                yield matrix.mistake(problem, "modes", mode.name)


def _device_names(profile: Profile) -> Iterator[tuple[int, str]]:
    """The place among the arguments and the name of each device."""
    for index, (option, value) in enumerate(zip(profile.args, profile.args[1:], strict=False)):
        if option in ("-device", "--device") and not value.startswith("{"):
            yield index + 1, value.split(",", 1)[0].removeprefix("driver=")


def suits(profile: Profile, target: str) -> bool:
    """Whether a profile is meant for guests of that architecture; one that is not known suits all."""
    return not target or any(glob_match(target, glob) for glob in profile.architectures)


def applies(rule: PathRule, machine: str, profile: Profile) -> bool:
    """Whether a path is meant for a machine and a profile."""
    if profile.explicit and profile.name not in rule.profiles:
        return False
    return any(glob_match(machine, glob) for glob in rule.machines) and any(
        glob_match(profile.name, glob) for glob in rule.profiles
    )

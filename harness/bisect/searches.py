# SPDX-License-Identifier: Apache-2.0
"""From the options of a search to its answers: points, builds, journal, engine, `walk`.

The same options lead to the same journal, so the same command resumes a search.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from migmatrix.harness import interrupt
from migmatrix.harness.bisect.answer import Answer
from migmatrix.harness.bisect.cells import OPEN, CellProber
from migmatrix.harness.bisect.commits import CommandProber, CommitBuilds, history
from migmatrix.harness.bisect.journal import Journal
from migmatrix.harness.bisect.points import Line, lines_of, parse_path
from migmatrix.harness.bisect.records import Rules
from migmatrix.harness.bisect.walk import walk
from migmatrix.harness.builds import prepare
from migmatrix.harness.builds.bundle import Bundles, Sources
from migmatrix.harness.builds.emulator import EmulatorSpec
from migmatrix.harness.config import load_matrix
from migmatrix.harness.config.collisions import collisions
from migmatrix.harness.errors import UnusableBuild, UserError, did_you_mean
from migmatrix.harness.model import Guest, Mode, Profile
from migmatrix.harness.run.opening import opened
from migmatrix.harness.run.pipeline import prepare_builds
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.trials.records import Step, Trial

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from migmatrix.harness.bisect.cells import Builder
    from migmatrix.harness.bisect.commits import Commit
    from migmatrix.harness.bisect.records import Run
    from migmatrix.harness.bisect.walk import Prober
    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.config import Matrix
    from migmatrix.harness.config.matrix import EngineName

__all__ = ["CellOptions", "CommitOptions", "bisect_builds", "bisect_commits", "bisect_releases"]


T = TypeVar("T", Mode, Guest, Profile)


@dataclass(frozen=True, slots=True)
class CellOptions:
    """The cell and how it is searched; `arguments` are added to those of the profile, which may be empty.

    `out` is the directory of the journals, by default one below ``runs/``; `command` is the command line itself.
    """

    file: Path
    store: Path
    path: str = ""
    machine: str = ""
    profile: str = ""
    arguments: tuple[str, ...] = ()
    mode: str = ""
    guest: str = ""
    engine: EngineName | None = None
    out: Path | None = None
    rules: Rules = field(default_factory=Rules)
    command: str = ""


@dataclass(frozen=True, slots=True)
class CommitOptions:
    """A range of commits, the command that builds one, and the emulator in what it installs.

    `test` is a command instead of a cell: it decides as under `git bisect run`.
    """

    repository: Path
    good: str
    bad: str
    build: str = ""
    binary: str = "bin/qemu-system-x86_64"
    test: str = ""


def bisect_builds(options: CellOptions, log: Callable[[str], None]) -> list[Answer]:
    """Search the builds of the matrix, in the order of its file."""
    matrix = load_matrix(options.file)
    ends = {end for step in parse_path(options.path) for end in step.split("..")}
    order = [id_ for id_ in matrix.builds if id_ not in matrix.explicit_builds or id_ in ends]

    def get(name: str) -> PreparedBuild:
        return prepare_builds(options.file, options.store, [name], log, engine=options.engine)[name]

    return _along_names(options, matrix, order, get, log)


def bisect_releases(options: CellOptions, log: Callable[[str], None]) -> list[Answer]:
    """Search the releases of the reference emulator, point releases and candidates included."""
    matrix = load_matrix(options.file)
    cache = options.store / "builds"
    contained = (options.engine or matrix.engine) == "docker"

    def get(name: str) -> PreparedBuild:
        spec = EmulatorSpec(id=name, release=name, contained=contained)
        return prepare({name: spec}, cache=cache, log=log)[name]

    return _along_names(options, matrix, list(Bundles(cache, Sources.installed()).get().digests), get, log)


def _along_names(
    options: CellOptions,
    matrix: Matrix,
    order: Sequence[str],
    get: Callable[[str], PreparedBuild],
    log: Callable[[str], None],
) -> list[Answer]:
    """One answer per search of the path; the later ones follow the failure of the first."""
    found: list[Answer] = []
    for line in lines_of(parse_path(options.path), order):
        rules = options.rules
        if found and not rules.signature:
            rules = replace(rules, signature=found[0].finding.signature)
        fixed = {name: get(name) for name in line.path if name != OPEN}
        cell = _Cell(
            options, matrix, _trial(options, matrix, line.path), fixed, _Named(line.points, get), log
        )
        task = cell.task(line.points, rules)
        job = _Job(
            task, line.points, cell.text, line.side, rules, _directory(options, task), options.command, log
        )
        found.append(_versioned(job.answer(cell.prober), get))
    return found


def _versioned(answer: Answer, get: Callable[[str], PreparedBuild]) -> Answer:
    """The answer with the versions of the builds that it names: a name alone may not tell the point release."""
    names = list(answer.points)
    parent = answer.finding.parent
    for point in (*answer.finding.culprits, *(() if parent is None else (parent,))):
        try:
            facts = get(names[point]).facts
        except UnusableBuild:
            continue  # a range may hold what cannot be had, and says so
        # A package's version says more than the emulator's; that of the reference emulator is only a word.
        version = facts.package if any(map(str.isdigit, facts.package)) else facts.version
        if version not in (names[point], f"{names[point]}.0"):
            names[point] += f" ({version})"
    return replace(answer, points=tuple(names))


@dataclass(frozen=True, slots=True)
class _Named:
    """Builds by name, each got when it is needed."""

    names: Sequence[str]
    get: Callable[[str], PreparedBuild]

    async def build(self, point: int) -> PreparedBuild:
        return await asyncio.to_thread(self.get, self.names[point])


def bisect_commits(options: CellOptions, commits: CommitOptions, log: Callable[[str], None]) -> list[Answer]:
    """Search the commits of a repository, with a cell whose path has the step `@`, or with a command."""
    line, good_first = history(commits.repository, commits.good, commits.bad)
    log(f"{len(line) - 1} commits, from {'good to bad' if good_first else 'bad to good'}")
    return [(_by_command if commits.test else _by_cell)(options, commits, line, log)]


def _by_cell(
    options: CellOptions, commits: CommitOptions, line: Sequence[Commit], log: Callable[[str], None]
) -> Answer:
    matrix, route = load_matrix(options.file), Line(parse_path(options.path), ())
    if OPEN not in route.path:
        raise UserError(f"{options.path!r} has no step {OPEN!r}, where the builds of the commits go")
    names = [name for name in route.path if name != OPEN]
    prepared = prepare_builds(options.file, options.store, names, log, engine=options.engine) if names else {}
    rules = options.rules
    trial = _trial(options, matrix, route.path)
    task = {**_task(trial, prepared, [c.sha for c in line], rules), "build": [commits.build, commits.binary]}
    directory = _directory(options, task)
    builder = _commit_builds(options, commits, line, directory, log)
    cell = _Cell(options, matrix, trial, prepared, builder, log)
    return _Job(task, _titles(line), cell.text, route.side, rules, directory, options.command, log).answer(
        cell.prober
    )


def _by_command(
    options: CellOptions, commits: CommitOptions, line: Sequence[Commit], log: Callable[[str], None]
) -> Answer:
    task = {
        "command": commits.test,
        "build": [commits.build, commits.binary],
        "points": [commit.sha for commit in line],
        "rules": asdict(options.rules),
    }
    directory = _directory(options, task)
    builder = _commit_builds(options, commits, line, directory, log)

    @asynccontextmanager
    async def prober() -> AsyncIterator[Prober]:
        yield CommandProber(builder, commits.test, directory / "command.log")

    job = _Job(
        task, _titles(line), commits.test, "exit status", options.rules, directory, options.command, log
    )
    return job.answer(prober)


def _commit_builds(
    options: CellOptions,
    commits: CommitOptions,
    line: Sequence[Commit],
    directory: Path,
    log: Callable[[str], None],
) -> CommitBuilds:
    return CommitBuilds(
        repository=commits.repository.absolute(),
        commits=line,
        command=commits.build,
        binary=commits.binary,
        cache=(options.store / "builds").absolute(),
        checkouts=(directory / "checkouts").absolute(),
        log=log,
    )


def _titles(line: Sequence[Commit]) -> tuple[str, ...]:
    return tuple(f"{commit.sha[:12]} ({commit.subject})" for commit in line)


@dataclass(frozen=True)
class _Cell:
    """A cell with an open step, and what it takes to run it."""

    options: CellOptions
    matrix: Matrix
    trial: Trial
    fixed: Mapping[str, PreparedBuild]
    builder: Builder
    log: Callable[[str], None]

    @property
    def text(self) -> str:
        trial = self.trial
        profile = self.options.profile or "no profile"
        return f"{trial.machine}/{profile}/{trial.route}/{trial.mode.name}/{trial.guest.name}"

    def task(self, points: Sequence[str], rules: Rules) -> dict[str, Any]:
        return _task(self.trial, self.fixed, points, rules)

    @asynccontextmanager
    async def prober(self) -> AsyncIterator[Prober]:
        policy = self.matrix.policy
        settings = Settings(1, policy.deadlines, policy.retries)
        async with opened(None, settings, self.log) as where:
            yield CellProber(self.trial, self.fixed, self.builder, where)


@dataclass(frozen=True)
class _Job:
    """One search: `task` is all that its outcome depends on, `directory` the directory of its journal."""

    task: dict[str, Any]
    names: Sequence[str]
    cell: str
    side: str
    rules: Rules
    directory: Path
    command: str
    log: Callable[[str], None]

    def answer(self, prober: Callable[[], AbstractAsyncContextManager[Prober]]) -> Answer:
        with Journal.open(self.directory / "journal.jsonl", self.task) as journal:
            return interrupt.run(self._walk(journal, prober))

    async def _walk(
        self, journal: Journal, prober: Callable[[], AbstractAsyncContextManager[Prober]]
    ) -> Answer:
        if journal.resumed:
            self.log(f"goes on after {journal.resumed} runs of {str(journal.path)!r}")
        async with prober() as used:
            finding = await walk(len(self.names), used, journal, self.rules, self._tell)
        runs = tuple(journal.runs)
        return Answer(tuple(self.names), self.cell, self.side, finding, runs, journal.path, self.command)

    def _tell(self, run: Run) -> None:
        shown = f"{run.shown.value} {run.signature or run.reason}".rstrip()
        self.log(f"{run.why}: {self.names[run.point]}: {shown}")


def _directory(options: CellOptions, task: Mapping[str, Any]) -> Path:
    """The directory of a search: of several below one `out`, each has its own."""
    digest = hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()[:12]
    return (options.out or Path("runs")) / f"bisect-{digest}"


def _task(
    trial: Trial, fixed: Mapping[str, PreparedBuild], points: Sequence[str], rules: Rules
) -> dict[str, Any]:
    return {
        "machine": trial.machine,
        "arguments": list(trial.arguments),
        "path": [step.text for step in trial.path],
        "mode": asdict(trial.mode),
        "guest": trial.guest.fields(),
        "fixed": {name: [build.facts.digest, *build.args] for name, build in fixed.items()},
        "points": list(points),
        "rules": asdict(rules),
    }


def _trial(options: CellOptions, matrix: Matrix, path: Sequence[str]) -> Trial:
    if not options.machine:
        raise UserError("no machine: give one with --machine")
    for found in collisions(options.arguments, running=True):
        raise UserError(found.message)
    return Trial(
        machine=options.machine,
        arguments=(*matrix.default_args, *_profile(matrix, options.profile).args, *options.arguments),
        path=tuple(Step(name) for name in path),
        mode=_by_name(matrix.modes, options.mode, "mode"),
        guest=_by_name(matrix.guests, options.guest, "guest"),
    )


def _profile(matrix: Matrix, name: str) -> Profile:
    return _by_name(matrix.profiles, name, "profile") if name else Profile("", ())


def _by_name(known: Sequence[T], name: str, what: str) -> T:
    """The one of a name, the first when no name is given; UserError for an unknown name."""
    found = [one for one in known if not name or one.name == name]
    if not found:
        raise UserError(f"unknown {what} {name!r}: {did_you_mean(name, [one.name for one in known])}")
    return found[0]

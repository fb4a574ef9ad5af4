# SPDX-License-Identifier: Apache-2.0
"""A run from its matrix file to its reports: every stage takes what the one before returned.

load -> prepare -> plan -> run -> judge -> store -> report
"""

from __future__ import annotations

import asyncio
import gc
import os
import platform
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from migmatrix.harness import __version__, interrupt
from migmatrix.harness.builds import lookup, prepare, provider_of
from migmatrix.harness.config import load_matrix
from migmatrix.harness.errors import ExitCode, UnusableBuild, UserError, did_you_mean, together
from migmatrix.harness.judge import table_digest
from migmatrix.harness.known import KnownIssue, apply, load_known
from migmatrix.harness.model import Verdict
from migmatrix.harness.plan import make_plan
from migmatrix.harness.report import BuildRow, Progress
from migmatrix.harness.run.again import Rounds, beside
from migmatrix.harness.run.definition import definition
from migmatrix.harness.run.expected import Expected
from migmatrix.harness.run.host import host_lacks
from migmatrix.harness.run.opening import JOBS, opened, silent, store_directory
from migmatrix.harness.run.plandocument import plan_document
from migmatrix.harness.run.runner import Settings
from migmatrix.harness.store import LegStore, RunStore, keep_plan
from migmatrix.harness.stored.reports import closing_code, known_notes, rewrite_reports

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from migmatrix.harness.builds import BuildSpec, PreparedBuild
    from migmatrix.harness.config import Matrix
    from migmatrix.harness.config.matrix import EngineName
    from migmatrix.harness.judge import CellJudgement
    from migmatrix.harness.model import Cell, CellResult, LegEvidence
    from migmatrix.harness.plan import Plan
    from migmatrix.harness.report import RunReport
    from migmatrix.harness.run.opening import Opened
    from migmatrix.harness.run.runner import Judged

__all__ = [
    "Prepared",
    "RunOptions",
    "engine_specs",
    "execute",
    "in_containers",
    "known_of",
    "list_builds",
    "prepare_builds",
    "prepare_plan",
    "prepare_specs",
    "settings_of",
    "with_outcome",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What to plan and how to run it.

    `file` is the matrix, `store` the directory of the leg store, by default this user's own. `select` are ``--select``
    terms, `paths` ("A>B>C") replace those of the matrix, `shard` is (i, n) with i from 1. `jobs` emulators run at
    once. `out` is the run directory, by default ``runs/MATRIX-PLAN``. `store_limit` is in bytes, of streams that stay.
    `command` is kept in the run: the command line that made it. With `fresh` no stored leg is reused, and `repeat` is how
    often all legs are done besides (`harness.run.again`).
    """

    file: Path
    store: Path = field(default_factory=lambda: store_directory(None))
    select: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    seed: int | None = None
    jobs: int = JOBS
    out: Path | None = None
    store_limit: int = 20 << 30
    engine: EngineName | None = None
    command: str = ""
    fresh: bool = False
    repeat: int = 0


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what it was made of."""

    matrix: Matrix
    builds: Mapping[str, PreparedBuild]
    plan: Plan


def prepare_builds(
    file: Path,
    store: Path,
    ids: Sequence[str],
    log: Callable[[str], None],
    *,
    refresh: bool = False,
    engine: EngineName | None = None,
) -> dict[str, PreparedBuild]:
    """Get the builds of a matrix ready, all or those named; UserError for an unknown one."""
    matrix = load_matrix(file)
    specs = engine_specs(matrix, engine)
    for id_ in ids:
        if id_ not in specs:
            raise UserError(f"unknown build {id_!r}: {did_you_mean(id_, list(specs))}")
    chosen = {id_: specs[id_] for id_ in ids or specs}
    return prepare_specs(matrix, chosen, store, log, refresh=refresh)


def list_builds(
    file: Path, store: Path, log: Callable[[str], None], *, engine: EngineName | None = None
) -> dict[str, PreparedBuild | None]:
    """The builds of a matrix as they are; None for one that is not prepared."""
    matrix = load_matrix(file)
    with _placed(matrix):
        return lookup(engine_specs(matrix, engine), cache=store / "builds", log=log)


def engine_specs(matrix: Matrix, engine: EngineName | None) -> dict[str, BuildSpec]:
    """The builds of a matrix, with the reference emulator in the engine that it is wanted in."""
    contained = in_containers(matrix, engine)
    return {id_: spec.placed(contained=contained) for id_, spec in matrix.builds.items()}


def in_containers(matrix: Matrix, engine: EngineName | None = None) -> bool:
    """Whether builds that leave the choice run in containers.

    The engine of the command line says so, else the matrix's, else the one that the other builds run in: live
    transports over a network do not lead from a container to a process.
    """
    others = "docker" if any(provider_of(spec).contained for spec in matrix.builds.values()) else "process"
    return (engine or matrix.engine or others) == "docker"


def prepare_specs(
    matrix: Matrix,
    specs: Mapping[str, BuildSpec],
    store: Path,
    log: Callable[[str], None],
    *,
    refresh: bool = False,
) -> dict[str, PreparedBuild]:
    """Get builds of a matrix ready; for one that cannot be used, the error names its line in the matrix file."""
    LegStore(store, log)  # refuse a directory that cannot be written to before anything is made
    with _placed(matrix):
        return prepare(specs, cache=store / "builds", log=log, refresh=refresh)


@contextmanager
def _placed(matrix: Matrix) -> Iterator[None]:
    """Give a build that cannot be used its place in the matrix file: of the key that is wrong, else of the build."""
    try:
        yield
    except UnusableBuild as err:
        key = ("builds", err.build, err.key)
        raise matrix.mistake(str(err), *(key if key in matrix.where else key[:2])) from err


def prepare_plan(options: RunOptions, log: Callable[[str], None] = silent) -> Prepared:
    """Load the matrix, get its builds ready, and plan; `log` is told what takes time.

    UserError for a mistake in the matrix or the options, InfrastructureError when a build cannot be made ready.
    """
    matrix = load_matrix(options.file)
    builds = prepare_specs(matrix, engine_specs(matrix, options.engine), options.store, log)
    plan = make_plan(
        matrix,
        builds,
        select=options.select,
        shard=options.shard,
        seed=options.seed,
        paths=options.paths,
        lacking=host_lacks(matrix.modes, [(*matrix.default_args, *p.args) for p in matrix.profiles]),
    )
    return Prepared(matrix, builds, plan)


def execute(
    prepared: Prepared,
    options: RunOptions,
    progress: Progress | None = None,
    log: Callable[[str], None] = silent,
) -> RunReport:
    """Run a plan, write its run directory, and return the report, which has the exit code.

    `progress` shows how far the run is, `log` is told of failures of the host. UserError when the plan has no cell,
    when a profile starts nowhere, or when the run directory holds something else.
    """
    plan = prepared.plan
    if not plan.cells and options.shard is None:
        raise UserError(f"the plan has no cells{_left_out(plan)}")
    progress = progress or Progress(Console(quiet=True))
    session = _Session(prepared, options, known_of(prepared.matrix), progress, log)
    gc.freeze()  # the plan and the modules stay: a third of a million objects less to look through, again and again
    with progress, ExitStack() as stack:
        interrupt.run(session.run(stack))
        return session.conclude(LegStore(options.store, log))


def _left_out(plan: Plan) -> str:
    """Why, where one reason stands for what was left out most."""
    if not plan.dropped:
        return ""
    most = max(plan.dropped, key=lambda dropped: dropped.cells)
    return f": {most.cells:,} of {plan.dropped_cells:,} were left out because {most.what}: {most.reason}"


def known_of(matrix: Matrix) -> Sequence[KnownIssue]:
    """The known issues that a matrix names; UserError when their file cannot be read."""
    return load_known(matrix.known_issues) if matrix.known_issues else ()


def settings_of(matrix: Matrix, jobs: int) -> Settings:
    """How legs of a matrix are run, with `jobs` emulators at once."""
    return Settings(jobs, matrix.policy.deadlines, matrix.policy.retries)


def with_outcome(judgement: CellJudgement, known: Sequence[KnownIssue], matrix: Matrix) -> CellResult:
    """The result of a judged cell, with its outcome, by the known issues and the policy of a matrix, today."""
    today = date.today()  # noqa: DTZ011 - an expiry is a local day
    return apply(judgement, known, today, matrix.policy.blocked)


def default_directory(prepared: Prepared, options: RunOptions) -> Path:
    """`runs/<matrix>-<plan>`: the same arguments lead to the same place; all plans without a cell have one digest."""
    name = f"{options.file.stem}-{prepared.plan.digest[:8]}"
    if options.shard is not None and not prepared.plan.cells:
        name += f"-{options.shard[0]}-of-{options.shard[1]}"
    return Path("runs") / name


@dataclass
class _Session:
    """One run under way."""

    prepared: Prepared
    options: RunOptions
    known: Sequence[KnownIssue]
    progress: Progress
    log: Callable[[str], None]
    executed: int = 0
    reused: int = 0
    interrupted: bool = False
    begun: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    engine: dict[str, Any] = field(default_factory=dict)
    store: RunStore = field(init=False)
    numbers: Mapping[Cell, int] = field(init=False)  # as `render_plan` prints them
    expected: Expected = field(init=False)

    def __post_init__(self) -> None:
        self.numbers = {cell: number for number, cell in enumerate(self.prepared.plan.cells, 1)}
        self.expected = Expected(self.prepared.plan)

    async def run(self, stack: ExitStack) -> None:
        """Run all cells; an interrupt ends the run early and leaves a truthful directory.

        The directory is made, and put on `stack`, when it is known that every profile starts somewhere.
        """
        try:
            await self._cells(stack)
        except asyncio.CancelledError:
            self.interrupted = interrupt.asked()
            if not (self.interrupted and self.begun):
                raise

    async def _cells(self, stack: ExitStack) -> None:
        settings = settings_of(self.prepared.matrix, self.options.jobs)
        async with opened(self.options.store, settings, self.log) as where:
            with beside(where, fresh=self.options.fresh, repeat=self.options.repeat) as (own, rounds):
                await self._in(own, rounds, stack)

    async def _in(self, own: Opened, rounds: Rounds, stack: ExitStack) -> None:
        plan, builds = self.prepared.plan, self.prepared.builds
        runner = own.runner(plan, builds, self._leg)
        try:
            self._refuse(await runner.unusable_profiles())
            self._begin(stack)
            self.executed += await rounds.run(plan, builds, self.log)
            async for judged in runner.run():
                self._take(rounds.compared(judged), own.store)
        finally:
            await runner.close()
            self.engine = own.engine.describe()

    def _refuse(self, unusable: Mapping[str, Mapping[str, str]]) -> None:
        """Tell all profiles that start nowhere, each build with its reason, unless the policy skips them."""
        matrix = self.prepared.matrix
        mistakes = [
            matrix.mistake(f"no build accepts profile {profile!r}: {_reasons(said)}", "profiles", profile)
            for profile, said in unusable.items()
        ]
        if mistakes and matrix.policy.unusable == "error":
            raise together(mistakes)
        for mistake in mistakes:
            self.log(f"skipped: {mistake}")

    def _begin(self, stack: ExitStack) -> None:
        plan = self.prepared.plan
        out = self.options.out or default_directory(self.prepared, self.options)
        self.store = stack.enter_context(RunStore.create(out, plan.digest, self.log))
        self.store.set_meta(self.facts())
        specs = engine_specs(self.prepared.matrix, self.options.engine)
        keep_plan(self.store.directory, plan_document(self.prepared, self.options, specs))
        self.begun = True
        self.progress.start(len(plan.cells), len(plan.legs))

    def _take(self, judged: Judged, legs: LegStore) -> None:
        result = with_outcome(judged.judgement, self.known, self.prepared.matrix)
        number = self.numbers[result.cell]
        self.store.add(result, judged.basis, number)
        if result.verdict is Verdict.FAIL:
            self._keep_stream(result, legs)
        self.progress.legs_spared(self.expected.cell_done(result.cell))
        self.progress.cell_done(result, number)

    def _keep_stream(self, result: CellResult, legs: LegStore) -> None:
        """Keep what the failing leg was given to load, out of reach of the store's eviction."""
        incoming = self.prepared.plan.leg(result.legs[-1]).incoming if result.legs else None
        if incoming is not None:
            legs.export_stream(incoming, self.store.stream(incoming))

    def conclude(self, legs: LegStore) -> RunReport:
        """Write the reports."""
        legs.evict(self.options.store_limit)
        self.store.set_meta(self.closing_facts())
        return rewrite_reports(self.store)

    def _leg(self, evidence: LegEvidence, reused: bool) -> None:
        self.expected.leg_done(evidence.key)
        self.executed += not reused
        self.reused += reused
        self.progress.leg_done(reused=reused)

    def facts(self) -> dict[str, Any]:
        """What is known before the first cell."""
        matrix, plan, options = self.prepared.matrix, self.prepared.plan, self.options
        return {
            "version": __version__,
            "patterns": table_digest(),
            "matrix": options.file.stem,
            "matrix_file": str(options.file),
            "command": options.command,
            "started": self.started.isoformat(),
            "cells_planned": len(plan.cells),
            "seed": options.seed,
            "shard": "/".join(map(str, options.shard)) if options.shard else "",
            "selection": list(options.select),
            "paths": list(options.paths),
            "profiles": [asdict(p) for p in matrix.profiles],
            "dropped": [asdict(d) for d in plan.dropped],
            "policy": {
                "blocked": matrix.policy.blocked,
                "must_pass": [demand.to_json() for demand in matrix.policy.must_pass],
            },
            "known_issues_file": str(matrix.known_issues) if matrix.known_issues else "",
            "definition": definition(matrix, engine_specs(matrix, options.engine)),
            "builds": [asdict(_row(b)) for b in self.prepared.builds.values()],
            "host": {"kernel": platform.release(), "cpus": os.cpu_count() or 1},
        }

    def closing_facts(self) -> dict[str, Any]:
        """What is known after the last cell."""
        results = list(self.store.results())
        code = ExitCode.INTERRUPTED if self.interrupted else closing_code(self.facts(), results)
        return {
            "finished": datetime.now(UTC).isoformat(),
            "interrupted": self.interrupted,
            "exit_code": int(code),
            "hops": {"executed": self.executed, "reused": self.reused},
            "engine": self.engine,
            "known_issues": [asdict(note) for note in known_notes(self.known, results)],
        }


def _reasons(said: Mapping[str, str]) -> str:
    """``qemu-7.2: -no-hpet: invalid option; qemu-10.0: ...``; builds that say the same stand together."""
    builds: dict[str, list[str]] = {}
    for build, reason in said.items():
        builds.setdefault(reason, []).append(build)
    return "; ".join(f"{', '.join(names)}: {reason}" for reason, names in builds.items())


def _row(build: PreparedBuild) -> BuildRow:
    facts = build.facts
    return BuildRow(build.id, facts.version, facts.package, build.origin, facts.digest)

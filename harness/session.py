"""A run from its matrix file to its reports: every stage takes what the one before returned.

load -> prepare -> plan -> run -> judge -> store -> report
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stamina.instrumentation import set_on_retry_hooks

from harness import __version__
from harness.builds import prepare
from harness.config import load_matrix
from harness.config.records import did_you_mean
from harness.engines import Engines, Workspace
from harness.engines.docker import connect, remove_abandoned
from harness.errors import EngineError, ExitCode, UserError
from harness.known import KnownIssue, apply, exit_code, load_known
from harness.plan import make_plan
from harness.replay import known_notes, load_report
from harness.report import BuildRow, write_reports
from harness.runner import Runner, Settings
from harness.store import HopStore, RunStore

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.builds import PreparedBuild
    from harness.config import Matrix
    from harness.plan import Plan
    from harness.report import Progress, RunReport

__all__ = ["Prepared", "RunOptions", "clean_up", "execute", "prepare_builds", "prepare_plan"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the command line says; `command` is the command line itself."""

    file: Path
    store: Path
    select: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    shard: tuple[int, int] | None = None
    seed: int | None = None
    jobs: int = 2
    out: Path | None = None
    store_limit: int = 20 << 30
    command: str = ""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A plan, and what it was made of."""

    matrix: Matrix
    builds: Mapping[str, PreparedBuild]
    plan: Plan


def prepare_builds(
    file: Path, store: Path, ids: Sequence[str], log: Callable[[str], None], *, refresh: bool = False
) -> dict[str, PreparedBuild]:
    """Get the builds of a matrix ready, all or those named; UserError for an unknown one."""
    specs = load_matrix(file).builds
    for id_ in ids:
        if id_ not in specs:
            raise UserError(f"unknown build {id_!r}: {did_you_mean(id_, list(specs))}")
    chosen = {id_: specs[id_] for id_ in ids or specs}
    return prepare(chosen, cache=store / "builds", log=log, refresh=refresh)


def prepare_plan(options: RunOptions, log: Callable[[str], None]) -> Prepared:
    """Load the matrix, get its builds ready, and plan."""
    matrix = load_matrix(options.file)
    builds = prepare(matrix.builds, cache=options.store / "builds", log=log)
    plan = make_plan(
        matrix,
        builds,
        select=options.select,
        shard=options.shard,
        seed=options.seed,
        paths=options.paths,
    )
    return Prepared(matrix, builds, plan)


def clean_up(log: Callable[[str], None]) -> None:
    """Remove what killed runs of this user left behind."""
    try:
        client = connect()
    except EngineError:
        client = None  # without an engine no run can have left a container
    for line in remove_abandoned(client):
        log(line)


def execute(
    prepared: Prepared, options: RunOptions, progress: Progress, log: Callable[[str], None]
) -> RunReport:
    """Run a plan and write its run directory; the report says how it went."""
    plan = prepared.plan
    if not plan.cells:
        raise UserError("the plan has no cells")
    known = load_known(prepared.matrix.known_issues) if prepared.matrix.known_issues else ()
    set_on_retry_hooks([lambda retry: log(f"host failure, trying again: {retry.caused_by}")])
    out = options.out or default_directory(prepared, options)
    store = HopStore(options.store, log)
    with RunStore.create(out, plan.digest) as run, progress, Workspace() as workspace:
        session = _Session(prepared, options, known, run, progress, log)
        run.set_meta(session.facts())
        asyncio.run(session.run(store, workspace))
        store.evict(options.store_limit)
        run.set_meta(session.closing_facts())
        report = load_report(run)
        write_reports(report, out)
        return report


def default_directory(prepared: Prepared, options: RunOptions) -> Path:
    """`runs/<matrix>-<plan>`: the same arguments lead to the same place."""
    return Path("runs") / f"{options.file.stem}-{prepared.plan.digest[:8]}"


@dataclass
class _Session:
    """One run under way."""

    prepared: Prepared
    options: RunOptions
    known: Sequence[KnownIssue]
    store: RunStore
    progress: Progress
    log: Callable[[str], None]
    executed: int = 0
    reused: int = 0
    interrupted: bool = False
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    engine: dict[str, Any] = field(default_factory=dict)

    async def run(self, hops: HopStore, workspace: Workspace) -> None:
        """Run all cells; an interrupt ends the run early and leaves a truthful directory."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made it
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupt, task)
        try:
            await self._cells(hops, workspace)
        except asyncio.CancelledError:
            if not self.interrupted:
                raise

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        self.interrupted = True
        task.cancel()

    async def _cells(self, hops: HopStore, workspace: Workspace) -> None:
        policy = self.prepared.matrix.policy
        settings = Settings(self.options.jobs, policy.deadlines, policy.retries)
        plan, today = self.prepared.plan, date.today()  # noqa: DTZ011 - an expiry is a local day
        self.progress.start(len(plan.cells), len(plan.hops))
        async with Engines(workspace, self.log) as engine:
            runner = Runner(plan, self.prepared.builds, engine, hops, workspace, settings, self._hop)
            async for judged in runner.run():
                result = apply(judged.result, self.known, today, policy.blocked)
                self.store.add(result, judged.basis)
                self.progress.cell_done(result)
            self.engine = await asyncio.to_thread(engine.describe)

    def _hop(self, _: object, reused: bool) -> None:
        self.executed += not reused
        self.reused += reused
        self.progress.hop_done(reused=reused)

    def facts(self) -> dict[str, Any]:
        """What is known before the first cell."""
        matrix, plan, options = self.prepared.matrix, self.prepared.plan, self.options
        return {
            "version": __version__,
            "matrix": options.file.stem,
            "matrix_file": str(options.file),
            "command": options.command,
            "started": self.started.isoformat(),
            "cells_planned": len(plan.cells),
            "seed": options.seed,
            "shard": "/".join(map(str, options.shard)) if options.shard else "",
            "selection": list(options.select),
            "profiles": [asdict(p) for p in matrix.profiles],
            "dropped": [asdict(d) for d in plan.dropped],
            "policy": {"blocked": matrix.policy.blocked},
            "known_issues_file": str(matrix.known_issues) if matrix.known_issues else "",
            "builds": [asdict(_row(b)) for b in self.prepared.builds.values()],
            "host": {"kernel": platform.release(), "cpus": os.cpu_count() or 1},
        }

    def closing_facts(self) -> dict[str, Any]:
        """What is known after the last cell."""
        results = list(self.store.results())
        code = ExitCode.INTERRUPTED if self.interrupted else exit_code(results)
        return {
            "finished": datetime.now(UTC).isoformat(),
            "interrupted": self.interrupted,
            "exit_code": int(code),
            "hops": {"executed": self.executed, "reused": self.reused},
            "engine": self.engine,
            "known_issues": [asdict(note) for note in known_notes(self.known, results)],
        }


def _row(build: PreparedBuild) -> BuildRow:
    facts = build.facts
    return BuildRow(build.id, facts.version, facts.package, build.origin, facts.digest)

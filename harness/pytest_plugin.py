# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: `pytest --matrix FILE` collects one item per cell of a matrix.

    pytest --matrix matrices/debian.yaml -n 2 --dist worksteal -k virtio

Workers share legs through the store. `fail` fails with its cause, `unsupported` and `blocked` are skipped with the
reason, a known issue is an expected failure, a host failure is an error of the harness. The cell of a killed worker is
run again, once: what happened to the worker says nothing about the cell.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.model import Cell, CellResult, LegEvidence
    from migmatrix.harness.run.pipeline import Prepared, RunOptions
    from migmatrix.harness.run.runner import Judged, Runner

__all__ = ["CellFailure", "MatrixFile", "MatrixItem"]

_RUNS = pytest.StashKey["_MatrixRun"]()
_CRASHED = pytest.StashKey[set[str]]()


class CellFailure(Exception):
    """A cell did not do what was expected; carries its result and evidence."""

    def __init__(self, judged: Judged, result: CellResult) -> None:
        super().__init__(result.cell.id)
        self.judged, self.result = judged, result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("migmatrix")
    group.addoption("--matrix", metavar="FILE", help="collect the cells of this matrix file")
    group.addoption("--matrix-select", metavar="KEY=GLOB", action="append", default=[], help="as --select")
    group.addoption("--matrix-store", metavar="DIR", help="leg store; default as for `migmatrix run`")


def pytest_configure(config: pytest.Config) -> None:
    """Collect the matrix instead of the tests when nothing else was named."""
    matrix = config.getoption("matrix")
    if matrix is None:
        return
    if not Path(matrix).is_file():
        raise pytest.UsageError(f"no file {matrix!r}")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [matrix]
    elif matrix not in config.args:
        config.args.append(matrix)
    config.stash[_CRASHED] = set()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> MatrixFile | None:
    """Collect the matrix file."""
    matrix = parent.config.getoption("matrix")
    if matrix is None or file_path != Path(matrix).resolve():
        return None
    return MatrixFile.from_parent(parent, path=file_path)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End emulators and containers."""
    run = session.config.stash.get(_RUNS, None)
    if run is not None:
        run.close()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(crashitem: str, report: pytest.TestReport, sched: Any) -> None:
    """Run the cell of a killed worker again (a hook of pytest-xdist)."""
    crashed = sched.config.stash.get(_CRASHED, None)
    if crashed is None or crashitem in crashed:
        return
    crashed.add(crashitem)
    sched.mark_test_pending(crashitem)
    report.outcome = "skipped"
    report.longrepr = (crashitem, 0, f"Skipped: the worker ended, the cell is run again: {report.longrepr}")


class _MatrixRun:
    """Everything that runs cells in this process, opened when the first one runs."""

    def __init__(self, prepared: Prepared, options: RunOptions) -> None:
        from migmatrix.harness.run.pipeline import known_of  # noqa: PLC0415

        self.prepared = prepared
        self.matrix = prepared.matrix
        self.known = known_of(self.matrix)
        self._options = options
        self._stack = ExitStack()
        self._runner: Runner | None = None
        self._loop: asyncio.Runner | None = None

    def judge(self, cell: Cell) -> tuple[Judged, CellResult]:
        """Run a cell, unless its legs are stored, and give it an outcome."""
        from migmatrix.harness.run.pipeline import with_outcome  # noqa: PLC0415

        if self._loop is None:
            self._loop = self._stack.enter_context(asyncio.Runner())
            self._runner = self._open(self._loop)
        assert self._runner is not None  # noqa: S101 - set beside the loop
        judged = self._loop.run(self._runner.cell(cell))
        return judged, with_outcome(judged.judgement, self.known, self.matrix)

    def _open(self, loop: asyncio.Runner) -> Runner:
        from migmatrix.harness.run.opening import opened  # noqa: PLC0415
        from migmatrix.harness.run.pipeline import settings_of  # noqa: PLC0415

        closing = AsyncExitStack()
        self._stack.callback(lambda: loop.run(closing.aclose()))

        async def make() -> Runner:
            where = await closing.enter_async_context(
                opened(self._options.store, settings_of(self.matrix, 1), print)
            )
            runner = where.runner(self.prepared.plan, self.prepared.builds)
            closing.push_async_callback(runner.close)
            return runner

        return loop.run(make())

    def close(self) -> None:
        """End emulators and containers, last opened first."""
        self._stack.close()


def _run_of(config: pytest.Config) -> _MatrixRun:
    from migmatrix.harness.errors import MigmatrixError  # noqa: PLC0415
    from migmatrix.harness.run.opening import store_directory  # noqa: PLC0415
    from migmatrix.harness.run.pipeline import RunOptions, prepare_plan  # noqa: PLC0415

    if _RUNS not in config.stash:
        options = RunOptions(
            file=Path(config.getoption("matrix")),
            store=store_directory(config.getoption("matrix_store")),
            select=tuple(config.getoption("matrix_select")),
        )
        try:
            config.stash[_RUNS] = _MatrixRun(prepare_plan(options, print), options)
        except MigmatrixError as err:
            raise pytest.UsageError(str(err)) from err
    return config.stash[_RUNS]


class MatrixFile(pytest.File):
    """The matrix file as a collector of cells."""

    def collect(self) -> Iterator[MatrixItem]:
        """One item per cell, in the plan's order."""
        for cell in _run_of(self.config).prepared.plan.cells:
            yield MatrixItem.from_parent(self, name=cell.id, cell=cell)


class MatrixItem(pytest.Item):
    """One cell."""

    def __init__(self, *, cell: Cell, **rest: Any) -> None:
        super().__init__(**rest)
        self.cell = cell

    def runtest(self) -> None:
        """Run the cell and tell pytest its CI status."""
        from migmatrix.harness.errors import InfrastructureError  # noqa: PLC0415
        from migmatrix.harness.report.data import CiStatus, ci_status  # noqa: PLC0415

        judged, result = _run_of(self.config).judge(self.cell)
        self.user_properties.append(("verdict", str(result.verdict)))
        self.user_properties.append(("signature", result.signature or ""))
        match ci_status(result):
            case CiStatus.FAILED:
                raise CellFailure(judged, result)
            case CiStatus.ERROR:
                raise InfrastructureError(result.reason)
            case CiStatus.KNOWN:
                pytest.xfail(f"{result.known_issue}: {result.reason}")
            case CiStatus.SKIPPED:
                pytest.skip(result.reason or f"blocked: {result.cause.message if result.cause else ''}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The cause, the evidence and the command that repeats the cell, instead of a traceback."""
        if isinstance(excinfo.value, CellFailure):
            return "\n".join(_failure(excinfo.value, Path(self.config.getoption("matrix"))))
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The heading of a failure."""
        return self.path, None, self.name


def _failure(failure: CellFailure, matrix: Path) -> Iterator[str]:
    from migmatrix.harness.report.data import repeat_command  # noqa: PLC0415
    from migmatrix.harness.stored.show import render_leg, render_verdict  # noqa: PLC0415

    yield from render_verdict(failure.result)
    yield f"repeat    {repeat_command(failure.result.cell, str(matrix))}"
    legs: list[LegEvidence] = [leg for leg in failure.judged.basis.legs if leg is not None]
    for leg in legs[-1:]:
        quiet = [replace(emulator, qmp=()) for emulator in leg.emulators]
        yield from render_leg(replace(leg, emulators=tuple(quiet)))

# SPDX-License-Identifier: Apache-2.0
"""A pytest plugin: `pytest --matrix FILE` collects one item per cell of a matrix.

    pytest --matrix matrices/debian.yaml -n 2 --dist worksteal -k virtio
    pytest 'matrices/debian.yaml::pc-q35-7.2/virtio/A>B/snapshot/paused'

Workers share legs through the store. `fail` fails with its cause, `unsupported` and `blocked` are skipped with the
reason, a known issue is an expected failure, a host failure is an error of the harness. The cell of a killed worker is
run again, once: what happened to the worker says nothing about the cell. At the end stand the problems, and a session
whose cells answer nothing is not green, however `-k`, `--lf` or a node id chose them.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest._code.code import (
    ReprEntry,
    ReprExceptionInfo,
    ReprFileLocation,
    ReprTraceback,
)  # xdist sends no other

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from migmatrix.harness.model import Cell, CellResult, LegEvidence
    from migmatrix.harness.run.pipeline import Prepared, RunOptions
    from migmatrix.harness.run.runner import Judged, Runner

__all__ = ["CellFailure", "MatrixFile", "MatrixItem"]

_MESSAGE = 240
_SLASHES = 4  # of a cell's id: machine, profile, path, mode, guest
_RUNS = pytest.StashKey["_MatrixRun"]()
_CRASHED = pytest.StashKey[set[str]]()


class CellFailure(AssertionError):
    """A cell did not do what was expected; carries its result and evidence, and says signature and message.

    It is an AssertionError because reporters tell failures of the product from broken tests by that.
    """

    def __init__(self, judged: Judged, result: CellResult) -> None:
        parts = (result.signature, result.cause.message if result.cause else result.reason)
        super().__init__(": ".join(part for part in parts if part) or result.verdict.value)
        self.judged, self.result = judged, result


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("migmatrix")
    group.addoption("--matrix", metavar="FILE", help="collect the cells of this matrix file")
    group.addoption("--matrix-select", metavar="KEY=GLOB", action="append", default=[], help="as --select")
    group.addoption("--matrix-store", metavar="DIR", help="leg store; default as for `migmatrix run`")
    group.addoption("--matrix-path", metavar="A>B>C", action="append", default=[], help="as --path")
    group.addoption("--matrix-engine", choices=("docker", "process"), help="as --engine")
    group.addoption(
        "--matrix-known-issues", metavar="FILE", help="known-issues file; default the matrix's own"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Collect the matrix instead of the tests when nothing else was named."""
    matrix = config.getoption("matrix") or _of_a_cell(config)
    if matrix is None:
        return
    config.option.matrix = matrix
    if not Path(matrix).is_file():
        raise pytest.UsageError(f"no file {matrix!r}")
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [matrix]
    elif not any(_leads_to(config, argument, Path(matrix).resolve()) for argument in config.args):
        config.args.append(matrix)
    config.stash[_CRASHED] = set()
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Conclusion(matrix), "migmatrix-conclusion")


def _of_a_cell(config: pytest.Config) -> str | None:
    """The matrix of the first argument that is a cell's id, as the summary prints it: `FILE::M/PROFILE/A>B/MODE/GUEST`."""
    for argument in config.args:
        file, _, cell = argument.partition("::")
        path = config.invocation_params.dir / file
        if cell.count("/") == _SLASHES and path.suffix in (".yaml", ".yml") and path.is_file():
            return str(path)
    return None


def _leads_to(config: pytest.Config, argument: str, matrix: Path) -> bool:
    """Whether an argument is the matrix, a cell of it, or a directory that holds it."""
    base = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
    return base == matrix or base in matrix.parents


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Plan, also where workers will run the cells: a mistake in the matrix ends the session before they start."""
    if session.config.getoption("matrix") is not None:
        _run_of(session.config)


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> MatrixFile | None:
    """Collect the matrix file."""
    matrix = parent.config.getoption("matrix")
    if matrix is None or file_path != Path(matrix).resolve():
        return None
    return MatrixFile.from_parent(parent, path=file_path)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Put the result into the report, which brings it from a worker to the session."""
    report = yield
    if call.when == "call" and isinstance(item, MatrixItem) and item.result is not None:
        vars(report)["migmatrix_result"] = item.result.to_json()
    return report


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End emulators and containers."""
    run = session.config.stash.get(_RUNS, None)
    if run is not None:
        run.close()


class _Conclusion:
    """What the cells of a session say together; registered in the process that reports, not in workers."""

    def __init__(self, matrix: str) -> None:
        self._matrix = matrix
        self._results: list[CellResult] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the result of a cell."""
        from migmatrix.harness.model import CellResult  # noqa: PLC0415

        if (data := vars(report).get("migmatrix_result")) is not None:
            self._results.append(CellResult.from_json(data))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let no session be green whose cells answer nothing: its status is pytest's of a session without tests."""
        if session.exitstatus == pytest.ExitCode.OK and self._silence():
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the problems, a few lines each, and why the cells answer nothing, if so."""
        from migmatrix.harness.report.data import Section, group, section_of  # noqa: PLC0415
        from migmatrix.harness.report.terminal import group_lines  # noqa: PLC0415
        from migmatrix.harness.report.text import plural  # noqa: PLC0415

        bad = [result for result in self._results if section_of(result) is Section.PROBLEM]
        problems = group(bad, matrix_file=self._matrix)
        if problems:
            terminalreporter.section(plural(len(problems), "problem"))
        for number, problem in enumerate(problems, 1):
            for line in group_lines(number, problem, problem.smallest.cell.id):
                terminalreporter.line(line.plain)
        if said := self._silence():
            terminalreporter.line(f"no answer: {said}", yellow=True)

    def _silence(self) -> str:
        from migmatrix.harness.tested import silence  # noqa: PLC0415

        return silence(self._results) if self._results else ""


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

    def __init__(self, prepared: Prepared, options: RunOptions, known: Path | None) -> None:
        from migmatrix.harness.known import load_known  # noqa: PLC0415
        from migmatrix.harness.run.pipeline import known_of  # noqa: PLC0415

        self.prepared = prepared
        self.matrix = prepared.matrix
        self.known = load_known(known) if known else known_of(self.matrix)
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
    from migmatrix.harness.errors import ExitCode, InfrastructureError, UserError  # noqa: PLC0415
    from migmatrix.harness.run.opening import store_directory  # noqa: PLC0415
    from migmatrix.harness.run.pipeline import RunOptions, prepare_plan  # noqa: PLC0415

    if _RUNS not in config.stash:
        options = RunOptions(
            file=Path(config.getoption("matrix")),
            store=store_directory(config.getoption("matrix_store")),
            select=tuple(config.getoption("matrix_select")),
            paths=tuple(config.getoption("matrix_path")),
            engine=config.getoption("matrix_engine"),
        )
        known = config.getoption("matrix_known_issues")
        try:
            config.stash[_RUNS] = _MatrixRun(prepare_plan(options, print), options, known and Path(known))
        except UserError as err:
            raise pytest.UsageError(str(err)) from err
        except InfrastructureError as err:
            pytest.exit(str(err), ExitCode.INCOMPLETE)
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
        self.result: CellResult | None = None

    def runtest(self) -> None:
        """Run the cell and tell pytest its CI status."""
        from migmatrix.harness.errors import InfrastructureError  # noqa: PLC0415
        from migmatrix.harness.report.data import CiStatus, ci_status  # noqa: PLC0415

        judged, result = _run_of(self.config).judge(self.cell)
        self.result = result
        self.user_properties.append(("verdict", str(result.verdict)))
        self.user_properties.append(("signature", result.signature or ""))
        match ci_status(result):
            case CiStatus.FAILED:
                raise CellFailure(judged, result)
            case CiStatus.ERROR:
                raise InfrastructureError(result.reason)
            case CiStatus.KNOWN:
                pytest.xfail(f"{result.known_issue}: {result.reason}")
            case CiStatus.FLAKY:
                pytest.xfail(result.reason)
            case CiStatus.SKIPPED:
                pytest.skip(result.reason or f"blocked: {result.cause.message if result.cause else ''}")

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], *args: Any, **kwargs: Any) -> Any:
        """The cause, the evidence and the command that repeats the cell, instead of a traceback."""
        if isinstance(excinfo.value, CellFailure):
            lines = tuple(_failure(excinfo.value, Path(self.config.getoption("matrix"))))
            text = ReprTraceback((ReprEntry(lines, None, None, None, "value"),), None, "value")
            return ReprExceptionInfo(text, ReprFileLocation(str(self.path), 0, lines[0]))
        return super().repr_failure(excinfo, *args, **kwargs)

    def reportinfo(self) -> tuple[Path, None, str]:
        """The heading of a failure."""
        return self.path, None, self.name


def _failure(failure: CellFailure, matrix: Path) -> Iterator[str]:
    from migmatrix.harness.report.data import repeat_command  # noqa: PLC0415
    from migmatrix.harness.report.text import one_line  # noqa: PLC0415
    from migmatrix.harness.stored.show import render_leg, render_verdict  # noqa: PLC0415

    yield one_line(str(failure), _MESSAGE)
    yield from render_verdict(failure.result)
    yield f"repeat    {repeat_command(failure.result.cell, str(matrix))}"
    legs: list[LegEvidence] = [leg for leg in failure.judged.basis.legs if leg is not None]
    for leg in legs[-1:]:
        quiet = [replace(emulator, qmp=()) for emulator in leg.emulators]
        yield from render_leg(replace(leg, emulators=tuple(quiet)))

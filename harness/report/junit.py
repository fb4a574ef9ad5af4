# SPDX-License-Identifier: Apache-2.0
"""`junit.xml`: the answer in the name of the whole, one suite per machine, one test case per cell; checked against tests/data/junit.xsd.

1. `ci_status` chooses the element: failed is `failure`, error is `error`, skipped is `skipped` with the reason.
2. JUnit has no expected failures: a known issue is `skipped` with its id.
3. A fixed known issue passes; its `system-out` says that the entry can go.
"""

from __future__ import annotations

import io

from junitparser import Element, Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

from migmatrix.harness.model import CellResult, Outcome
from migmatrix.harness.report.cases import details_of, message_of, title_of
from migmatrix.harness.report.data import CiStatus, RunReport, ci_status, natural
from migmatrix.harness.report.text import clip
from migmatrix.harness.visible import visible

__all__ = ["render_junit"]

_MESSAGE = 300  # characters of the attribute that CI servers show in a list


def render_junit(report: RunReport) -> str:
    """The XML document as text, encoding UTF-8."""
    root = JUnitXml(_name(f"{report.title}: {report.answer().headline}", "migmatrix"))
    properties = _properties(report)
    by_machine: dict[str, list[CellResult]] = {}
    for result in report.results:
        by_machine.setdefault(result.cell.machine, []).append(result)
    for machine in sorted(by_machine, key=natural):
        _append(root, _suite(report, properties, machine, by_machine[machine]))
    root.update_statistics()  # type: ignore[no-untyped-call]  # junitparser annotates half of itself
    buffer = io.BytesIO()
    root.write(buffer)
    return buffer.getvalue().decode()


def _suite(
    report: RunReport, properties: list[tuple[str, str]], machine: str, results: list[CellResult]
) -> TestSuite:
    suite = TestSuite(_name(machine, "machine"))
    suite.timestamp = report.started.isoformat(timespec="seconds")
    for name, value in properties:
        suite.add_property(name, visible(value))
    for result in results:
        _append(suite, _case(report, result))
    return suite


def _name(text: str | None, otherwise: str) -> str:
    """A name as the format's schema has it: it is not blank."""
    shown = visible(text or "")
    return shown if shown.strip() else otherwise


def _append(parent: Element, child: Element) -> None:
    """Append without counting again, which `add_testcase` does for every case."""
    parent.append(child)  # type: ignore[no-untyped-call]  # junitparser annotates half of itself


def _properties(report: RunReport) -> list[tuple[str, str]]:
    """What is true of all suites alike; the answer first, with what limits it."""
    builds = [(f"build.{b.id}", f"{b.version} {b.package} {b.digest}".strip()) for b in report.builds]
    host = [("kernel", report.host.kernel), ("engine", report.host.engine)]
    answer = report.answer()
    said = [("answer", f"{answer.headline}: {answer.sentence}"), *(("but", limit) for limit in answer.limits)]
    return [*said, ("command", report.command), ("matrix", report.matrix_file), *host, *builds]


def _case(report: RunReport, result: CellResult) -> TestCase:
    name, place = title_of(result), f"{result.cell.machine}.{result.cell.profile}"
    case = TestCase(visible(name), visible(place), round(result.seconds, 3))
    element = _element(result)
    if element is not None:
        element.text = visible(details_of(report, result))
        _append(case, element)
    elif result.outcome is Outcome.FIXED:
        case.system_out = visible(f"fixed: known issue {result.known_issue!r} no longer fails here")
    return case


def _element(result: CellResult) -> Failure | Error | Skipped | None:
    message = clip(visible(message_of(result)), _MESSAGE)
    match ci_status(result):
        case CiStatus.FAILED:
            return Failure(message, _name(result.signature, result.outcome.value))
        case CiStatus.ERROR:
            return Error(message, result.outcome.value)
        case CiStatus.KNOWN:
            return Skipped(f"known issue {visible(str(result.known_issue))}: {message}", "known")
        case CiStatus.FLAKY:
            return Skipped(f"flaky: {message}", "flaky")
        case CiStatus.SKIPPED:
            return Skipped(message, result.verdict.value)
        case CiStatus.PASSED:
            return None

# SPDX-License-Identifier: Apache-2.0
"""CTRF, the common test report format: one JSON object, one test per cell (ctrf.io; the schema is in tests/data).

1. `ci_status` chooses the status. CTRF has no word for a failure of the host or for a cell with two answers, which are
   ``other``, and none for an expected failure, which is ``skipped`` as in JUnit; `rawStatus` has our outcome.
2. Ids are made of the run and of the cell, so that equal runs give equal files.
"""

from __future__ import annotations

import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.exports.clean import json_text
from migmatrix.harness.model import Outcome
from migmatrix.harness.report.cases import details_of, message_of, title_of
from migmatrix.harness.report.data import CiStatus, ci_status
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from datetime import datetime

    from migmatrix.harness.model import CellResult
    from migmatrix.harness.report.data import RunReport

__all__ = ["render_ctrf"]

_VERSION: Final = "0.0.0"  # of the specification
_STATUS: Final = {
    CiStatus.PASSED: "passed",
    CiStatus.FAILED: "failed",
    CiStatus.ERROR: "other",
    CiStatus.FLAKY: "other",
    CiStatus.KNOWN: "skipped",
    CiStatus.SKIPPED: "skipped",
}
_STATUSES: Final = ("passed", "failed", "skipped", "pending", "other")


def render_ctrf(report: RunReport) -> str:
    """The document, one line per test, ending in a newline."""
    head = {
        "reportFormat": "CTRF",
        "specVersion": _VERSION,
        "reportId": _id(f"{report.run_dir} {report.started.isoformat()}"),
        "timestamp": report.finished.isoformat(),
        "generatedBy": "migmatrix",
        "results": {
            "tool": {"name": "migmatrix", "version": report.harness_version},
            "summary": _summary(report),
            "environment": _environment(report),
            "tests": [_test(report, result) for result in report.results],
        },
    }
    return json_text(head)


def _id(text: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:migmatrix:{visible(text)}"))


def _milliseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _summary(report: RunReport) -> dict[str, Any]:
    found = Counter(_STATUS[ci_status(result)] for result in report.results)
    answer = report.answer()
    return {
        "tests": len(report.results),
        **{status: found[status] for status in _STATUSES},
        "flaky": report.outcomes()[Outcome.FLAKY],
        "start": _milliseconds(report.started),
        "stop": _milliseconds(report.finished),
        "extra": {
            "answer": answer.headline,
            "sentence": answer.sentence,
            "limits": answer.limits,
            "exitCode": int(report.exit_code),
            "cellsPlanned": report.cells_planned,
        },
    }


def _environment(report: RunReport) -> dict[str, Any]:
    builds = [
        {"id": b.id, "version": b.version, "package": b.package, "digest": b.digest} for b in report.builds
    ]
    return {
        "reportName": report.title,
        "osPlatform": "linux",
        "osRelease": report.host.kernel,
        **({"shardId": report.shard} if report.shard else {}),
        "extra": {
            "engine": report.host.engine,
            "command": report.command,
            "matrix": report.matrix_file,
            "builds": builds,
        },
    }


def _test(report: RunReport, result: CellResult) -> dict[str, Any]:
    cell, status = result.cell, _STATUS[ci_status(result)]
    said = {} if status == "passed" else {
        "message": message_of(result),
        "trace": details_of(report, result),
    }  # fmt: skip
    return {
        "id": _id(cell.id),
        "testId": cell.id,
        "name": title_of(result),
        "status": status,
        "rawStatus": result.outcome.value,
        "duration": round(result.seconds * 1000),
        "suite": [cell.machine, cell.profile],
        "filePath": report.matrix_file,
        "flaky": result.outcome is Outcome.FLAKY,
        **said,
        "parameters": {
            "path": cell.path,
            "mode": cell.mode,
            "guest": cell.guest,
        },
        "extra": {
            "verdict": result.verdict.value,
            "hop": result.hop,
            "stage": result.stage.value if result.stage else None,
            "signature": result.signature,
            "knownIssue": result.known_issue,
        },
    }

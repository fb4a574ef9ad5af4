# SPDX-License-Identifier: Apache-2.0
"""KCIDB, the I/O schema of KernelCI (version 5.3; package `kcidb-io`): a run is a checkout, a build a build, a cell a test.

1. A test belongs to the last build of its path, which is the one that had to take the guest; `misc` has the path.
2. A problem is an issue, and each cell of it an incident. Its id is made of the signature, so that the same problem of
   another run is the same issue.
3. Dots separate the parts of a test's path, so those of names become underscores.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.exports.clean import json_text
from migmatrix.harness.exports.problems import fingerprint
from migmatrix.harness.model import Outcome, Verdict
from migmatrix.harness.report.cases import details_of, message_of
from migmatrix.harness.report.data import Section, group_key, section_of
from migmatrix.harness.report.text import clip, one_line
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from datetime import datetime

    from migmatrix.harness.model import CellResult
    from migmatrix.harness.report.data import RunReport

__all__ = ["ORIGIN", "render_kcidb"]

ORIGIN: Final = "migmatrix"
_EXCERPT: Final = 16_000  # characters; the schema takes 16,384
_SUBJECT: Final = 300
_VERSION: Final = 1  # of an issue: what is said of a signature does not change
_ISSUES: Final = (Section.PROBLEM, Section.KNOWN, Section.FLAKY)
_STATUS: Final = {
    Verdict.PASS: "PASS",
    Verdict.FAIL: "FAIL",
    Verdict.BLOCKED: "SKIP",
    Verdict.UNSUPPORTED: "SKIP",
    Verdict.ERROR: "MISS",  # the harness failed
}


def render_kcidb(report: RunReport) -> str:
    """The document."""
    run = _id(fingerprint(report.run_dir, report.started.isoformat())[:32])
    wrong = [result for result in report.results if section_of(result) in _ISSUES]
    return json_text(
        {
            "version": {"major": 5, "minor": 3},
            "checkouts": [_checkout(report, run)],
            "builds": _builds(report, run),
            "tests": [_test(report, result, run) for result in report.results],
            "issues": list({group_key(result): _issue(result) for result in wrong}.values()),
            "incidents": [_incident(result, run) for result in wrong],
        }
    )


def _id(text: str) -> str:
    return f"{ORIGIN}:{text}"


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _checkout(report: RunReport, run: str) -> dict[str, Any]:
    answer = report.answer()
    return {
        "id": run,
        "origin": ORIGIN,
        "tree_name": report.matrix,
        "comment": f"{report.title}: {answer.headline}: {answer.sentence}",
        "start_time": _time(report.started),
        "origin_tests_finish_time": _time(report.finished),
        "valid": True,
        "misc": {
            "exit_code": int(report.exit_code),
            "limits": answer.limits,
            "cells_planned": report.cells_planned,
            "command": report.command,
            "migmatrix": report.harness_version,
        },
    }


def _builds(report: RunReport, run: str) -> list[dict[str, Any]]:
    return [
        {
            "id": _build(run, build.id),
            "checkout_id": run,
            "origin": ORIGIN,
            "comment": f"{build.id} {build.version}",
            "status": "PASS",
            "misc": {"version": build.version, "package": build.package, "digest": build.digest},
        }
        for build in report.builds
    ]


def _build(run: str, name: str) -> str:
    return f"{run}:build:{fingerprint(name)[:16]}"


def _test(report: RunReport, result: CellResult, run: str) -> dict[str, Any]:
    cell = result.cell
    passed = result.verdict is Verdict.PASS
    parts = ("migmatrix", cell.mode, cell.guest, cell.profile)
    return {
        "id": _test_id(run, result),
        "build_id": _build(run, cell.path[-1]),
        "origin": ORIGIN,
        "path": ".".join(map(_part, parts)),
        "comment": cell.id,
        "status": "FAIL"
        if result.outcome in (Outcome.REGRESSION, Outcome.WRONG_FAILURE)
        else _STATUS[result.verdict],
        "duration": round(result.seconds, 3),
        "environment": {
            "comment": f"{report.host.kernel}, {report.host.engine}",
            "misc": {"kernel": report.host.kernel, "engine": report.host.engine},
        },
        **({} if passed else {"log_excerpt": clip(visible(details_of(report, result)), _EXCERPT)}),
        "misc": {
            "machine": cell.machine,
            "profile": cell.profile,
            "builds": cell.path,
            "verdict": result.verdict.value,
            "outcome": result.outcome.value,
            "signature": result.signature,
        },
    }


def _test_id(run: str, result: CellResult) -> str:
    return f"{run}:test:{fingerprint(result.cell.id)[:32]}"


def _part(name: str) -> str:
    """One part of a test's path (rule 3)."""
    return re.sub(r"[^a-zA-Z0-9_-]", "_", name)


def _issue(result: CellResult) -> dict[str, Any]:
    return {
        "id": _issue_id(result),
        "version": _VERSION,
        "origin": ORIGIN,
        "report_subject": one_line(message_of(result), _SUBJECT),
        "culprit": {"code": True, "tool": False, "harness": False},
        "comment": one_line(group_key(result), _SUBJECT),
        "misc": {"signature": result.signature, "known_issue": result.known_issue},
    }


def _issue_id(result: CellResult) -> str:
    return _id(f"issue:{fingerprint(group_key(result))[:32]}")


def _incident(result: CellResult, run: str) -> dict[str, Any]:
    return {
        "id": f"{run}:incident:{fingerprint(result.cell.id)[:32]}",
        "origin": ORIGIN,
        "issue_id": _issue_id(result),
        "issue_version": _VERSION,
        "test_id": _test_id(run, result),
        "present": True,
    }

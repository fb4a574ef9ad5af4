# SPDX-License-Identifier: Apache-2.0
"""Writes the report files of a run; each is complete or not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.files import PUBLIC, write_whole
from migmatrix.harness.report.jsonfile import render_json
from migmatrix.harness.report.junit import render_junit
from migmatrix.harness.report.markdown import render_markdown

if TYPE_CHECKING:
    from pathlib import Path

    from migmatrix.harness.report.data import RunReport

__all__ = ["write_reports"]


def _render_html(report: RunReport) -> str:
    """Templates take a tenth of a second to import, which commands that write none need not wait for."""
    from migmatrix.harness.report.html import render_html  # noqa: PLC0415 - see above

    return render_html(report)


_RENDERERS = {
    "junit.xml": render_junit,
    "report.html": _render_html,
    "report.json": render_json,
    "report.md": render_markdown,
}


def write_reports(report: RunReport, directory: Path) -> list[Path]:
    """Write junit.xml, report.html, report.json and report.md; return their paths in that order.

    `directory` must exist. OSError when a file cannot be written.
    """
    written = []
    for name, render in _RENDERERS.items():
        write_whole(directory / name, render(report).encode(), PUBLIC, durable=True)
        written.append(directory / name)
    return written

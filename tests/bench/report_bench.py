# SPDX-License-Identifier: Apache-2.0
"""A report of 30,000 cells: its size, and until when a headless Chromium has drawn it, against an empty page."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "harness" / "report"))

from report_browser import CHROMIUM, browser
from report_fakes import make_report

from migmatrix.harness.report import write_reports

__all__ = ["bench_report"]

CELLS = 30_000
TURNS = 5
READY = "performance.getEntriesByName('ready')[0].startTime"
EMPTY = "<!doctype html><title>empty</title><script>performance.mark('ready')</script>"


def bench_report(scratch: Path) -> None:
    """Print the size, and the time where there is a browser."""
    write_reports(make_report(CELLS), scratch)
    page = scratch / "report.html"
    print(f"report: {CELLS:,} cells, report.html {page.stat().st_size / 1e6:.1f} MB", flush=True)
    if CHROMIUM is None:
        print("  not drawn, as there is no Chromium")
        return
    empty = scratch / "empty.html"
    empty.write_text(EMPTY)
    best = {page: float("inf"), empty: float("inf")}
    with browser(scratch / "browser") as window:
        for path in [page, empty] * TURNS:
            window.open(path.as_uri())
            best[path] = min(best[path], window.evaluate(READY))
    print(f"  drawn after {best[page]:.0f} ms, an empty page after {best[empty]:.0f} ms")

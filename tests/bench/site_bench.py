# SPDX-License-Identifier: Apache-2.0
"""A site of 30,000 cells and 60 nights: its size, how long it takes to make, and until when a Chromium shows it.

A first picture is the browser's own `first-contentful-paint`; the matrix is there when it has drawn maps and list.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "harness" / "report"))

from report_browser import CHROMIUM, Page, browser
from site_fakes import make_history, write_history

from migmatrix.harness.history import History
from migmatrix.harness.site import write_site

__all__ = ["bench_site"]

CELLS = 30_000
NIGHTS = 60
TURNS = 5
PAINTED = """new Promise((done) => new PerformanceObserver((list, observer) => {
  const found = list.getEntriesByName("first-contentful-paint")[0];
  if (found) { observer.disconnect(); done(found.startTime); }
}).observe({ type: "paint", buffered: true }))"""
READY = """new Promise((done) => {
  const look = () => { const mark = performance.getEntriesByName("ready")[0]; mark ? done(mark.startTime) : requestAnimationFrame(look); };
  look();
})"""
EMPTY = "<!doctype html><title>empty</title><p>empty</p><script>performance.mark('ready')</script>"


def bench_site(scratch: Path, cells: int = CELLS) -> None:
    """Print sizes and times, and those of an empty page beside them."""
    database = write_history(make_history(cells, NIGHTS), scratch / "history")
    begin = time.process_time()
    history = History.open(database)
    opened = time.process_time() - begin
    size = write_site(history, scratch / "site")
    made = time.process_time() - begin
    largest = max((p.stat().st_size, p.name) for p in (scratch / "site").rglob("*") if p.is_file())
    book = (database / "history.jsonl").stat().st_size
    print(f"site: {cells:,} cells, {len(history.nights)} nights, history {book / 1e6:.1f} MB", flush=True)
    print(f"  {size / 1e6:.1f} MB, the largest file {largest[1]} {largest[0] / 1e3:.0f} kB", flush=True)
    print(f"  made in {made:.1f} s of the processor, {opened:.1f} s of which to read the history", flush=True)
    if CHROMIUM is None:
        print("  not drawn, as there is no Chromium")
        return
    (scratch / "site" / "empty.html").write_text(EMPTY)
    with browser(scratch / "browser") as window:
        for name in ("empty.html", "index.html", "matrix.html", "compare.html", "search.html?q=igb"):
            _draw(window, f"{(scratch / 'site').as_uri()}/{name}", name)


def _draw(window: Page, url: str, name: str) -> None:
    painted, ready = [], []
    for _ in range(TURNS):
        window.open(url)
        painted.append(window.evaluate(PAINTED))
        ready.append(window.evaluate(READY) if name != "index.html" else painted[-1])
    print(f"  {name}: first picture after {min(painted):.0f} ms, whole after {min(ready):.0f} ms", flush=True)

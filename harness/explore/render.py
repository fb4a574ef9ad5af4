# SPDX-License-Identifier: Apache-2.0
"""A search as lines of text, while it runs and at its end."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.explore.explore import Outcome
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.explore.search import Search

__all__ = ["progress", "render"]


def progress(search: Search) -> str:
    """How far a search is, in a line."""
    coverage = search.coverage
    return (
        f"{search.phase.value}: {coverage.phases[search.phase]:,} candidates, {len(search.legs):,} legs,"
        f" {sum(coverage.devices.values()):,} devices and {sum(coverage.options.values()):,} options started,"
        f" {len(search.seen.features):,} fields seen, {len(search.collector.findings)} findings"
    )


def render(outcome: Outcome) -> Iterator[str]:
    """The findings, those between builds first, and what was covered."""
    for finding in sorted(outcome.findings, key=lambda f: (not f.steady, f.own, -f.seen)):
        yield from _finding(finding)
        yield ""
    coverage = outcome.facts["coverage"]
    for name in ("devices", "options", "pairs"):
        yield f"{name}: {coverage[name]['tried']:,} tried, {coverage[name]['started']:,} started by a build at least"
    yield f"refused: {len(outcome.facts['refused']):,}; refuse to migrate: {len(outcome.facts['blocked']):,} reasons"
    if failures := coverage["host_failures"]:
        yield f"not tried, for the host failed: {len(failures):,}, first {failures[0][0]}: {failures[0][1]}"
    known = sum(bool(finding.known) for finding in outcome.findings)
    unsteady = sum(not finding.steady for finding in outcome.findings)
    yield f"{len(outcome.new)} new findings, {known} known, {unsteady} that did not come again; {outcome.facts['legs']:,} legs"


def _finding(finding: Finding) -> Iterator[str]:
    what = "a build with itself" if finding.own else "between builds"
    more = f", known as {finding.known}" if finding.known else ""
    yield f"{finding.signature} ({what}{more}{'' if finding.steady else ', did not come again'})"
    yield f"  {finding.message}"
    yield f"  {finding.machine} {'>'.join(finding.path)}, {finding.stage}; shown by {finding.seen} candidates, first {finding.candidate}"
    yield f"  {shlex.join(finding.arguments)}"
    failing = [pair for pair, verdict in finding.pairs.items() if verdict.startswith("fail")]
    passing = [pair for pair, verdict in finding.pairs.items() if verdict == "pass"]
    if finding.pairs:
        yield f"  fails: {', '.join(failing) or 'none'}; passes: {', '.join(passing) or 'none'}"

# SPDX-License-Identifier: Apache-2.0
"""A search as lines of text, while it runs and at its end."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from migmatrix.harness.explore.findings import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explore.explore import Outcome
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.explore.search import Search

__all__ = ["progress", "render"]

_TITLES = {
    Problem.BREAK: "breaks between builds",
    Problem.DEFECT: "defects of one build: it does not save, or does not load what it saved",
    Problem.ONLY_MIGRATABLE: "-only-migratable says another thing than the migration",
    Problem.UNMIGRATABLE: "refuses to migrate, and says so",
}


def progress(search: Search) -> str:
    """How far a search is, in a line."""
    coverage = search.coverage
    return (
        f"{search.phase.value}: {coverage.phases[search.phase]:,} candidates, {len(search.legs):,} legs,"
        f" {sum(coverage.devices.values()):,} devices and {sum(coverage.options.values()):,} options started,"
        f" {len(search.seen.features):,} fields seen, {len(search.collector.findings)} findings"
    )


def render(outcome: Outcome) -> Iterator[str]:
    """The findings, each sort apart, breaks first, and what was covered."""
    for problem, title in _TITLES.items():
        alike = [finding for finding in outcome.findings if finding.kind is problem]
        if alike:
            yield f"{title}: {len(alike)}"
            yield ""
        for finding in sorted(alike, key=lambda f: (not f.steady, -f.seen)):
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
    known = f" (known as {finding.known})" if finding.known else ""
    unsteady = "" if finding.steady else " (did not come again)"
    yield f"{finding.signature}{known}{unsteady}"
    yield f"  {finding.message}"
    yield f"  {finding.machine} {'>'.join(finding.path)}, {finding.stage}; shown by {finding.seen} candidates, first {finding.candidate}"
    yield f"  {shlex.join(finding.arguments)}"
    for verdict in dict.fromkeys(map(_word, finding.pairs.values())):
        pairs = [pair for pair, words in finding.pairs.items() if _word(words) == verdict]
        yield f"  {verdict}: {', '.join(_folded(pairs, finding.pairs))}"


def _word(verdict: str) -> str:
    return verdict.partition(" ")[0]


def _folded(pairs: Sequence[str], every: Iterable[str]) -> Iterator[str]:
    """Pairs, ``A>*`` for those of one source when they are all that it has and more than one."""
    sources = Counter(pair.partition(">")[0] for pair in pairs)
    whole = Counter(pair.partition(">")[0] for pair in every)
    for pair in pairs:
        source, _, destination = pair.partition(">")
        if sources[source] < whole[source] or sources[source] == 1:
            yield pair
        elif destination == source:
            yield f"{source}>*"

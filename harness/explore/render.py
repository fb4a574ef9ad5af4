# SPDX-License-Identifier: Apache-2.0
"""A search as lines of text at its end: findings, each sort apart, then what was covered and what was not, and why."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING

from migmatrix.harness.explore.accounts import State, by_reason
from migmatrix.harness.explore.findings import Problem
from migmatrix.harness.explore.roots import by_root
from migmatrix.harness.report.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from migmatrix.harness.explore.accounts import Account
    from migmatrix.harness.explore.findings import Finding
    from migmatrix.harness.explore.kept import Outcome

__all__ = ["render"]

_TITLES = {
    Problem.BREAK: "breaks between builds",
    Problem.DEFECT: "defects of one build: it does not save, or does not load what it saved",
    Problem.ONLY_MIGRATABLE: "-only-migratable says another thing than the migration",
    Problem.UNMIGRATABLE: "refuses to migrate, and says so",
}
_STATES = {
    State.STARTED: "started by a build at least",
    State.REFUSED: "refused by every build",
    State.AWAY: "kept away",
    State.NO_PLACE: "without a place",
    State.NO_VALUE: "without a value to try",
    State.UNANSWERED: "that no build tells of",
    State.NOT_MEANT: "not asked for",
    State.NOT_REACHED: "not reached",
}
_REASONS = 12  # of a state that are printed; findings.json has all
_NAMES = 6  # that are printed beside a reason


def render(outcome: Outcome) -> Iterator[str]:
    """All of it; findings of one root stand together, under the worst of them."""
    roots = [sorted(alike, key=_rank) for alike in by_root(outcome.findings)]
    for problem, title in _TITLES.items():
        alike = [finding for finding in outcome.findings if finding.kind is problem]
        here = sorted((root for root in roots if root[0].kind is problem), key=lambda root: _rank(root[0]))
        elsewhere = len(alike) - sum(finding.kind is problem for root in here for finding in root)
        if alike:
            more = f", {elsewhere} of them under another sort with others of their root" if elsewhere else ""
            yield f"{title}: {len(alike)}{more}"
            yield ""
        for root in here:
            yield from _root(root)
            yield ""
    yield from _coverage(outcome)
    if outcome.missing:
        yield f"without what is missing: shard {', '.join(outcome.missing)}"
    yield _summary(outcome)


def _rank(finding: Finding) -> tuple[bool, int, int]:
    """What came again first, then by sort, then what most candidates showed."""
    return not finding.steady, list(_TITLES).index(finding.kind), -finding.seen


def _summary(outcome: Outcome) -> str:
    known = sum(bool(finding.known) for finding in outcome.findings)
    unsteady = sum(finding.repeated and not finding.steady for finding in outcome.findings)
    unrepeated = sum(not finding.repeated for finding in outcome.findings)
    more = f", {unrepeated} that could not be repeated" if unrepeated else ""
    roots = len(by_root(outcome.new))
    of = f" of {plural(roots, 'root')}" if roots < len(outcome.new) else ""
    return (
        f"{plural(len(outcome.new), 'new finding')}{of}, {known} known, {unsteady} that did not come again{more};"
        f" {plural(outcome.facts['legs'], 'leg')}, {outcome.facts['legs_to_reduce']:,} of them to repeat and reduce"
    )


def _root(alike: Sequence[Finding]) -> Iterator[str]:
    """Findings of one root; of all but the first what the first does not say."""
    first = alike[0]
    yield from _finding(first)
    if len(alike) > 1:
        yield f"  of the same root, {first.root}:"
    for finding in alike[1:]:
        yield from (f"    {line}" for line in _finding(finding, under=first))


def _finding(finding: Finding, under: Finding | None = None) -> Iterator[str]:
    known = f" (known as {finding.known})" if finding.known else ""
    unsteady = (
        "" if finding.steady else " (did not come again)" if finding.repeated else " (was not repeated)"
    )
    sort = f" ({finding.kind.value})" if under and finding.kind is not under.kind else ""
    yield f"{finding.signature}{sort}{known}{unsteady}"
    yield from (f"  {line}" for line in finding.message.splitlines())
    yield (
        f"  {finding.machine} {'>'.join(finding.path)}, {finding.stage};"
        f" shown by {plural(finding.seen, 'candidate')}, first {finding.candidate}"
    )
    if under is None or finding.arguments != under.arguments:
        yield f"  {shlex.join(finding.arguments)}"
    if under is None or finding.pairs != under.pairs:
        yield from _pairs(finding)


def _pairs(finding: Finding) -> Iterator[str]:
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


def _coverage(outcome: Outcome) -> Iterator[str]:
    """What was tried, and why the rest was not: no device and no option is left out in silence."""
    yield from _accounts("devices", outcome.devices.items())
    options = [
        (f"{device}.{name}", account)
        for device, its in outcome.options.items()
        for name, account in its.items()
    ]
    yield from _accounts("options", options)
    coverage = outcome.facts["coverage"]
    pairs = coverage["pairs"]
    yield f"pairs of options: {pairs['tried']:,} tried, {pairs['started']:,} started by a build at least"
    yield from _listed(
        f"refused {count:,} times: {said}" for said, count in coverage["refused_pairs"].items()
    )
    if failures := coverage["host_failures"]:
        yield f"not tried, for the host failed: {len(failures):,}, first {failures[0][0]}: {failures[0][1]}"


def _accounts(what: str, accounts: Iterable[tuple[str, Account]]) -> Iterator[str]:
    found = by_reason(accounts)
    counts = {state: sum(map(len, reasons.values())) for state, reasons in found.items()}
    told = ", ".join(f"{count:,} {_STATES[state]}" for state, count in counts.items())
    yield f"{what}: {sum(counts.values()):,}: {told}"
    for state, reasons in found.items():
        if state not in (State.STARTED, State.NOT_MEANT):
            yield f"  {_STATES[state]}:"
            yield from _listed(f"{why + ': ' if why else ''}{_some(names)}" for why, names in reasons.items())


def _listed(lines: Iterable[str]) -> Iterator[str]:
    every = list(lines)
    yield from (f"    {line}" for line in every[:_REASONS])
    if len(every) > _REASONS:
        yield f"    and {len(every) - _REASONS:,} more reasons, in findings.json"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES:,} more" if len(names) > _NAMES else ""
    return f"{', '.join(names[:_NAMES])}{more}"

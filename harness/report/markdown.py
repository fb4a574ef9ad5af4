# SPDX-License-Identifier: Apache-2.0
"""`report.md`: a short summary for a merge request, GitHub-flavoured.

1. Foreign text stands in code spans only: no HTML, no mention, no link can come out of it.
2. A pipe is escaped even there, because a table row is split before code spans are read.
3. The whole stays under the size that forges accept for one comment (65,536 characters).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from migmatrix.harness.report.answer import Ship
from migmatrix.harness.report.chains import chain_findings
from migmatrix.harness.report.courses import describe_unlike
from migmatrix.harness.report.data import Group, RunReport, Section
from migmatrix.harness.report.terminal import OWN, describe_problem, variants
from migmatrix.harness.report.text import duration, one_line, plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["render_markdown"]

_GROUPS = 20
_ROWS = 10
_NAMES = 5
_SPAN = 300
_COMMAND = 1000  # a command that was clipped would not run; longer ones are not made
_MARKS = {Ship.YES: "✅", Ship.NO: "❌", Ship.UNKNOWN: "⚠️", Ship.CLEAN: "✅"}
_TITLES = {
    Section.PROBLEM: "Problems",
    Section.FLAKY: "Flaky: the same legs gave two answers",
    Section.INFRASTRUCTURE: "Host and engine failures",
    Section.KNOWN: "Known issues",
    Section.FIXED: "Known issues that no longer fail",
}


def render_markdown(report: RunReport) -> str:
    """The document, ending in a newline."""
    return "\n".join(_lines(report)).rstrip() + "\n"


def code(text: str, limit: int = _SPAN) -> str:
    """Return `text` as one code span, on one line; empty text gives nothing."""
    line = one_line(text, limit)
    if not line:
        return ""
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def table_code(text: str) -> str:
    """Return `text` as a code span for a table, where a bare pipe would end the cell."""
    return code(text).replace("|", "\\|")


def _lines(report: RunReport) -> Iterator[str]:
    answer = report.answer()
    headline = answer.headline[0].upper() + answer.headline[1:]
    yield f"## {_MARKS[answer.ship]} {headline}: {code(report.title)}"
    yield ""
    yield f"{answer.sentence[0].upper()}{answer.sentence[1:]}."
    yield from (f"- but: {code(limit)}" for limit in answer.limits)
    yield ""
    yield from _counts(report)
    for section, title in _TITLES.items():
        yield from _section(report, title, report.groups(section))
    yield from _untested(report)
    yield from _noted(report)
    yield from _unlike(report)
    yield from _chains(report)
    yield from _notes(report)
    yield from _about(report)


def _counts(report: RunReport) -> Iterator[str]:
    yield "| | |"
    yield "|---|---|"
    yield f"| cells | {len(report.results):,} of {report.cells_planned:,} |"
    yield f"| verdict | {', '.join(f'{n:,} {v}' for v, n in sorted(report.verdicts().items()))} |"
    yield f"| outcome | {', '.join(f'{n:,} {o}' for o, n in sorted(report.outcomes().items()))} |"
    yield f"| legs | {report.legs.executed:,} run, {report.legs.reused:,} reused |"
    yield f"| time | {duration(report.seconds)} |"
    yield ""


def _section(report: RunReport, title: str, groups: list[Group]) -> Iterator[str]:
    if not groups:
        return
    yield f"### {title}"
    yield ""
    yield "| cells | what | where | smallest cell |"
    yield "|---:|---|---|---|"
    yield from _rows(groups[:_GROUPS])
    if len(groups) > _GROUPS:
        yield f"| | and {len(groups) - _GROUPS:,} more | | |"
    yield ""
    if title == _TITLES[Section.PROBLEM]:
        yield from _commands(groups[:_GROUPS])
        yield from _explanations(report, groups[:_GROUPS])


def _rows(groups: list[Group]) -> Iterator[str]:
    """What a build has with itself too comes last, below a line that says so."""
    between = [found for found in groups if not found.own]
    yield from map(_row, between)
    if len(between) < len(groups):
        yield f"| | **{OWN}** | | |"
    yield from map(_row, groups[len(between) :])


def _row(found: Group) -> str:
    what = table_code(describe_problem(found))
    message = table_code(found.cause.message) if found.cause else ""
    message += f" {table_code(variants(found))}" if len(found.variants) > 1 else ""
    where = f"{plural(len(found.machines), 'machine')}, {plural(len(found.profiles), 'profile')}, "
    where += plural(len(found.routes), "route")
    text = f"{what} {message}".strip()
    return f"| {found.cells:,} | {text} | {where} | {table_code(found.smallest.cell.id)} |"


def _commands(groups: list[Group]) -> Iterator[str]:
    yield "Repeat the smallest cell of each:"
    yield ""
    yield from (f"{n}. {code(found.command, _COMMAND)}" for n, found in enumerate(groups, start=1))
    yield ""


def _explanations(report: RunReport, groups: list[Group]) -> Iterator[str]:
    explained = [(found, note) for found in groups for note in report.explained(found)]
    if not explained:
        return
    yield "Explained:"
    yield ""
    yield from (f"- {code(found.key)}: {code(note.summary, _COMMAND)}" for found, note in explained)
    yield ""


def _untested(report: RunReport) -> Iterator[str]:
    found = report.untested()
    if not found:
        return
    yield "### Not tested"
    yield ""
    yield "| cells | verdict | why | profiles |"
    yield "|---:|---|---|---|"
    for one in found[:_GROUPS]:
        profiles = ", ".join(one.profiles[:_NAMES]) + (", ..." if len(one.profiles) > _NAMES else "")
        yield f"| {one.cells:,} | {one.verdict} | {table_code(one.reason)} | {table_code(profiles)} |"
    if len(found) > _GROUPS:
        yield f"| | | and {len(found) - _GROUPS:,} more | |"
    yield ""


def _noted(report: RunReport) -> Iterator[str]:
    found = report.noted()
    if not found:
        return
    yield "### Passed, though the sides are told different things"
    yield ""
    yield "| cells | note |"
    yield "|---:|---|"
    yield from (f"| {one.cells:,} | {table_code(one.text)} |" for one in found[:_ROWS])
    if len(found) > _ROWS:
        yield f"| | and {len(found) - _ROWS:,} more |"
    yield ""


def _unlike(report: RunReport) -> Iterator[str]:
    found = report.unlike()
    if not found:
        return
    yield "### Statuses and events that not all builds have"
    yield ""
    yield from (f"- {code(describe_unlike(one))}" for one in found[:_ROWS])
    if len(found) > _ROWS:
        yield f"- and {len(found) - _ROWS:,} more"
    yield ""


def _chains(report: RunReport) -> Iterator[str]:
    findings = chain_findings(report.results)
    if not findings:
        return
    words = {
        "broken": "fails, each step passes alone",
        "detour": "passes, the direct migration fails",
        "healed": "passes, a step fails alone",
    }
    yield "### Chains that their pairs do not explain"
    yield ""
    yield "| cells | chain | what |"
    yield "|---:|---|---|"
    for found in findings[:_ROWS]:
        yield f"| {found.cells:,} | {table_code('>'.join(found.path))} | {words[found.kind]} |"
    if len(findings) > _ROWS:
        yield f"| | and {len(findings) - _ROWS:,} more | |"
    yield ""


def _notes(report: RunReport) -> Iterator[str]:
    yield from _bounded(
        f"- known issue {code(n.id)} is {n.state}" for n in report.known_issues if n.state != "active"
    )
    yield from _bounded(
        f"- {plural(d.count, 'cell')} left out of the plan: {code(d.what)}: {code(d.reason)}"
        for d in sorted(report.dropped, key=lambda d: -d.count)
    )


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    every = list(lines)
    yield from every[:_ROWS]
    if len(every) > _ROWS:
        yield f"- and {len(every) - _ROWS:,} more"
    if every:
        yield ""


def _about(report: RunReport) -> Iterator[str]:
    yield f"Repeat the run: {code(report.command, _COMMAND)}"
    yield ""
    versions = ", ".join(f"{code(b.id)} {code(b.version)}" for b in report.builds)
    yield f"<sub>builds: {versions}; kernel {code(report.host.kernel)}; migmatrix {code(report.harness_version)}</sub>"

# SPDX-License-Identifier: Apache-2.0
"""The page that a release manager signs, as one record with two renderings: `release.html` and `release.md`.

A page is a headline and sections of tables and lines. All text in it may be foreign: the template escapes it, Markdown
has it in code spans.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.model import Verdict
from migmatrix.harness.releases import version_key
from migmatrix.harness.report.markdown import table_code
from migmatrix.harness.report.page import pages, static
from migmatrix.harness.report.text import one_line, plural
from migmatrix.harness.signoff.records import Fate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from migmatrix.harness.model import CellResult
    from migmatrix.harness.report import RunReport
    from migmatrix.harness.signoff.records import Decision, WaiverNote

__all__ = ["Page", "Section", "make_page", "render_html", "render_markdown"]

_ROWS: Final = 200  # of a table; decision.json and results.jsonl have all
_NAMES: Final = 5  # profiles that a row names
_LONGEST: Final = 400  # characters of a table's cell
_MEANING: Final = {
    Fate.PASSED: "every migration completed and every check held",
    Fate.WAIVED: "did not pass; somebody carries it by name until a date",
    Fate.BROKEN: "failed; nobody carries it, and the policy allows it",
    Fate.BLOCKED: "the source refuses to migrate, and says so; nothing migrated",
    Fate.UNSUPPORTED: "a build cannot start this guest; nothing migrated",
    Fate.FLAKY: "the same leg gave two answers, done twice",
    Fate.ERROR: "the host or the engine failed; nothing is known",
    Fate.NOT_RUN: "planned and not run; nothing is known",
}


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page: a table, lines, or both; `intro` says what it is."""

    title: str
    intro: str = ""
    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page; `facts` are name and value."""

    title: str
    headline: str
    sentence: str
    limits: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]


def make_page(
    report: RunReport,
    decision: Decision,
    signer: str,
    advice: Mapping[str, Sequence[str]],
    since: Sequence[str],
) -> Page:
    """The page of a decision: `advice` are lines by fleet, `since` the differences from the last signed release."""
    planned = len(decision.fates) + decision.elsewhere
    counts = ", ".join(f"{decision.count(f):,} {f}" for f in Fate if decision.count(f))
    return Page(
        title=report.title,
        headline="Ship",
        sentence=f"The policy is met: {plural(len(decision.requirements), 'requirement')}."
        f" {plural(planned, 'planned cell')}: {counts}.",
        limits=tuple(_limits(report, decision)),
        facts=(
            ("decided", f"{decision.at:%Y-%m-%d %H:%M} UTC"),
            ("signed by key", signer),
            ("run", f"{report.started:%Y-%m-%d %H:%M} to {report.finished:%Y-%m-%d %H:%M %Z}"),
            ("oldest evidence", decision.oldest or "not known"),
            ("host", f"{report.host.kernel}, {plural(report.host.cpus, 'CPU')}, engine {report.host.engine}"),
            ("migmatrix", report.harness_version),
            ("command", report.command),
        ),
        sections=tuple(s for s in _sections(report, decision, advice, since) if s.rows or s.lines),
    )


def _limits(report: RunReport, decision: Decision) -> Iterator[str]:
    if report.selection:
        yield f"only the cells selected by {' '.join(report.selection)}"
    if report.paths:
        yield f"only the paths {' '.join(report.paths)}"
    if broken := decision.count(Fate.BROKEN):
        yield f"{plural(broken, 'cell')} broken that nobody carries"
    for waiver in decision.waivers:
        yield from (f"waiver {waiver.id}: {said}" for said in told(waiver))


def told(waiver: WaiverNote) -> Iterator[str]:
    """What has to be told of a waiver."""
    if waiver.state == "expired":
        yield f"expired on {waiver.expires}, waives nothing"
    elif waiver.state == "unused":
        yield "unused, remove it"
    if waiver.soon:
        yield f"ends on {waiver.expires}, in {plural(waiver.left, 'day')}"
    if waiver.refused:
        yield f"cannot waive {plural(waiver.refused, 'cell')} of its that gave no answer"
    if waiver.others:
        yield f"{plural(waiver.others, 'cell')} of its do not pass, with another signature"


def _sections(
    report: RunReport, decision: Decision, advice: Mapping[str, Sequence[str]], since: Sequence[str]
) -> Iterator[Section]:
    used = {build for result in report.results for build in result.cell.path}
    yield Section(
        "Builds",
        "What was tested; the signature is about these digests.",
        ("build", "version", "package", "SHA-256"),
        tuple((b.id, b.version, b.package, b.digest) for b in report.builds if b.id in used),
    )
    yield _promised(decision)
    yield Section(
        "Every planned cell",
        heads=("cells", "fate", "which means"),
        rows=tuple((f"{decision.count(f):,}", f.value, _MEANING[f]) for f in Fate),
    )
    yield _left_out(report)
    yield Section(
        "What does not pass, and who carries it",
        heads=("cells", "carried", "by", "signature", "message", "one of them"),
        rows=tuple(
            (
                f"{b.cells:,}",
                f"{b.carried:,}",
                ", ".join(b.carriers) or "nobody",
                b.signature,
                b.message,
                b.example,
            )
            for b in decision.broken
        ),
    )
    yield _waivers(decision)
    yield Section(
        "Known issues of the matrix",
        "For information: a known issue is no waiver, and the policy does not look at it.",
        ("id", "state", "owner", "expires", "reason", "link"),
        tuple((k.id, k.state, k.owner, k.expires, k.reason, k.link) for k in report.known_issues),
    )
    yield Section(
        "Not tested, and why",
        heads=("cells", "verdict", "why", "profiles"),
        rows=tuple(
            (f"{u.cells:,}", u.verdict.value, u.reason, ", ".join(u.profiles)) for u in report.untested()
        ),
    )
    yield _upgrades(report)
    for fleet, lines in advice.items():
        yield Section(f"Advice for the fleet {fleet}", lines=tuple(lines))
    yield Section("Since the last signed release", lines=tuple(since))


def _promised(decision: Decision) -> Section:
    rows = tuple(
        (k.text, f"{k.percent}%", f"{k.cells:,}", *(f"{dict(k.fates).get(f.value, 0):,}" for f in Fate))
        for k in decision.requirements
    )
    heads = ("cells", "at least", "planned", *(f.value for f in Fate))
    return Section("Promised, and tested", "What the policy requires.", heads, rows)


def _left_out(report: RunReport) -> Section:
    """The cells that the plan itself leaves out, so that none is missing without a word."""
    return Section(
        "Left out of the plan",
        "Combinations of the matrix that no cell was planned for.",
        ("cells", "what", "reason"),
        tuple((f"{d.count:,}", d.what, d.reason) for d in sorted(report.dropped, key=lambda d: -d.count)),
    )


def _waivers(decision: Decision) -> Section:
    rows = tuple(
        (
            w.id,
            w.state,
            f"{len(w.cells):,}",
            w.owner,
            w.expires,
            w.signature,
            w.reason,
            w.link,
            "; ".join(told(w)),
        )
        for w in decision.waivers
    )
    heads = ("id", "state", "cells", "owner", "expires", "signature", "reason", "link", "note")
    return Section("Waivers", "As they were applied on the day of the decision.", heads, rows)


def _upgrades(report: RunReport) -> Section:
    """What the direct migrations between each two builds say of an upgrade and of the way back."""
    found: dict[tuple[str, ...], list[CellResult]] = {}
    for result in report.results:
        if len(result.cell.path) == 2:  # noqa: PLR2004 - a pair
            found.setdefault(result.cell.path, []).append(result)
    builds = sorted(report.builds, key=lambda b: version_key(b.version))
    pairs = [(a.id, b.id) for at, a in enumerate(builds) for b in builds[at + 1 :]]
    rows = [
        (older, newer, _said(found.get((older, newer), [])), _said(found.get((newer, older), [])))
        for older, newer in pairs
        if (older, newer) in found or (newer, older) in found
    ]
    return Section(
        "Upgrade and rollback",
        "Direct migrations, all profiles and machine types: how many cells pass, and which profiles do not.",
        ("from", "to", "upgrade", "and back"),
        tuple(rows),
    )


def _said(results: Sequence[CellResult]) -> str:
    ran = [result for result in results if result.verdict is not Verdict.UNSUPPORTED]
    if not ran:
        return "not tested"
    bad = sorted({result.cell.profile for result in ran if result.verdict is not Verdict.PASS})
    passed = sum(result.verdict is Verdict.PASS for result in ran)
    more = f" and {len(bad) - _NAMES:,} more" if len(bad) > _NAMES else ""
    return f"{passed:,} of {len(ran):,} pass" + (f"; not {', '.join(bad[:_NAMES])}{more}" if bad else "")


def render_html(page: Page) -> str:
    """One file without scripts that needs no network."""
    template = pages("migmatrix.harness.signoff").get_template("release.html")
    return template.render(page=page, css=static("page.css"), most=_ROWS)


def render_markdown(page: Page) -> str:
    """The same as GitHub-flavoured Markdown."""
    return "\n".join(_markdown(page)).rstrip() + "\n"


def _markdown(page: Page) -> Iterator[str]:
    yield f"## ✅ {page.headline}: {table_code(page.title)}"
    yield ""
    yield page.sentence
    yield from (f"- but: {_cell(limit)}" for limit in page.limits)
    yield from ("", "| | |", "|---|---|")
    yield from (f"| {name} | {_cell(value)} |" for name, value in page.facts)
    for section in page.sections:
        yield from ("", f"### {_cell(section.title)}", "")
        if section.intro:
            yield from (section.intro, "")
        yield from _table(section)
        yield from (f"- {_cell(line)}" for line in section.lines)


def _table(section: Section) -> Iterator[str]:
    if not section.rows:
        return
    yield f"| {' | '.join(section.heads)} |"
    yield f"|{'---|' * len(section.heads)}"
    yield from (f"| {' | '.join(map(_cell, row))} |" for row in section.rows[:_ROWS])
    if len(section.rows) > _ROWS:
        yield f"| and {len(section.rows) - _ROWS:,} more |"


def _cell(text: str) -> str:
    """Plain where nothing in it can mean anything to Markdown, else a code span."""
    line = one_line(text, _LONGEST)
    return line if re.fullmatch(r"[A-Za-z0-9 ,.%;-]*", line) else table_code(line)

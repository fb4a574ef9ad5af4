# SPDX-License-Identifier: Apache-2.0
"""`report.html`: one self-contained file that needs no network, with the answer on its first screen.

1. What it shares with the pages of a site, escaping first, is `page.py`.
2. The content security policy allows one script, by its hash, and nothing from outside: should any
   escaping ever fail, what slips through is still not executed.
3. The server side (this file) writes what must be readable without a script: answer, problems, chains.
   Heat maps, the list of cells and evidence are drawn from the data block when they are looked at.
"""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from typing import TYPE_CHECKING

from markupsafe import Markup

from migmatrix.harness.model import CellResult, Outcome, Verdict
from migmatrix.harness.report.bar import Segment, bar
from migmatrix.harness.report.chains import ChainFinding, ChainKind, chain_findings
from migmatrix.harness.report.courses import describe_unlike
from migmatrix.harness.report.data import SECTIONS, Group, RunReport, Section, section_of
from migmatrix.harness.report.html_data import FAILS, encode
from migmatrix.harness.report.page import (
    BLOCKED,
    GLYPHS,
    LABELS,
    OWN,
    data_text,
    fragment,
    pages,
    script,
    static,
)
from migmatrix.harness.report.problems import own_failures
from migmatrix.harness.report.terminal import variant_name

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from migmatrix.harness.model import Cell

__all__ = ["render_html"]

_GROUPS = 100  # per section; report.json has all
_CHAINS = 25  # per kind
_VARIANTS = 40  # per problem
_SCRIPTS = ("parts.js", "data.js", "explore.js", "matrix.js", "detail.js", "evidence.js", "start.js")


_TITLES = {
    Section.PROBLEM: "Problems",
    Section.FLAKY: "Flaky: the same legs gave two answers",
    Section.INFRASTRUCTURE: "Host and engine failures",
    Section.KNOWN: "Known issues",
    Section.FIXED: "Known issues that no longer fail",
}
_OWN_TITLE = "Problems that a build has with itself too"
_CHAIN_TITLES = {
    ChainKind.BROKEN: "The chain fails, although each step passes alone",
    ChainKind.DETOUR: "The chain passes, although the direct migration fails",
    ChainKind.HEALED: "The chain passes, although one of its steps fails alone",
}


def render_html(report: RunReport) -> str:
    """The document."""
    code = script(*map(static, _SCRIPTS))
    template = pages().get_template("report.html")
    return template.render(
        report=report,
        answer=report.answer(),
        sections=list(_sections(report)),
        untested=report.untested(),
        noted=report.noted(),
        unlike=[describe_unlike(one) for one in report.unlike()],
        chains=_chains(report),
        bar=list(_bar(report)),
        cells_of=cells_of,
        variant_name=variant_name,
        most=_GROUPS,
        most_variants=_VARIANTS,
        fails=FAILS,
        most_chains=_CHAINS,
        css=Markup(static("page.css")),  # noqa: S704 - our own file
        script=Markup(code),  # noqa: S704 - our own files
        script_hash=_hash(code),
        data=_data_block(report),
    )


def cells_of(found: Group, section: str) -> str:
    """The fragment that lists the cells of a group."""
    if found.signature and section == Section.PROBLEM:
        return f"#problem={fragment(found.signature)}&fails={FAILS[found.own]}"
    if found.signature:
        return f"#signature={fragment(found.signature)}"
    outcomes = {of: outcome for outcome, of in SECTIONS.items() if outcome is not Outcome.WRONG_FAILURE}
    return f"#outcome={outcomes[Section(section)]}"


def _sections(report: RunReport) -> Iterator[tuple[str, str, str, int, list[Group]]]:
    """Yield section, id, title, number of its first group, groups; what a build has with itself too stands apart."""
    for section in Section:
        groups = report.groups(section)
        between = [found for found in groups if not found.own]
        yield section.value, section.value, _TITLES[section], 1, between
        if section is Section.PROBLEM:
            yield section.value, "own", _OWN_TITLE, len(between) + 1, groups[len(between) :]


def _chains(report: RunReport) -> list[tuple[str, str, list[ChainFinding]]]:
    findings = chain_findings(report.results)
    return [(k.value, _CHAIN_TITLES[k], [f for f in findings if f.kind is k]) for k in ChainKind]


def _status(result: CellResult, own: Collection[Cell]) -> str:
    if result.cell in own and section_of(result) is Section.PROBLEM:
        return OWN
    if result.verdict is Verdict.BLOCKED and result.outcome is Outcome.OK:
        return BLOCKED
    return result.outcome.value


def _bar(report: RunReport) -> Iterator[Segment]:
    own = own_failures(report.results)
    counts = Counter(_status(r, own) for r in report.results)
    links = _LINKS | ({_REGRESSION: f"#outcome={_REGRESSION}&fails={FAILS[False]}"} if counts[OWN] else {})
    return bar(
        {status: counts[status] for status in GLYPHS}, lambda status: links.get(status, f"#outcome={status}")
    )


_REGRESSION = Outcome.REGRESSION.value
_LINKS = {
    BLOCKED: "#outcome=ok&verdict=blocked",
    OWN: f"#fails={FAILS[True]}",
    Outcome.OK.value: "#outcome=ok&verdict=pass",
}


def _data_block(report: RunReport) -> Markup:
    return Markup(data_text({**encode(report), "glyphs": GLYPHS, "labels": LABELS}))  # noqa: S704 - escaped there


def _hash(code: str) -> str:
    return base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()

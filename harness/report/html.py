# SPDX-License-Identifier: Apache-2.0
"""`report.html`: one self-contained file that needs no network, with the answer on its first screen.

1. jinja2 escapes every value; the data block is JSON in which ``<`` cannot occur.
2. The content security policy allows one script, by its hash, and nothing from outside: should any
   escaping ever fail, what slips through is still not executed.
3. The server side (this file) writes what must be readable without a script: answer, problems, chains.
   Heat maps, the list of cells and evidence are drawn from the data block when they are looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from migmatrix.harness.model import CellResult, Outcome, Verdict
from migmatrix.harness.report.chains import ChainFinding, ChainKind, chain_findings
from migmatrix.harness.report.courses import describe_unlike
from migmatrix.harness.report.data import Group, RunReport, Section, section_of
from migmatrix.harness.report.html_data import FAILS, encode
from migmatrix.harness.report.problems import own_failures
from migmatrix.harness.report.terminal import variant_name
from migmatrix.harness.report.text import duration, plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from migmatrix.harness.model import Cell

__all__ = ["render_html"]

_GROUPS = 100  # per section; report.json has all
_CHAINS = 25  # per kind
_VARIANTS = 40  # per problem
_SCRIPTS = ("report.js", "matrix.js", "detail.js")
_BAR = 1000.0  # width of the outcome bar in its own units
_SLIVER = 4.0  # so that one regression in 30,000 cells is still seen

_BLOCKED = "blocked"  # an outcome of its own on the page: as expected, but not a pass
_OWN = "own"  # so is a failure that a build shows with itself too
_LABELS = {_OWN: "fails with itself too"}  # of statuses that are no outcomes
_GLYPHS = {
    Outcome.REGRESSION.value: "✕",
    Outcome.WRONG_FAILURE.value: "≠",
    Outcome.INCOMPLETE.value: "?",
    _OWN: "↻",
    Outcome.KNOWN.value: "~",
    Outcome.FIXED.value: "↑",
    Outcome.OK.value: "✓",
    _BLOCKED: "⊘",
    Outcome.SKIPPED.value: "–",  # noqa: RUF001 - an en dash is meant
}  # worst first: the order in which a heat map decides what a square shows

_TITLES = {
    Section.PROBLEM: "Problems",
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


class Segment(NamedTuple):
    """One outcome in the bar: where it begins, how wide it is, which fragment lists its cells."""

    outcome: str
    label: str
    link: str
    glyph: str
    cells: int
    x: float
    width: float


def render_html(report: RunReport) -> str:
    """The document."""
    script = "(() => {\n" + "\n".join(_static(name) for name in _SCRIPTS) + "\n})();"
    template = _environment().get_template("report.html")
    return template.render(
        report=report,
        answer=report.answer(),
        sections=list(_sections(report)),
        untested=report.untested(),
        noted=report.noted(),
        unlike=[describe_unlike(one) for one in report.unlike()],
        chains=_chains(report),
        bar=list(_bar(report)),
        most=_GROUPS,
        most_variants=_VARIANTS,
        fails=FAILS,
        most_chains=_CHAINS,
        css=Markup(_static("report.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own files
        script_hash=_hash(script),
        data=_data_block(report),
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("migmatrix.harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_finalize,
    )
    environment.filters.update(duration=duration, fragment=fragment, web_link=web_link)
    environment.globals.update(plural=plural, cells_of=cells_of, variant_name=variant_name)
    return environment


def _finalize(value: Any) -> Any:
    """Make foreign text visible before it is escaped; Markup is our own."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def fragment(value: str) -> str:
    """Return `value` for use in a URL fragment of the form ``#key=value&key=value``."""
    return quote(visible(value), safe="/")


def web_link(link: str) -> str:
    """Return `link` if a click on it can only open a web page, else nothing (``javascript:``)."""
    return link if urlsplit(link).scheme in ("http", "https") else ""


def cells_of(found: Group, section: str) -> str:
    """The fragment that lists the cells of a group."""
    if found.signature and section == Section.PROBLEM:
        return f"#problem={fragment(found.signature)}&fails={FAILS[found.own]}"
    if found.signature:
        return f"#signature={fragment(found.signature)}"
    outcome = {"infrastructure": Outcome.INCOMPLETE, "fixed": Outcome.FIXED, "known": Outcome.KNOWN}
    return f"#outcome={outcome.get(Section(section), Outcome.REGRESSION)}"


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
        return _OWN
    if result.verdict is Verdict.BLOCKED and result.outcome is Outcome.OK:
        return _BLOCKED
    return result.outcome.value


def _bar(report: RunReport) -> Iterator[Segment]:
    own = own_failures(report.results)
    counts = Counter(_status(r, own) for r in report.results)
    links = _LINKS | ({_REGRESSION: f"#outcome={_REGRESSION}&fails={FAILS[False]}"} if counts[_OWN] else {})
    present = [(status, counts[status]) for status in _GLYPHS if counts[status]]
    total = sum(count for _, count in present)
    widths = [max(_SLIVER, _BAR * count / total) for _, count in present]
    scale, x = _BAR / sum(widths) if widths else 0.0, 0.0
    for (status, count), width in zip(present, widths, strict=True):
        wide = width * scale
        link = links.get(status, f"#outcome={status}")
        yield Segment(status, _LABELS.get(status, status), link, _GLYPHS[status], count, x, wide)
        x += wide


_REGRESSION = Outcome.REGRESSION.value
_LINKS = {
    _BLOCKED: "#outcome=ok&verdict=blocked",
    _OWN: f"#fails={FAILS[True]}",
    Outcome.OK.value: "#outcome=ok&verdict=pass",
}


def _data_block(report: RunReport) -> Markup:
    """The JSON text; no ``<`` is left in it that could end the element or start a comment."""
    data = _visible({**encode(report), "glyphs": _GLYPHS, "labels": _LABELS})
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704 - escaped here


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, dict):
        return {_visible(k): _visible(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)) and not (value and isinstance(value[0], int)):
        return [_visible(v) for v in value]
    return value


def _static(name: str) -> str:
    return (resources.files("migmatrix.harness.report") / "static" / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

# SPDX-License-Identifier: Apache-2.0
"""The pages of a site as text, each under its path.

1. Everything but lists of cells, maps and comparisons is written here, and is read without a script.
2. Equal histories make equal pages: nothing is asked of the clock. What depends on today (a night is overdue) the
   reader's browser says.
3. The content security policy allows the site's own scripts and styles, none inside a page: should any escaping ever
   fail, what slips through is not executed. ``file:`` is there for pages that are opened without a server.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import UTC
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.history import State, changes_between
from migmatrix.harness.history.compare import compare
from migmatrix.harness.history.side import Side
from migmatrix.harness.report.bar import bar
from migmatrix.harness.report.page import LABELS, OWN, fragment, pages, script, static
from migmatrix.harness.report.problems import group, natural
from migmatrix.harness.report.terminal import variant_name
from migmatrix.harness.report.text import plural
from migmatrix.harness.site.data import STATUSES, data_files
from migmatrix.harness.site.facts import Facts, Slot, worst
from migmatrix.harness.site.window import NOT_RUN

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from migmatrix.harness.history import Night
    from migmatrix.harness.report.problems import Group
    from migmatrix.harness.site.facts import Problem
    from migmatrix.harness.site.window import Window

__all__ = ["site_files"]

_ROOM: Final = "migmatrix.harness.site"
_STRIP: Final = 30  # nights
_RED: Final = ("regression", "wrong-failure", OWN)
_MOST: Final = 100  # rows of a list; the matrix has all
_FEW: Final = 8  # rows of what need not be read to the end
_LETTERS: Final = {"ship": "✓", "clean": "✓", "do not ship": "✕", "no answer": "?"}
_SHARED: Final = ("parts.js", "explore.js", "matrix.js", "detail.js", "start.js")  # those of `report.html`
_SCRIPTS: Final = {
    "page": ("parts.js", "site.js"),
    "matrix": (
        "parts.js", "site.js", "load.js", "nights.js", "explore.js", "changes.js", "strips.js", "matrix.js", "detail.js",
        "start.js",
    ),
    "compare": ("parts.js", "site.js", "load.js", "changes.js", "compare.js"),
    "search": ("parts.js", "site.js", "load.js", "search.js"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Head:
    """Problems of one family on the first screen: what a report says of them, and their pages."""

    group: Group
    problems: Sequence[Problem]

    @property
    def first(self) -> Problem | None:
        """The one that names it."""
        return self.problems[0] if self.problems else None


def site_files(window: Window) -> Iterator[tuple[str, str]]:
    """Path and text of every file of a site."""
    facts = Facts.of(window)
    yield from _statics()
    answers = {one.night.number: one.answer.ship.value for one in facts.nights}
    yield from ((f"data/{name}.js", text) for name, text in data_files(window, answers, _links(facts)))
    render = _Renderer(facts)
    yield from render.pages()


def _statics() -> Iterator[tuple[str, str]]:
    yield "static/site.css", static("page.css") + static("site.css", _ROOM)
    for name, parts in _SCRIPTS.items():
        texts = (static(part) if part in _SHARED else static(part, _ROOM) for part in parts)
        yield f"static/{name}.js", script(*texts, waits=True)


def _links(facts: Facts) -> dict[str, Any]:
    return {
        "problemPages": [[p.signature, p.page, p.state] for p in facts.problems],
        "buildPages": [[b.id, b.page] for b in facts.builds],
        "title": facts.window.last.title,
        "repeat": f"migmatrix run -f {facts.window.last.matrix_file} --select",
    }


class _Renderer:
    """Fills the templates."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._environment = pages(_ROOM)
        self._environment.filters.update(
            day=_day, minute=_minute, letter=_LETTERS.__getitem__, quoted=shlex.quote
        )
        self._environment.globals.update(
            glyph=lambda status: STATUSES.get(status, "·"), label=lambda status: LABELS.get(status, status),
            matrix_link=matrix_link, variant_name=variant_name, worst=worst, most=_MOST, few=_FEW, not_run=NOT_RUN,
        )  # fmt: skip

    def pages(self) -> Iterator[tuple[str, str]]:
        """Path and text of every page."""
        facts = self._facts
        yield self._page("index.html", "page", heads=list(_heads(facts)), **self._index())
        yield self._page("matrix.html", "matrix")
        yield self._page("problems.html", "page")
        yield self._page("builds.html", "page")
        yield self._page("compare.html", "compare", changes=_changes(facts))
        yield self._page("search.html", "search")
        for problem in facts.problems:
            slots = [
                _of_problem(one.night, counts)
                for one, counts in zip(facts.nights, problem.nights, strict=True)
            ]
            yield self._page(problem.page, "page", "problem.html", problem=problem, slots=slots)
        for build in facts.builds:
            yield self._page(build.page, "page", "build.html", build=build)

    def _page(self, path: str, code: str, template: str = "", **more: Any) -> tuple[str, str]:
        text = self._environment.get_template(template or path).render(
            facts=self._facts, tonight=self._facts.nights[-1], page=path, code=code, root="../" * path.count("/"),
            strip_of=self._strip_of, **more,
        )  # fmt: skip
        return path, text

    def _index(self) -> dict[str, Any]:
        facts = self._facts
        counts = facts.nights[-1].counts
        return {
            "bar": list(
                bar(
                    {s: counts[s] for s in STATUSES},
                    lambda s: _status_link(s, own=bool(counts[OWN])),
                    STATUSES,
                )
            ),
            "flakes": facts.window.history.flakes(),
            "known": [p for p in facts.problems if p.tonight and p.state == "known"],
            "lost": _lost(facts),
            "machines": [(m, each[-1], _machine_strip(facts, each)) for m, each in facts.machines.items()],
            "surge": _surge(facts),
            "every": facts.window.last.every.total_seconds() if facts.window.last.every else "",
        }

    def _strip_of(self, problem: Problem) -> list[Slot]:
        nights = zip(self._facts.nights, problem.nights, strict=True)
        return [_of_problem(one.night, counts) for one, counts in nights][-_STRIP:]


def matrix_link(**terms: str) -> str:
    """The page of the matrix with these filters."""
    return "matrix.html#" + "&".join(f"{key}={fragment(value)}" for key, value in terms.items())


def _status_link(status: str, *, own: bool) -> str:
    """The cells of a status; red ones without those that are a build's own, where there are such."""
    terms = {
        "blocked": {"outcome": "ok", "verdict": "blocked"}, OWN: {"fails": "itself"}, "ok": {"outcome": "ok", "verdict": "pass"},
    }  # fmt: skip
    between = {"fails": "between"} if own and status in _RED else {}
    return matrix_link(**terms.get(status, {"outcome": status, **between}))


def _heads(facts: Facts) -> Iterator[Head]:
    """The problems of the last night that are red, as a report puts them together; new ones first."""
    night, last = facts.window.last, len(facts.window.nights) - 1
    red = {cell.id for cell, row in facts.window.rows(last) if row.status in _RED}
    results = night.results()
    groups = group([r for r in results if r.cell.id in red], among=results, matrix_file=night.matrix_file)
    heads = [Head(g, _problems_of(facts, g)) for g in groups]
    yield from sorted(
        heads, key=lambda head: (head.group.own, not any(p.states[State.NEW] for p in head.problems))
    )


def _problems_of(facts: Facts, found: Group) -> list[Problem]:
    names = [one.signature for one in found.variants if one.signature]
    return [facts.by_signature[name] for name in names if name in facts.by_signature]


def _of_problem(night: Night, counts: Counter[str]) -> Slot:
    status = worst(counts)
    said = plural(sum(counts.values()), "cell") if status else "no cell"
    return Slot(status, f"{_day(night.time)}: {said}{f', {LABELS.get(status, status)}' if status else ''}")


def _machine_strip(facts: Facts, nights: Sequence[Counter[str]]) -> list[Slot]:
    slots = [
        Slot(worst(counts), f"{_day(one.night.time)}: {_told(counts)}")
        for one, counts in zip(facts.nights, nights, strict=True)
    ]
    return slots[-_STRIP:]


def _told(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counts[s]:,} {LABELS.get(s, s)}" for s in STATUSES if counts.get(s)) or "no cells"


def _lost(facts: Facts) -> list[tuple[str, int, list[str]]]:
    """Cells of the matrix without a verdict of the last night: how long, how many, and some of them."""
    found: dict[str, list[str]] = {}
    for id_, state in facts.states.items():
        if state.value in ("not run", "stale"):
            found.setdefault(state.value, []).append(id_)
    return [(state, len(ids), sorted(ids, key=natural)[:_MOST]) for state, ids in sorted(found.items())]


def _surge(facts: Facts) -> str:
    """What many cells that are red since this night share, "" when they are not many."""
    old, new = facts.window.history.window(length=2)[0], facts.window.last
    found = compare(Side.of("", old.results(), old), Side.of("", new.results(), new)).surge
    return found.text if found else ""


def _changes(facts: Facts) -> list[list[str]]:
    """For each night what changed since the one before, in words."""
    nights = facts.window.nights
    told = [[change.text for change in changes_between(a, b)] for a, b in pairwise(nights)]
    return [[], *told]


def _day(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d}"


def _minute(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M} UTC"

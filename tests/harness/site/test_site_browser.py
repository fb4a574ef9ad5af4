# SPDX-License-Identifier: Apache-2.0
"""The site as a reader has it: opened as files, without a server, by a real browser."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from report_browser import Page, page_of
from site_fakes import Script, make_history

from migmatrix.harness.history import changes_between
from migmatrix.harness.history.compare import Kind, compare
from migmatrix.harness.history.side import Side
from migmatrix.harness.model import Outcome
from migmatrix.harness.site import write_site
from migmatrix.harness.site.data import STATUSES
from migmatrix.harness.site.window import NOT_RUN, look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.history import History

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]

WIDTHS = (390, 820, 1440)
IGB = "pc-i440fx-4.2/igb/bookworm>trixie/snapshot/paused"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(tmp_path_factory.mktemp("browser"), 1440) as page:
        yield page


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core: the one that $AXE_CORE names, for instance npm's latest, else that of the Python package."""
    if path := os.environ.get("AXE_CORE"):
        return Path(path).read_text()
    return (resources.files("axe_core_python") / "axe.min.js").read_text()


def one_of_each(site: Path) -> list[str]:
    """The address of a page of each kind, the sheet of a cell and a comparison among them."""
    problem = next(p for p in sorted((site / "problems").iterdir()) if "igb" in p.name)
    build = min((site / "builds").iterdir())
    names = [
        "index.html", "matrix.html", f"matrix.html#cell={quote(IGB, safe='/')}", "matrix.html?night=20#outcome=regression",
        "problems.html", f"problems/{problem.name}", "builds.html", f"builds/{build.name}", "compare.html",
        "compare.html#old=50&new=52", "search.html?q=igb",
    ]  # fmt: skip
    return [f"{site.as_uri()}/{name}" for name in names]


def show(window: Page, url: str) -> None:
    """Open a page and wait until it has its data, and the strips that it shows."""
    window.open(url)
    window.evaluate("""new Promise((done) => {
      const whole = () => !document.querySelector("main .loading, .story:empty, .nights-of:empty");
      const look = () => (whole() ? done(1) : requestAnimationFrame(look));
      look();
    })""")


def text(window: Page, selector: str) -> str:
    found: str = window.evaluate(f"document.querySelector({selector!r}).innerText")
    return found


def test_every_kind_of_page_opens_as_a_file_and_nothing_complains(window: Page, site: Path) -> None:
    for url in one_of_each(site):
        window.problems.clear()
        show(window, url)
        assert window.problems == [], url
        asked = [
            e["params"]["request"]["url"]
            for e in window.events
            if e.get("method") == "Network.requestWillBeSent"
        ]
        assert [u for u in asked if not u.startswith(site.as_uri()) and u != "about:blank"] == [], url


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dark", [False, True])
def test_pages_fit_and_axe_finds_nothing_serious(
    window: Page, site: Path, axe: str, *, width: int, dark: bool
) -> None:
    window.screen(width, 900, dark=dark)
    for url in one_of_each(site):
        show(window, url)
        assert window.evaluate("document.documentElement.scrollWidth") == width, url
        window.evaluate(f"{axe}; 1")
        found = window.evaluate("axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations)")
        serious = [
            (v["id"], v["nodes"][0]["html"][:300], v["nodes"][0]["failureSummary"])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert serious == [], url
    window.screen(1440, 900)


def test_the_first_screen_answers(window: Page, site: Path) -> None:
    """These nights are over, and their cadence is known: the page says so in place of what was true then."""
    show(window, f"{site.as_uri()}/index.html")
    assert text(window, "h1") == "No answer tonight (then: do not ship)"
    assert "missed" in text(window, ".overdue")
    assert window.evaluate("document.querySelector('.overdue').getBoundingClientRect().bottom") < 900
    assert "cells went wrong unexpectedly" in text(window, ".sentence")


def test_a_history_without_a_cadence_is_never_overdue(window: Page, tmp_path: Path) -> None:
    made = make_history(600, 3, Script(broken=(), late=(), missed=(), short=(), flaky=0))
    write_site(replace(made, nights=[replace(night, every=None) for night in made.nights]), tmp_path / "site")
    show(window, f"{(tmp_path / 'site').as_uri()}/index.html")
    assert text(window, "h1") == "Ship"
    assert window.evaluate("document.querySelector('.overdue').checkVisibility()") is False


def test_the_matrix_has_the_cells_of_its_night(window: Page, site: Path, history: History) -> None:
    seen = look(history)
    for place in (10, 43, len(seen.nights) - 1):
        number, counts = seen.nights[place].number, seen.counts(place)
        for status in ("regression", "flaky", "known", NOT_RUN):
            show(window, f"{site.as_uri()}/matrix.html?night={number}#outcome={quote(status)}")
            wanted = counts[status] + (
                counts["own"] if status == "regression" else 0
            )  # both have that outcome
            assert text(window, ".found").split(" of ")[0] == f"{wanted:,}", (number, status)
        assert text(window, ".which option:checked").startswith(f"{seen.nights[place].time:%Y-%m-%d}")


@pytest.mark.parametrize("width", [390, 700, 820, 1100, 1440])
def test_rows_of_the_list_are_as_high_as_a_few_lines(window: Page, site: Path, width: int) -> None:
    window.screen(width, 900)
    show(window, f"{site.as_uri()}/matrix.html#outcome=regression")
    heights = window.evaluate(
        "[...document.querySelectorAll('.cells tbody tr')].map((tr) => tr.getBoundingClientRect().height)"
    )
    assert 0 < max(heights) < 130
    window.screen(1440, 900)


def test_each_cell_has_a_link_and_tells_its_story(window: Page, site: Path, history: History) -> None:
    show(window, f"{site.as_uri()}/matrix.html#cell={quote(IGB, safe='/')}")
    rows = window.evaluate(
        "[...document.querySelectorAll('dialog[open] .story tbody tr')].map((tr) => tr.innerText)"
    )
    assert [row.split()[0] for row in rows] == ["2026-10-23", "2026-10-06", "2026-09-21", "2026-09-02"]
    assert ["pci-config:igb:0xa4" in row for row in rows] == [True, False, True, False]
    assert "build bookworm: " in rows[0]
    strip = window.evaluate("[...document.querySelectorAll('dialog .strip i')].map((i) => i.className)")
    shown = [history.nights[n].cells.get(IGB) for n in range(len(history.nights))]
    assert strip == [f"o-{cell.outcome}" for cell in shown if cell]


def test_strips_say_by_shape_or_sign_what_colour_says(window: Page, site: Path) -> None:
    show(window, f"{site.as_uri()}/index.html")
    window.evaluate("document.querySelector('.strip').replaceChildren()")
    seen = set()
    for status in STATUSES:
        height, sign = window.evaluate(
            f"(() => {{ const i = document.createElement('i'); i.className = 'o-{status.replace(' ', '-')}';"
            "document.querySelector('.strip').replaceChildren(i);"
            "return [Math.round(i.getBoundingClientRect().height), getComputedStyle(i, '::before').content]; })()"
        )
        if status != "fixed":  # is as good as ok
            seen.add((height, sign))
    assert len(seen) == len(STATUSES) - 1


def expected(history: History, old: int, new: int) -> dict[str, Counter[str]]:
    """What `migmatrix diff` says of two nights, with flaky cells as the history says them, by kind and signature."""
    seen = look(history)

    def side(number: int) -> Side:
        place = next(n for n, night in enumerate(seen.nights) if night.number == number)
        rows = {cell.id: row for cell, row in seen.rows(place) if row.outcome != NOT_RUN}
        results = [replace(r, outcome=Outcome(rows[r.cell.id].outcome)) for r in seen.nights[place].results()]
        return Side.of(str(number), results, seen.nights[place])

    found = compare(side(old), side(new))
    return {
        kind.value.split()[0]: Counter(
            r.signature or "without a signature" for p in problems for r in p.group.results
        )
        for kind, problems in found.problems.items()
        if problems
    }


@pytest.mark.parametrize(("old", "new"), [(58, 59), (19, 20), (34, 36), (52, 20), (44, 43), (1, 59)])
def test_any_two_nights_compare_as_the_command_does(
    window: Page, site: Path, history: History, old: int, new: int
) -> None:
    show(window, f"{site.as_uri()}/compare.html#old={old}&new={new}")
    shown: dict[str, dict[str, int]] = (
        window.evaluate("""Object.fromEntries([...document.querySelectorAll(".kind")].map((kind) =>
      [kind.className.slice(7), Object.fromEntries([...kind.querySelectorAll("summary")].map((s) =>
        [s.textContent.replace(/^.* cells? /, ""), Number(s.querySelector("b").textContent.replace(",", ""))]))]))""")
    )
    assert shown == expected(history, old, new)
    changes = window.evaluate("[...document.querySelectorAll('.result > ul code')].map((c) => c.textContent)")
    assert changes == [c.text for c in changes_between(history.night(old), history.night(new))]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("igb 0xa4", {"Problems": 1}),
        ("BOOKWORM rtl8139", {"Cells": 16}),  # of the 25 pairs those without 9 that have neither bookworm
        ("BOOKWORM", {"Builds": 2, "Cells": 768}),
        ("pc-i440fx-4.2 igb trixie>bookworm/", {"Cells": 1}),
        ("no-such-thing", {}),
    ],
)
def test_search(window: Page, site: Path, words: str, found: dict[str, int]) -> None:
    show(window, f"{site.as_uri()}/search.html?q={quote(words)}")
    shown: dict[str, int] = (
        window.evaluate("""Object.fromEntries([...document.querySelectorAll(".result h2")].map((h) =>
      [h.firstChild.data, Number(h.querySelector("span").textContent.replace(",", ""))]))""")
    )
    assert shown == found


def key(window: Page, name: str) -> None:
    window.call("Input.dispatchKeyEvent", type="keyDown", key=name, text=name)
    window.call("Input.dispatchKeyEvent", type="keyUp", key=name)


def _is_load(event: dict[str, Any]) -> bool:
    return event.get("method") == "Page.lifecycleEvent" and event["params"]["name"] == "load"


def test_by_keyboard_from_the_first_screen_to_a_cell(window: Page, site: Path) -> None:
    show(window, f"{site.as_uri()}/index.html")
    key(window, "/")
    for letter in "igb trixie>bookworm/":
        key(window, letter)
    assert window.evaluate("document.activeElement.value") == "igb trixie>bookworm/"
    window.events.clear()
    window.press("Enter")
    while not any(_is_load(event) for event in window.events):
        window.call("Page.getFrameTree")  # which outlives a navigation, and lets events come in
    window.evaluate(
        "new Promise((done) => { const look = () => (document.querySelector('.result li a') ? done(1) : requestAnimationFrame(look)); look(); })"
    )
    assert window.evaluate("location.search") == "?q=igb+trixie%3Ebookworm%2F"
    link = window.evaluate("document.querySelector('.result li a').href")
    show(window, link)
    assert "igb" in text(window, "dialog[open] h2")
    window.press("Escape")
    window.settle()
    assert window.evaluate("document.querySelector('dialog').open") is False


def test_on_paper_controls_are_gone_and_signs_stay(window: Page, site: Path) -> None:
    show(window, f"{site.as_uri()}/index.html")
    window.call("Emulation.setEmulatedMedia", media="print")
    gone: list[Any] = window.evaluate(
        "[...document.querySelectorAll('.site, footer')].map((n) => n.checkVisibility())"
    )
    assert gone == [False, False]
    assert window.evaluate("document.querySelector('.nights .glyph').checkVisibility()") is True
    assert window.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    window.call("Emulation.setEmulatedMedia", media="")


def test_a_site_that_lacks_a_file_says_which(window: Page, history: History, tmp_path: Path) -> None:
    write_site(history, tmp_path / "site", 3)
    (tmp_path / "site" / "data" / "cells.js").unlink()
    window.open(f"{(tmp_path / 'site').as_uri()}/search.html?q=x")
    window.evaluate(
        "new Promise((done) => { const look = () => (document.querySelector('.loading.nobody') ? done(1) : requestAnimationFrame(look)); look(); })"
    )
    assert text(window, ".loading") == "data/cells.js is missing: this copy of the site is not whole."


def test_hostile_names_do_nothing(window: Page, tmp_path: Path) -> None:
    """A build, a profile and a machine that are called as markup, as a property of every object, and as a path."""
    names = json.loads(
        '["<img src=x onerror=alert(1)>", "__proto__", "../../../etc/passwd", "</script><script>alert(1)</script>"]'
    )
    made = make_history(600, 3, Script(broken=(range(1, 9),), missed=(), short=(), flaky=0))
    hostile = renamed(
        made, dict(zip(["bookworm", "trixie", "bullseye", "bookworm-backports"], names, strict=True))
    )
    write_site(hostile, tmp_path / "site")
    seen = 0
    for page in sorted((tmp_path / "site").rglob("*.html")):
        window.problems.clear()
        show(window, page.as_uri())
        assert window.problems == [], page
        assert window.evaluate("document.querySelectorAll('img, main script').length") == 0
        seen += "onerror" in text(window, "main")
    assert seen >= 3


def renamed(history: History, names: dict[str, str]) -> History:
    """The same history with other names of builds."""
    from migmatrix.harness.history.columns import cells_of

    nights = []
    for night in history.nights:
        cells = [
            replace(c, cell=replace(c.cell, path=tuple(names.get(b, b) for b in c.cell.path)))
            for c in night.cells
        ]
        builds = tuple(replace(b, id=names.get(b.id, b.id)) for b in night.builds)
        nights.append(replace(night, builds=builds, cells=cells_of(cells)))
    return replace(history, nights=nights)


def test_kinds_of_change_have_titles(site: Path) -> None:
    code = (site / "static" / "compare.js").read_text()
    assert all(f'{kind.value.split()[0]}: "' in code for kind in Kind)

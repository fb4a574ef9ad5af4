# SPDX-License-Identifier: Apache-2.0
"""The page as a reader has it, drawn by a real browser."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hostile_reports import hostile_report
from report_browser import Page, page_of
from test_report_problems import two_sorts

from migmatrix.harness.model import Cell, CellResult, Outcome, Verdict
from migmatrix.harness.report import BuildRow, RunReport, write_reports

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("browser"),
]

CELL = "pc-q35-4.2/pcie-root-port/bookworm-backports>bookworm/snapshot/paused"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    with page_of(tmp_path_factory.mktemp("browser"), 1400) as page:
        yield page


@pytest.fixture(scope="module")
def url(large: RunReport, tmp_path_factory: pytest.TempPathFactory) -> str:
    directory = tmp_path_factory.mktemp("report")
    write_reports(large, directory)
    return (directory / "report.html").as_uri()


def text(window: Page, selector: str) -> str:
    found: str = window.evaluate(f"document.querySelector({selector!r}).innerText")
    return found


def test_thirty_thousand_cells_open(window: Page, url: str) -> None:  # how fast: tox -e bench -- report
    window.open(url)
    window.settle()
    assert text(window, "h1") == "Do not ship"
    assert window.evaluate("document.querySelectorAll('.map').length") == 8


def test_nothing_is_fetched_and_nothing_complains(window: Page, url: str) -> None:
    window.open(url)
    window.settle()
    asked = [
        e["params"]["request"]["url"] for e in window.events if e.get("method") == "Network.requestWillBeSent"
    ]
    assert [u for u in asked if u not in (url, "about:blank")] == []
    assert window.problems == []


@pytest.mark.parametrize(
    ("fragment", "found"),
    [
        ("#machine=pc-q35-7.2&path=bookworm-backports%3Ebookworm&outcome=regression", "1 of 30,000 cells"),
        ("#text=0x10a%20bookworm&machine=pc-q35-7.2&kind=pairs", "3 of 30,000 cells"),
        ("#machine=no-such-machine", "0 of 30,000 cells"),
        ("#", "30,000 of 30,000 cells"),
    ],
)
def test_filters(window: Page, url: str, fragment: str, found: str) -> None:
    window.open(url + fragment)
    assert text(window, ".found") == found


def test_counts_agree_with_the_record(window: Page, url: str, large: RunReport) -> None:
    for outcome, count in large.outcomes().items():
        window.open(f"{url}#outcome={outcome}")
        assert text(window, ".found").startswith(f"{count:,} of ")


def test_the_cells_of_a_problem_are_as_many_as_it_says(
    window: Page, small: RunReport, tmp_path: Path
) -> None:
    write_reports(two_sorts(small), tmp_path)
    url = (tmp_path / "report.html").as_uri()
    window.open(url)
    links = window.evaluate(
        "[...document.querySelectorAll('.size a, .variants a, .legend a')].map((a) => [a.hash, a.querySelector('b').innerText])"
    )
    assert len(links) == 2 + 2 + 2  # problems, variants of the first, regressions of both sorts
    for fragment, count in links:
        window.open(url + fragment)
        assert text(window, ".found") == f"{count} of 11 cells"


def test_long_lists_are_drawn_as_far_as_they_are_read(window: Page, url: str) -> None:
    window.open(url)
    rows = "document.querySelectorAll('.cells tbody tr').length"
    assert window.evaluate(rows) == 200
    window.evaluate("document.querySelector('.more').click()")
    assert window.evaluate(rows) == 400


def test_a_cell_is_opened_by_its_link_and_closed_by_escape(window: Page, url: str) -> None:
    window.open(f"{url}#machine=pc-q35-7.2&cell={CELL.replace('>', '%3E')}")
    sheet = text(window, "dialog[open]")
    for part in ("pcie-root-port", "0x10a", "Bad config data", "migrate-incoming", f"--select 'cell={CELL}'"):
        assert part in sheet
    window.press("Escape")
    window.settle()
    assert window.evaluate("document.querySelector('dialog').open") is False
    assert window.evaluate("location.hash") == "#machine=pc-q35-7.2"


def test_heat_map_by_keyboard(window: Page, url: str) -> None:
    window.open(url)
    assert window.evaluate("document.querySelectorAll('.map:first-child td a[tabindex=\"0\"]').length") == 1
    window.evaluate("document.querySelector('.map td a[tabindex=\"0\"]').focus()")
    window.press("ArrowRight")
    window.press("ArrowDown")
    assert window.evaluate("document.activeElement.ariaLabel").startswith(
        "pc-i440fx-4.2, bookworm to bookworm: "
    )
    window.press("Enter")
    window.settle()
    assert window.evaluate("location.hash") == "#machine=pc-i440fx-4.2&path=bookworm%3Ebookworm"
    assert text(window, ".found") == "40 of 30,000 cells"


def test_evidence_of_a_problem_opens_by_its_link(window: Page, url: str) -> None:
    window.open(f"{url}#problem-2")
    window.settle()
    assert "load of migration failed" in text(window, "#problem-2 .hop.broke")


@pytest.mark.parametrize("dark", [False, True])
def test_text_on_colour_is_readable(window: Page, url: str, *, dark: bool) -> None:
    window.screen(1400, 900, dark=dark)
    window.open(url)
    ratios = window.evaluate(_CONTRAST)
    assert ratios
    assert min(ratios.values()) >= 4.5, ratios  # WCAG 2.2, 1.4.3


def test_hostile_text_does_nothing(window: Page, small: RunReport, tmp_path: Path) -> None:
    write_reports(replace(hostile_report(small), command="</code><b id=x>"), tmp_path)
    window.open((tmp_path / "report.html").as_uri() + "#cell=m/e1000/bullseye%3Ebookworm/snapshot/paused")
    window.settle()
    assert "</script><script>alert(1)</script>" in text(window, "dialog[open]")
    assert window.evaluate("document.getElementById('x')") is None
    assert window.problems == []


ISLANDS = ("qemu-7.2", "qemu-8.0", "qemu-8.0-with-a-longer-name"), ("host-a", "host-b")
HEADS = """[...document.querySelectorAll(".map thead th + th")].map((th) =>
  ({ lines: Math.round(th.getBoundingClientRect().height / 14), words: th.innerText.split("-").length }))"""
OUT_OF_SIGHT = """[...document.querySelectorAll(".map td a")].filter((a) => {
  const { left, right } = a.getBoundingClientRect();
  return left < 0 || right > innerWidth || right > a.closest(".scroll").getBoundingClientRect().right + 1; }).length"""


def of_islands(small: RunReport) -> RunReport:
    """Two machines; on one of them two groups of builds that no path joins; a fourth build has no cell."""
    found = [
        CellResult(Cell(machine, "p", (a, b)), Verdict.PASS, Outcome.OK)
        for machine, builds in (
            ("pc-q35-7.2", ISLANDS[0]),
            ("pc-q35-7.2", ISLANDS[1]),
            ("pc-q35-8.0", ISLANDS[1]),
        )
        for a in builds
        for b in builds
    ]
    builds = [BuildRow(name, "8.0.0") for name in (*ISLANDS[0], *ISLANDS[1], "without-cells")]
    return replace(small, results=found, cells_planned=len(found), builds=builds, explanations={})


@pytest.mark.parametrize("width", [1400, 390])
def test_maps_have_only_builds_with_cells_and_are_legible(
    window: Page, small: RunReport, tmp_path: Path, width: int
) -> None:
    write_reports(of_islands(small), tmp_path)
    window.screen(width, 900)
    window.open((tmp_path / "report.html").as_uri())
    window.settle()
    titles = "[...document.querySelectorAll('.map table')].map((t) => [...t.querySelectorAll('tbody th')].map((h) => h.firstChild.data))"
    assert window.evaluate(titles) == [list(ISLANDS[0]), list(ISLANDS[1]), list(ISLANDS[1])]
    assert all(head["lines"] <= head["words"] for head in window.evaluate(HEADS)), window.evaluate(HEADS)
    assert window.evaluate(OUT_OF_SIGHT) == 0
    assert window.evaluate("document.documentElement.scrollWidth") == width


def test_a_map_wider_than_the_page_scrolls_inside(window: Page, small: RunReport, tmp_path: Path) -> None:
    names = [f"build-{n}" for n in range(40)]
    found = [CellResult(Cell("m", "p", (a, b)), Verdict.PASS, Outcome.OK) for a in names for b in names]
    write_reports(replace(small, results=found, builds=[BuildRow(n, n) for n in names]), tmp_path)
    window.screen(1400, 900)
    window.open((tmp_path / "report.html").as_uri())
    window.settle()
    assert window.evaluate("document.documentElement.scrollWidth") == 1400
    assert window.evaluate(
        "(({ scrollWidth, clientWidth }) => scrollWidth > clientWidth)(document.querySelector('.scroll'))"
    )


@pytest.mark.parametrize("dark", [False, True])
def test_who_sees_no_green_tells_squares_apart(
    window: Page, small: RunReport, tmp_path: Path, *, dark: bool
) -> None:
    """By the matrix of Machado and others (2009) for deuteranopia; with green in place of blue they were 19 apart."""
    write_reports(two_sorts(small), tmp_path)
    window.screen(1400, 900, dark=dark)
    window.open((tmp_path / "report.html").as_uri())
    seen = window.evaluate(_AS_SEEN)
    for other in ("o-regression", "o-regression few", "o-known", "o-incomplete"):
        assert max(abs(a - b) for a, b in zip(seen["o-ok"], seen[other], strict=True)) >= 30, (other, seen)


def test_columns_sort_by_a_click_and_by_a_link(window: Page, small: RunReport, tmp_path: Path) -> None:
    write_reports(two_sorts(small), tmp_path)
    window.open((tmp_path / "report.html").as_uri())
    profiles = "[...document.querySelectorAll('.cells tbody td:nth-child(3)')].map((td) => td.innerText)"
    head = "document.querySelector('.cells th:nth-child(3)')"
    assert window.evaluate(f"{head}.ariaSort") == "none"
    window.evaluate(f"{head}.querySelector('button').click()")
    found = window.evaluate(profiles)
    assert found == sorted(found)
    assert window.evaluate(f"{head}.ariaSort") == "ascending"
    window.evaluate(f"{head}.querySelector('button').click()")
    assert window.evaluate(profiles) == sorted(found, reverse=True)
    assert window.evaluate("location.hash") == "#sort=-profile"


def test_what_is_listed_can_be_saved_as_json(window: Page, small: RunReport, tmp_path: Path) -> None:
    report = two_sorts(small)
    write_reports(report, tmp_path)
    window.open((tmp_path / "report.html").as_uri() + "#profile=net")
    window.evaluate("URL.createObjectURL = (blob) => { window.saved = blob; return '#'; }")
    window.evaluate("document.querySelector('.save').click()")
    (cell,) = json.loads(window.evaluate("window.saved.text()"))["cells"]
    (wanted,) = [r.to_json() for r in report.results if r.cell.profile == "net"]
    wanted.pop("hops")  # the page knows no keys
    wanted.pop("courses")  # and of statuses and events only what builds say differently
    assert cell == wanted


def test_nothing_found_offers_no_more(window: Page, url: str) -> None:
    window.open(url + "#machine=no-such-machine")
    assert window.evaluate("document.querySelector('.more').checkVisibility()") is False
    assert "0 left" not in window.evaluate("document.querySelector('.more').textContent")


_AS_SEEN = """(() => {
  const matrix = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]];
  const found = {};
  for (const name of ["o-ok", "o-regression", "o-regression few", "o-known", "o-incomplete"]) {
    const square = document.querySelector(".map td a");
    square.className = name;
    const colour = getComputedStyle(square).backgroundColor;
    const rgb = colour.match(/[\\d.]+/g).slice(0, 3).map((n) => n * (colour.startsWith("color(") ? 255 : 1));
    found[name] = matrix.map((row) => Math.min(255, Math.max(0, row.reduce((sum, factor, k) => sum + factor * rgb[k], 0))));
  }
  return found;
})()"""


_CONTRAST = """(() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((n) => n * (colour.startsWith("color(") ? 255 : 1));
  const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = (colour) => { const [r, g, b] = numbers(colour).map(linear); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (node) => { for (; node; node = node.parentElement) { const c = getComputedStyle(node).backgroundColor; if (!/, 0\\)$/.test(c)) return c; } };
  const ratio = (node) => { const [a, b] = [light(getComputedStyle(node).color), light(ground(node))].sort((x, y) => y - x); return (a + 0.05) / (b + 0.05); };
  const found = {};
  for (const node of document.querySelectorAll("h1, .kicker .muted, .limits, .mark, .map td a, .map th, .how, .why, .spread .muted, .size b, .field, a, summary, .filters label"))
    { const name = node.className + " " + node.tagName; found[name] = Math.min(found[name] ?? 99, ratio(node)); }
  return found;
})()"""

# SPDX-License-Identifier: Apache-2.0
"""The files of a site: the same each time, whole, with links that lead somewhere and foreign text that does nothing."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import pytest
from site_fakes import BREAKS, Script, make_history, write_history
from typer.testing import CliRunner

from migmatrix.harness.commands.main import app
from migmatrix.harness.errors import UserError
from migmatrix.harness.history import History
from migmatrix.harness.history.columns import cells_of
from migmatrix.harness.model import Outcome, Verdict
from migmatrix.harness.report.answer import Ship
from migmatrix.harness.site import write_site
from migmatrix.harness.site.answer import answer_of
from migmatrix.harness.site.data import packed
from migmatrix.harness.site.facts import Facts, slug
from migmatrix.harness.site.window import look

if TYPE_CHECKING:
    from pathlib import Path


class Elements(HTMLParser):
    """Every element of a page with its attributes."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def data_of(site: Path, name: str) -> object:
    """What `JSON.parse` gets of a data file."""
    quoted = re.fullmatch(rf"put\('{name}','(.*)'\);\n", (site / f"data/{name}.js").read_text(), re.DOTALL)
    assert quoted
    return json.loads(re.sub(r"\\(.)", r"\1", quoted[1]))


def unpacked(text: str) -> list[int]:
    runs = [run.partition("*") for run in text.split(",")]
    return [int(number) for number, _, count in runs for _ in range(int(count or 1))]


def files(directory: Path) -> dict[str, bytes]:
    return {
        str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()
    }


def test_equal_histories_make_equal_sites(history: History, site: Path, tmp_path: Path) -> None:
    stored = History.open(write_history(history, tmp_path / "db"))
    write_site(stored, tmp_path / "again")
    assert files(tmp_path / "again") == files(site)


def test_every_link_leads_to_a_file(site: Path) -> None:
    seen = 0
    for page in site.rglob("*.html"):
        for _, attributes in Elements(page).found:
            for link in (attributes.get("href"), attributes.get("src"), attributes.get("action")):
                if link and not urlsplit(link).scheme and urlsplit(link).path:
                    assert (page.parent / unquote(urlsplit(link).path)).is_file(), (page, link)
                    seen += 1
    assert seen > 500


def test_pages_of_problems_and_builds_are_those_that_search_knows(site: Path) -> None:
    names = data_of(site, "names")
    assert isinstance(names, dict)
    pages = {page for _, page, _ in names["problemPages"]} | {page for _, page in names["buildPages"]}
    assert pages == {f"{d}/{p.name}" for d in ("problems", "builds") for p in (site / d).iterdir()}


def test_no_page_has_a_script_or_a_style_in_it(site: Path) -> None:
    """Which the content security policy of each forbids, but a browser says so in its console only."""
    for page in site.rglob("*.html"):
        elements = Elements(page).found
        policy = [a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy"]
        assert len(policy) == 1
        assert "default-src 'none'" in str(policy[0])
        assert "unsafe" not in str(policy[0])
        assert [a for tag, a in elements if tag == "script" and not a.get("src")] == []
        assert [
            a for tag, a in elements if tag == "style" or "style" in a or any(n.startswith("on") for n in a)
        ] == []


def test_foreign_text_is_escaped(site: Path) -> None:
    pages = [p.read_text() for p in site.rglob("*.html")]
    assert any("&lt;script&gt;alert(1)" in text for text in pages)  # it is there
    assert not any("<script>alert" in text or "<img" in text for text in pages)
    assert not any("<" in p.read_text() for p in (site / "data").iterdir())


def test_data_of_cells_and_strips_are_what_the_history_says(history: History, site: Path) -> None:
    names = data_of(site, "names")
    assert isinstance(names, dict)
    window = look(history)
    for place in (0, 20, len(window.nights) - 1):
        night = window.nights[place]
        codes = unpacked(str(data_of(site, f"night-{night.number}")))
        assert codes == list(window.codes[place])
        for cell, code in zip(window.cells, codes, strict=True):
            there = night.cells.get(cell.id)
            if there is None:
                assert not code or names["states"][code - 1][-1] == "not run"
            else:
                assert names["verdicts"][names["states"][code - 1][0]] == there.verdict
                said = names["outcomes"][names["states"][code - 1][1]]
                assert said == there.outcome or (
                    said == Outcome.FLAKY and history.state(cell.id, place) == "flaky"
                )
    strips = data_of(site, "strips-0")
    assert isinstance(strips, list)
    first = window.cells[0].machine
    alone = [
        list(c)
        for cell, c in zip(window.cells, zip(*window.codes, strict=True), strict=True)
        if cell.machine == first
    ]
    assert [unpacked(text) for text in strips] == alone


def test_runs_of_numbers_are_short() -> None:
    assert packed([3, 3, 3, 1, 2, 2]) == "3*3,1,2*2"
    assert packed([]) == ""


def test_a_problem_says_when_it_broke_and_what_changed(history: History, site: Path) -> None:
    (problem,) = [p for p in Facts.of(look(history)).problems if "igb" in p.signature]
    (broke,) = problem.broke
    assert broke.when.last_good is not None
    assert (broke.when.last_good.time.day, broke.when.first_bad.time.day) == (22, 23)  # nights 51 and 52
    assert [(c.what, c.name) for c in broke.changes] == [("build", BREAKS)]
    text = (site / problem.page).read_text()
    assert broke.changes[0].text.replace(">", "&gt;") in text
    assert "-global igb.x-pcie-flr-init=off on trixie" in text
    assert problem.first.time.day == 21  # night 20: it came, went, and came again


def test_what_is_missing_is_seen(history: History, site: Path) -> None:
    facts = Facts.of(look(history))
    assert [one.night.time.day for one in facts.nights if one.missed] == [5]  # night 34: 33 did not come
    short = next(one for one in facts.nights if len(one.night.cells) < one.night.counts.planned)
    assert short.counts["not run"] == short.night.counts.planned - len(short.night.cells)
    assert "a night is missing before 2026-10-05" in (site / "index.html").read_text()


def test_names_of_files_are_plain_and_differ() -> None:
    assert slug("../../etc/passwd") != slug("etc/passwd")
    assert re.fullmatch(r"[a-z0-9-]+", slug("../é\ud800 x" * 40))
    assert len(slug("x" * 500)) < 70


GREEN = Script(broken=(), late=(), missed=(), short=(), flaky=0)


def test_the_answer_of_a_night() -> None:
    window = look(make_history(600, 2, GREEN))
    night, counts = window.last, window.counts(1)
    assert answer_of(night, counts).ship is Ship.YES

    def answer(**other: object) -> Ship:
        return answer_of(replace(night, **other), counts).ship  # type: ignore[arg-type]  # fields by name

    assert answer(exit_code=1) is Ship.NO
    assert answer(exit_code=3) is Ship.UNKNOWN
    assert answer(interrupted=True) is Ship.UNKNOWN
    assert answer(selection=("profile=x",)) is Ship.CLEAN
    assert answer(counts=replace(night.counts, run=0)) is Ship.UNKNOWN
    assert answer(counts=replace(night.counts, planned=10_000)) is Ship.UNKNOWN
    for status, ship in (
        ("regression", Ship.NO),
        ("own", Ship.NO),
        ("flaky", Ship.YES),
        ("known", Ship.YES),
        ("not run", Ship.UNKNOWN),
    ):
        assert answer_of(night, counts + type(counts)({status: 1})).ship is ship
    assert answer_of(replace(night, exit_code=1), counts + type(counts)({"flaky": 1})).ship is Ship.UNKNOWN


def test_many_new_failures_are_told_with_what_they_share_first(tmp_path: Path) -> None:
    history = make_history(600, 2, GREEN)
    first, last = history.nights
    cells = cells_of(
        replace(c, verdict=Verdict.FAIL, outcome=Outcome.REGRESSION, signature="crash")
        if "trixie" in c.cell.path
        else c
        for c in last.cells
    )
    write_site(replace(history, nights=[first, replace(last, cells=cells, exit_code=1)]), tmp_path / "red")
    write_site(history, tmp_path / "green")
    text = (tmp_path / "red" / "index.html").read_text()
    assert "share build trixie" in text
    assert text.index("share build trixie") < text.index('id="nights"')
    assert 'class="surge"' not in (tmp_path / "green" / "index.html").read_text()


def test_only_a_site_is_replaced(tmp_path: Path) -> None:
    history = make_history(600, 2, GREEN)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    for out in (mine, mine / "thesis.txt"):
        with pytest.raises(UserError, match="--out"):
            write_site(history, out)
    assert (mine / "thesis.txt").read_text() == "years"
    out = tmp_path / "site"
    write_site(history, out)
    (out / "problems" / "old.html").write_text("of a problem that is no longer in the window")
    write_site(history, out)
    assert not (out / "problems" / "old.html").exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["mine", "site"]


def test_a_history_without_nights_makes_no_site(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no night yet"):
        write_site(History(tmp_path / "history.jsonl", ()), tmp_path / "site")
    assert list(tmp_path.iterdir()) == []


def test_the_command(history: History, tmp_path: Path) -> None:
    database = write_history(history, tmp_path / "db")
    done = CliRunner().invoke(
        app("site"), ["site", str(database), "--out", str(tmp_path / "out"), "--nights", "5"]
    )
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "out" / "index.html") in done.output
    assert len(list((tmp_path / "out" / "data").glob("night-*.js"))) == 5

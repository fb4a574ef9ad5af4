# SPDX-License-Identifier: Apache-2.0
"""`migmatrix diff` and `history show`: by problem, in a stable order, loud things first."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from nights import HERE, NEW, OLD, cell, night, one, written

from migmatrix.harness.errors import UserError
from migmatrix.harness.history.compare import Kind, compare
from migmatrix.harness.history.side import Side, read_side
from migmatrix.harness.history.told import to_json, to_lines, to_markdown
from migmatrix.harness.model import Cell

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from lab import Lab

    from migmatrix.harness.history.compare import Comparison
    from migmatrix.harness.history.records import Night


def side(name: str, made: Night) -> Side:
    return Side.of(name, made.results(), made)


def compared(old: dict[str, str], new: dict[str, str], **changes: Any) -> Comparison:
    return compare(side("old", night(0, old)), side("new", night(1, new, **changes)))


QUIET = {f"q{n}": "ok" for n in range(20)}  # so that one red cell is no surge


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ("ok", "red", Kind.NEW),
        (None, "red", Kind.NEW),
        ("known", "red", Kind.NEW),
        ("skipped", "red", Kind.NEW),
        ("flaky", "red", Kind.NEW),
        ("red", "red", Kind.STILL),
        ("red", "known", Kind.STILL),
        (None, "known", Kind.STILL),
        ("red:a b", "wrong:a c", Kind.CHANGED),
        ("red", "ok", Kind.FIXED),
        ("known", "fixed", Kind.FIXED),
        ("red", None, Kind.GONE),
        ("red", "lost", Kind.GONE),
        ("known", "skipped", Kind.GONE),
        ("ok", "flaky", Kind.FLAKY),
        ("red", "flaky", Kind.FLAKY),
        ("ok", "ok", None),
        ("ok", None, None),
        (None, "ok", None),
        ("ok", "lost", None),
    ],
)
def test_a_cell_is_of_one_kind(before: str | None, after: str | None, kind: Kind | None) -> None:
    old, new = ({**QUIET, **({"nic": word} if word else {})} for word in (before, after))
    found = compared(old, new)
    assert {k: [p.cells for p in found.problems[k]] for k in Kind if found.problems[k]} == (
        {kind: [(cell("nic").id,)]} if kind else {}
    )
    assert found.worse == (kind is Kind.NEW)
    lost = before in ("ok", "red", "known") and after in (None, "lost", "skipped")
    assert found.silenced == ((cell("nic").id,) if lost else ())


def test_cells_of_one_signature_are_one_problem_that_knows_how_it_was_before() -> None:
    old = {**QUIET, "a": "red:sig x", "b": "ok", "c": "ok", "d": "ok"}
    found = compared(old, {**QUIET, "a": "red:sig x", "b": "red:sig x", "c": "red:sig x", "d": "red:other y"})
    assert [(p.group.signature, len(p.cells), p.earlier) for p in found.problems[Kind.NEW]] == [
        ("other y", 1, 0),
        ("sig x", 2, 1),
    ]


def test_texts_are_equal_for_equal_comparisons_and_escape_what_emulators_say() -> None:
    hostile = "red:sig <b>|`x`\x1b[31m\n@all"
    words = {**QUIET, "a": hostile, "b": "red:sig z", "c": "flaky"}
    results = night(1, words).results()
    one_, two = (
        compare(side("old", night(0, QUIET)), Side.of("new", order, night(1, words)))
        for order in (results, results[::-1])
    )
    for render in (to_json, to_markdown, lambda found: list(to_lines(found))):
        assert render(one_) == render(two)
    text = "\n".join(to_lines(one_)) + to_markdown(one_)
    assert "\x1b" not in text
    rows = [line for line in to_markdown(one_).splitlines() if "sig" in line]
    assert all(len(re.split(r"(?<!\\)\|", row)) == 5 for row in rows)


def grid(red: set[tuple[str, str]], **changes: Any) -> tuple[Side, Side]:
    """Cells of 3 profiles on 4 paths; `red` are (profile, destination)."""
    builds = tuple(replace(OLD, id=name) for name in ("a", "b", "c"))
    paths = [("a", "b"), ("a", "c"), ("b", "c"), ("c", "b")]

    def cells(broken: set[tuple[str, str]]) -> dict[str, Any]:
        return {
            f"{p}{n}": replace(
                one("x", "red" if (p, path[-1]) in broken else "ok", f"{n}"), cell=Cell("pc-q35-7.2", p, path)
            )
            for p in ("nic", "disk", "usb")
            for n, path in enumerate(paths)
        }

    old = night(0, cells(set()), builds=builds, profiles={})
    new = night(1, cells(red), **{"builds": builds, "profiles": {}, **changes})
    return side("old", old), side("new", new)


def test_a_surge_names_the_build_that_all_newly_red_cells_share() -> None:
    builds = tuple(replace(OLD, id=n, version="9.9.0" if n == "c" else OLD.version) for n in ("a", "b", "c"))
    red = {(p, "c") for p in ("nic", "disk", "usb")}
    found = compare(*grid(red, builds=builds)).surge
    assert found is not None
    assert (found.red, found.cells, found.what, found.name, found.sharing, found.having) == (
        6,
        12,
        "destination",
        "c",
        6,
        6,
    )
    assert found.text == (
        "6 of 12 cells are newly red at once; 6 of them share destination c (6 cells have it); changed: build c: 9.0.0"
        " (000000000000) -> 9.9.0 (000000000000)"
    )
    assert next(iter(to_lines(compare(*grid(red, builds=builds))))).endswith("1 new")
    assert list(to_lines(compare(*grid(red, builds=builds))))[1] == f"  surge: {found.text}"


def test_a_surge_names_the_profile_or_the_host_or_nothing() -> None:
    profile = compare(*grid({("nic", "b"), ("nic", "c")})).surge
    everything = {(p, d) for p in ("nic", "disk", "usb") for d in "bc"}
    host = compare(*grid(everything, environment=replace(HERE, kernel="6.9.0"))).surge
    nothing = compare(*grid(everything)).surge
    assert profile is not None and host is not None and nothing is not None  # noqa: PT018 - one thing
    assert (profile.what, profile.name, profile.sharing) == ("profile", "nic", 4)
    assert host.text == "12 of 12 cells are newly red at once; changed: host kernel: 6.1.0 -> 6.9.0"
    assert nothing.text == "12 of 12 cells are newly red at once; they share nothing that is known"


def test_few_red_cells_are_no_surge() -> None:
    assert compare(*grid({("nic", "b")})).surge is None


def call(lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.call([*lab.command()[:3], *arguments])


def test_every_form_of_a_side_says_the_same(lab: Lab) -> None:
    """From the command line: a run, its report.json, its results.jsonl, a night by number and from the end."""
    good = lab.matrix(builds=lab.builds({"old": [], "new": []}), machines=["pc-q35-7.2"])
    lab.run(good, "--history", "db", out="good")
    lab.run(
        lab.matrix(builds=lab.builds({"old": [], "new": ["-fake", "state=aer"]})),
        "--history",
        "db",
        out="bad",
    )
    news = ("bad", "bad/report.json", "bad/results.jsonl", "db@2", "db@-1", "db/history.jsonl@-1")
    olds = ("good", "good/report.json", "good/results.jsonl", "db@1", "db@-2", "db@1")
    problems = []
    for old, new in zip(olds, news, strict=True):
        done = call(lab, "diff", old, new, "--json")
        assert done.returncode == 1, done.stderr
        problems.append(json.loads(done.stdout)["problems"])
    assert all(found == problems[0] for found in problems)
    (new_one,) = problems[0]["new"]
    assert new_one["signature"] == "pci-config e1000e 0x10a"
    assert new_one["cells"]
    back = call(lab, "diff", "bad", "good")
    assert (back.returncode, call(lab, "diff", "bad", "bad").stdout) == (
        0,
        "bad -> bad: 1 still\n\nstill there\n" + _rest(back.stdout),
    )
    assert "changed: arguments of build new: " in call(lab, "diff", "db@1", "db@2").stdout
    assert call(lab, "diff", "good", "bad", "--markdown").stdout.startswith("## `good` → `bad`\n")


def _rest(text: str) -> str:
    """The problem of a comparison in which it is the only one."""
    rest = text.partition("\nfixed\n")[2]
    return (
        rest
        if "before:" in rest
        else rest.replace("     1 machine", "     before: 3 cells had it\n     1 machine")
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("none", None, "there is no 'none'"),
        ("db@9", None, "there is no 'db@9'"),
        (
            "history.jsonl",
            "",
            "'history.jsonl' is a history: name one of its nights, as history.jsonl@-1 for the last",
        ),
        ("x.json", "{}", "'x.json' holds no results: KeyError: 'groups'"),
        ("x.json", "[1", "'x.json' holds no results: JSONDecodeError"),
        ("x.jsonl", '{"cell": 1}\n', "'x.jsonl' holds no results: KeyError"),
        ("x.jsonl", "\x00\n", "'x.jsonl' holds no results: JSONDecodeError"),
    ],
)
def test_what_is_no_side_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str | None, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(
        UserError,
        match=re.escape(message).replace(
            "there\\ is\\ no\\ 'db@9'", "there is no history 'db/history.jsonl'"
        ),
    ):
        read_side(name)


def test_show_is_loud_first_and_verify_checks_roots(lab: Lab) -> None:
    path = lab.root / "db" / "history.jsonl"
    made = [
        night(0, {"nic": one("nic", "ok", "1"), "usb": one("usb", "ok", "1")}),
        night(
            1,
            {"nic": one("nic", "red", "2"), "usb": one("usb", "flaky", "1")},
            builds=(OLD, replace(NEW, version="9.2.0")),
        ),
    ]
    path.parent.mkdir()
    written(path, *made)
    shown = call(lab, "history", "show", "db", "--every", "24h")
    data = json.loads(call(lab, "history", "show", "db", "--json").stdout)
    lines = shown.stdout.splitlines()
    assert shown.returncode == data["exit_code"] == 1
    assert lines[0] == "Migration matrix m: red: 1 new"
    assert re.fullmatch(r"  ! no night for \d+ days, though one is to come every 24 hours", lines[1])
    assert lines[2].startswith(
        f"  ~ flaky: {cell('usb').id}: 1 x pass, 1 x two answers, 2026-01-02 to 2026-01-02, carried by nobody"
    )
    assert "     first bad night 2 (2026-01-02), last good night 1 (2026-01-01)" in lines
    assert "     changed: build new: 9.1.0 (111111111111) -> 9.2.0 (111111111111)" in lines
    assert data["cells"][cell("nic").id] == {"state": "new", "strip": ".X"}
    assert data["flakes"][0]["cell"] == cell("usb").id
    assert data["problems"][0]["last_good"] == 1

    assert call(lab, "history", "verify", "db").returncode == 0
    written(path, night(2, {"nic": "ok"}, root="0" * 64))
    checked = call(lab, "history", "verify", "db")
    assert (checked.returncode, checked.stdout.splitlines()[0]) == (
        1,
        "night 3: the root is not that of its cells",
    )

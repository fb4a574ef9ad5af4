# SPDX-License-Identifier: Apache-2.0
"""Terms of --select on cells and results."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.harness.errors import UserError
from migmatrix.harness.model import Cell, CellResult, Outcome, Verdict
from migmatrix.harness.select import Selection, glob_match

CELL = Cell("pc-q35-7.2", "virtio-net", ("qemu-7.2", "qemu-10.0", "qemu-11.1"))
RESULT = CellResult(CELL, Verdict.FAIL, Outcome.REGRESSION, signature="vmstate/fifo[3],len")

CELL_TERMS = [
    ("machine=pc-q35-*", True),
    ("machine=pc-q35", False),
    ("machine=pc-i440fx-*,pc-q35-7.?", True),
    ("profile=virtio*", True),
    ("path=qemu-7.2>*", True),
    ("path=*>qemu-11.1", True),
    ("path=qemu-7.2>qemu-11.1", False),
    ("path=qemu-7.2>*>qemu-11.1", True),
    ("mode=snapshot", True),
    ("mode=live*", False),
    ("guest=paused,firmware", True),
    ("cell=*/virtio-net/*", True),
    ("build=qemu-10.0", True),
    ("build=qemu-10", False),
]
RESULT_TERMS = [
    ("verdict=fail", True),
    ("verdict=pass,error", False),
    ("outcome=regression", True),
    ("signature=vmstate/fifo[3],*", True),
    ("signature=vmstate/fifo3,*", False),
]


@pytest.mark.parametrize(("term", "selected"), CELL_TERMS)
def test_cell_term(term: str, selected: bool) -> None:
    assert Selection.parse([term]).selects(CELL) is selected
    assert Selection.parse([term]).selects_result(RESULT) is selected


@pytest.mark.parametrize(("term", "selected"), RESULT_TERMS)
def test_result_term(term: str, selected: bool) -> None:
    selection = Selection.parse([term])
    assert selection.selects_result(RESULT) is selected
    assert selection.selects(CELL)
    assert [str(t) for t in selection.on_results] == [term]


def test_repeated_terms_all_hold() -> None:
    assert Selection.parse(["path=qemu-7*", "path=*11.1"]).selects(CELL)
    assert not Selection.parse(["path=qemu-7*", "path=*10.0"]).selects(CELL)


def test_result_without_a_signature() -> None:
    passed = CellResult(CELL, Verdict.PASS, Outcome.OK)
    assert not Selection.parse(["signature=?*"]).selects_result(passed)


def test_no_terms_select_everything() -> None:
    assert Selection().selects_result(RESULT)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("machine", "'machine' is not a selection: write key=pattern"),
        ("machine=", "'machine=' is not a selection: write key=pattern"),
        ("machine=,", "'machine=,' is not a selection: write key=pattern"),
        (
            "nope=x",
            "unknown selection key 'nope': known are machine, profile, path, mode, guest, cell, build, verdict, outcome, signature",
        ),
    ],
)
def test_mistake(term: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Selection.parse([term])
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("term", "hint"),
    [
        ("profile=nix*", ": did you mean 'nic'?"),
        ("path=x>*", ": known: "),
        ("machine=pc-q35-7.2.1", ": known: pc-q35-7.2"),
        ("cell=nothing", ""),
    ],
)
def test_terms_that_match_nothing_are_refused_with_what_was_meant(term: str, hint: str) -> None:
    cell = Cell("pc-q35-7.2", "nic", ("A", "B"))
    with pytest.raises(UserError) as mistake:
        Selection.parse(["mode=snap*", term]).refuse_lonely([cell])
    assert str(mistake.value).startswith(f"--select {term} matches no cell{hint}")


def test_terms_that_match_something_are_not_refused() -> None:
    Selection.parse(["machine=pc-q35-*", "verdict=fail"]).refuse_lonely([CELL])


def test_words_of_a_verdict_are_known() -> None:
    with pytest.raises(UserError, match="unknown verdict 'passs': did you mean 'pass'"):
        Selection.parse(["verdict=passs"])
    with pytest.raises(UserError, match="unknown outcome 'knwon': did you mean 'known'"):
        Selection.parse(["outcome=ok,knwon"])
    assert Selection.parse(["outcome=wrong*"]).on_results


@given(st.text())
def test_text_without_stars_matches_itself_only(text: str) -> None:
    pattern = text.replace("*", "").replace("?", "")
    assert glob_match(pattern, pattern)
    assert not glob_match(pattern + "x", pattern)
    assert glob_match("a" + pattern + "\nb", "*" + pattern + "*")

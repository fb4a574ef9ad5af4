# SPDX-License-Identifier: Apache-2.0
"""The known-issues file, outcomes and exit codes."""

from __future__ import annotations

from dataclasses import fields
from datetime import date
from typing import TYPE_CHECKING

import pytest

from migmatrix.harness.errors import ConfigError, ExitCode
from migmatrix.harness.judge import CellJudgement
from migmatrix.harness.known import (
    KnownIssue,
    apply,
    exit_code,
    load_known,
    plain_result,
    unmatched,
)
from migmatrix.harness.model import Cause, Cell, CellResult, Outcome, Stage, Verdict

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = """\
- id: aer
  selector: {machine: pc-q35-*, path: ["old>new", "new>old"]}
  signature: pci-config/pcie-root-port/*
  reason: the mask is not kept
  link: https://example.org/1
  owner: me
  expires: 2030-01-31
"""
TODAY, LAST_DAY, DAY_AFTER = date(2029, 1, 1), date(2030, 1, 31), date(2030, 2, 1)
CELL = Cell("pc-q35-7.2", "ports", ("old", "new"))
OTHER = Cell("pc-i440fx-7.2", "ports", ("old", "new"))
SAME, ANOTHER = "pci-config/pcie-root-port/0x10a", "vmstate/serial"


def load(tmp_path: Path, text: str = ENTRY) -> tuple[KnownIssue, ...]:
    path = tmp_path / "known.yaml"
    path.write_text(text)
    return load_known(path)


def judged(verdict: str, signature: str | None = None, cell: Cell = CELL) -> CellJudgement:
    return CellJudgement(cell, Verdict(verdict), signature=signature)


def result(verdict: str, signature: str | None = None, cell: Cell = CELL) -> CellResult:
    return CellResult(cell, Verdict(verdict), Outcome.INCOMPLETE, signature=signature)


def test_entry(tmp_path: Path) -> None:
    (entry,) = load(tmp_path)
    assert (entry.id, entry.owner, entry.expires) == ("aer", "me", date(2030, 1, 31))
    assert (entry.reason, entry.link) == ("the mask is not kept", "https://example.org/1")
    assert str(entry.position) == f"{tmp_path}/known.yaml:1:7"
    assert entry.selects(CELL)
    assert not entry.selects(OTHER)


@pytest.mark.parametrize(
    "selector",
    ["machine=pc-q35-*", "[machine=pc-q35-*, 'path=old>*']", "{machine: 'pc-q35-7.2,x', build: new}"],
)
def test_forms_of_a_selector(tmp_path: Path, selector: str) -> None:
    text = ENTRY.replace('{machine: pc-q35-*, path: ["old>new", "new>old"]}', selector)
    (entry,) = load(tmp_path, text)
    assert entry.selects(CELL)
    assert not entry.selects(OTHER)


OUTCOMES = [
    ("passes", "pass", None, OTHER, TODAY, "ok", None, ""),
    ("listed cell passes", "pass", None, CELL, TODAY, "fixed", "aer", "passes although 'aer' says that it fails"),
    ("expired entry, passes", "pass", None, CELL, DAY_AFTER, "ok", None, ""),
    ("not listed", "fail", SAME, OTHER, TODAY, "regression", None, ""),
    ("known", "fail", SAME, CELL, TODAY, "known", "aer", "the mask is not kept"),
    ("known on its last day", "fail", SAME, CELL, LAST_DAY, "known", "aer", "the mask is not kept"),
    ("expired", "fail", SAME, CELL, DAY_AFTER, "regression", "aer", "known issue 'aer' expired on 2030-01-31"),
    (
        "other signature",
        "fail",
        ANOTHER,
        CELL,
        TODAY,
        "wrong-failure",
        "aer",
        "known issue 'aer' has the signature 'pci-config/pcie-root-port/*'",
    ),
    ("no signature", "fail", None, CELL, TODAY, "wrong-failure", "aer", "known issue 'aer' has the signature 'pci-config/pcie-root-port/*'"),
    ("other signature, expired", "fail", ANOTHER, CELL, DAY_AFTER, "regression", None, ""),
    ("unsupported", "unsupported", None, CELL, TODAY, "skipped", None, ""),
    ("blocked", "blocked", None, CELL, TODAY, "ok", None, ""),
    ("error", "error", None, CELL, TODAY, "incomplete", None, ""),
]  # fmt: skip


@pytest.mark.parametrize("row", OUTCOMES, ids=[row[0] for row in OUTCOMES])
def test_outcome(tmp_path: Path, row: tuple[str, str, str | None, Cell, date, str, str | None, str]) -> None:
    _, verdict, signature, cell, today, outcome, issue, reason = row
    found = apply(judged(verdict, signature, cell), load(tmp_path), today)
    assert (found.outcome, found.known_issue, found.reason) == (Outcome(outcome), issue, reason)


FLAKY_ENTRY = ENTRY.replace("id: aer", "id: shaky").replace("pci-config/pcie-root-port/*", "flaky")


def two_answers() -> CellJudgement:
    cause = Cause("flaky", message="flaky: crash at load (SIGSEGV), and done again: pass")
    return CellJudgement(CELL, Verdict.ERROR, 1, Stage.LOAD, cause, "flaky", reason=cause.message)


@pytest.mark.parametrize(
    ("entries", "today", "issue"),
    [("", TODAY, None), (ENTRY, TODAY, None), (FLAKY_ENTRY, TODAY, "shaky"), (FLAKY_ENTRY, DAY_AFTER, None)],
)
def test_two_answers_are_flaky_and_an_entry_carries_them(
    tmp_path: Path, entries: str, today: date, issue: str | None
) -> None:
    found = apply(two_answers(), load(tmp_path, entries) if entries else (), today)
    assert (found.outcome, found.known_issue) == (Outcome.FLAKY, issue)
    passed = apply(judged("pass", None, OTHER), (), TODAY)
    assert exit_code([found, passed]) == ExitCode.OK


def test_an_entry_of_a_flaky_cell_says_nothing_of_its_other_answers(tmp_path: Path) -> None:
    known = load(tmp_path, FLAKY_ENTRY)
    assert apply(judged("pass", None), known, TODAY).outcome is Outcome.OK
    assert apply(judged("fail", SAME), known, TODAY).outcome is Outcome.REGRESSION
    assert unmatched(known, [apply(two_answers(), known, TODAY)]) == ()


def test_blocked_is_judged_like_a_failure_where_the_policy_says_so(tmp_path: Path) -> None:
    known = load(tmp_path)
    assert apply(judged("blocked", SAME), known, TODAY, "regression").outcome is Outcome.KNOWN
    assert apply(judged("blocked", SAME, OTHER), known, TODAY, "regression").outcome is Outcome.REGRESSION


def test_a_reason_that_the_judge_gave_is_kept_where_no_entry_decides(tmp_path: Path) -> None:
    refused = CellJudgement(CELL, Verdict.UNSUPPORTED, reason="no such device")
    assert apply(refused, load(tmp_path), TODAY).reason == "no such device"


def test_everything_that_was_judged_is_in_the_result() -> None:
    cause = Cause("crash", "cpu", "SIGSEGV", "ended by SIGSEGV in load")
    judgement = CellJudgement(CELL, Verdict.FAIL, 1, Stage.LOAD, cause, SAME, 0.5, "why", ("k0", "k1"))
    found = apply(judgement, (), TODAY)
    assert {f.name: getattr(found, f.name) for f in fields(judgement)} == {
        f.name: getattr(judgement, f.name) for f in fields(judgement)
    }


@pytest.mark.parametrize(
    ("verdict", "outcome"),
    [
        ("pass", "ok"),
        ("fail", "regression"),
        ("unsupported", "skipped"),
        ("blocked", "ok"),
        ("error", "incomplete"),
    ],
)
def test_where_nothing_is_expected_the_verdict_makes_the_outcome(verdict: str, outcome: str) -> None:
    found = plain_result(judged(verdict, SAME))
    assert (found.outcome, found.known_issue) == (Outcome(outcome), None)
    assert found == apply(judged(verdict, SAME), (), TODAY)


def test_the_entry_with_the_signature_wins_over_one_without(tmp_path: Path) -> None:
    first = ENTRY.replace("id: aer", "id: other").replace("pci-config/pcie-root-port/*", ANOTHER)
    found = apply(judged("fail", SAME), load(tmp_path, first + ENTRY), TODAY)
    assert (found.outcome, found.known_issue) == (Outcome.KNOWN, "aer")


def test_a_signature_is_literal_but_for_its_stars(tmp_path: Path) -> None:
    text = ENTRY.replace("pci-config/pcie-root-port/*", "fifo[3],x*")
    (entry,) = load(tmp_path, text)
    assert entry.has_signature("fifo[3],xyz")
    assert not entry.has_signature("fifo3,xyz")


def test_unmatched_entries(tmp_path: Path) -> None:
    known = load(tmp_path)
    assert unmatched(known, []) == known
    assert unmatched(known, [result("pass", cell=OTHER), result("unsupported")]) == known
    assert unmatched(known, [result("pass")]) == ()
    assert unmatched(known, [result("fail", ANOTHER)]) == ()


EXIT_CODES = [
    (("ok", "known", "fixed", "skipped"), ExitCode.OK),
    (("ok", "regression"), ExitCode.REGRESSIONS),
    (("wrong-failure",), ExitCode.REGRESSIONS),
    (("incomplete",), ExitCode.INCOMPLETE),
    (("regression", "incomplete"), ExitCode.INCOMPLETE),
]


@pytest.mark.parametrize(("outcomes", "code"), EXIT_CODES)
def test_exit_code(outcomes: tuple[str, ...], code: ExitCode) -> None:
    results = [CellResult(CELL, Verdict.PASS, Outcome(outcome)) for outcome in outcomes]
    assert exit_code(results) is code


MISTAKES = {
    "unknown key": (("owner", "onwer"), "6:3: unknown key 'onwer': did you mean 'owner'?"),
    "missing key": (("  owner: me\n", ""), "1:3: key 'owner' is missing"),
    "no reason": (("the mask is not kept", '""'), "4:11: text is wanted, not ''"),
    "not a date": (
        ("2030-01-31", "soon"),
        "7:12: a date such as 2030-01-31, unquoted, is wanted, not 'soon'",
    ),
    "no such day": (("2030-01-31", "2030-02-31"), "7:12: 2030-02-31 is not a date"),
    "a number for a date": (
        ("2030-01-31", "20300131"),
        "7:12: a date such as 2030-01-31, unquoted, is wanted, not 20300131",
    ),
    "unknown selection key": (
        ("{machine:", "{machin:"),
        "2:14: unknown selection key 'machin': known are machine, profile, path, mode, guest, cell, build, verdict, outcome, signature",
    ),
    "selector on results": (
        ("{machine:", "{verdict:"),
        "2:14: a selector is about cells: 'verdict' is not one of machine, profile, path, mode, guest, cell, build",
    ),
    "version as a pattern": (
        ("pc-q35-*", "7.2"),
        '2:23: 7.2 unquoted is a number, not text: write "7.2"',
    ),
    "twice": (("- id: aer", ENTRY + "- id: aer"), "8:7: 'aer' is also the id of line 1"),
    "not a list": (("- id: aer", "  id: aer"), "1:3: a list is wanted, not a mapping"),
}


@pytest.mark.parametrize(("change", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistake(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, ENTRY.replace(*change, 1))
    assert str(caught.value).removeprefix(f"{tmp_path}/known.yaml:") == message

# SPDX-License-Identifier: Apache-2.0
"""Where cells stand, what changed, what is flaky, and what is as loud as a red night."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from nights import EPOCH, HERE, NEW, OLD, cell, night, one, written

from migmatrix.harness.history import STALE, History, State
from migmatrix.harness.history.alarm import alarms, missed
from migmatrix.harness.history.overview import letters, overview_code
from migmatrix.harness.history.records import KnownIssueNote, Night
from migmatrix.harness.history.states import state_of, unsteady

if TYPE_CHECKING:
    from pathlib import Path

NIC = cell("nic").id
LATER = EPOCH + timedelta(days=400)


def nights(*words: str | None, key: bool = False) -> list[Night]:
    """A night for each word of the cell `nic`, None for one without it; a key a night unless `key` is one for all."""
    made = []
    for day, word in enumerate(words):
        cells = {"disk": one("disk", "ok", "d")}
        if word is not None:
            cells["nic"] = one("nic", word, "same" if key else f"{day:x}")
        made.append(night(day, cells, profiles={"nic": "p", "disk": "p"}))
    return made


def history(tmp_path: Path, *made: Night) -> History:
    return written(tmp_path / "h.jsonl", *made)


@pytest.mark.parametrize(
    ("words", "state"),
    [
        (("ok",), State.OK),
        (("blocked",), State.OK),
        (("red",), State.NEW),
        (("ok", "red"), State.NEW),
        (("ok", "red", "red"), State.STILL),
        (("ok", "red", "lost", "red"), State.STILL),
        (("red", "wrong"), State.STILL),
        (("known", "red"), State.NEW),
        (("red", "known"), State.KNOWN),
        (("red", "ok"), State.FIXED),
        (("known", "lost", None, "ok"), State.FIXED),
        (("ok", "fixed"), State.FIXED),
        (("red", "ok", "ok"), State.OK),
        (("ok", "skipped"), State.SKIPPED),
        (("ok", "lost"), State.NOT_RUN),
        (("lost",), State.NOT_RUN),
        (("ok", None), State.NOT_RUN),
        (("ok", *[None] * (STALE - 1)), State.NOT_RUN),
        (("ok", *[None] * STALE), State.STALE),
        (("ok", *["lost"] * STALE), State.STALE),
        (("flaky",), State.FLAKY),
        ((None,), None),
    ],
)
def test_the_state_follows_from_the_nights(words: tuple[str | None, ...], state: State | None) -> None:
    made = nights(*words)
    assert state_of(made, cell("nic"), len(made) - 1) is state
    assert state_of(made, cell("disk"), len(made) - 1) is State.OK


def test_a_cell_whose_build_or_profile_left_the_matrix_has_no_state() -> None:
    for changes in ({"builds": (OLD,)}, {"profiles": {"disk": "p"}}):
        made = [*nights("ok"), night(1, {"disk": "ok"}, **changes)]
        assert state_of(made, cell("nic"), 1) is None


@pytest.mark.parametrize(
    ("first", "second", "changes", "flaky"),
    [
        ("ok", "red", {}, True),
        ("red", "ok", {}, True),
        ("red", "wrong:another one", {}, False),  # it failed both times
        ("ok", "lost", {}, False),
        ("red", "known", {}, False),
        ("blocked", "red", {}, True),
        ("flaky", "ok", {}, True),
        ("ok", "red", {"environment": replace(HERE, kernel="6.2")}, False),
        ("ok", "red", {"environment": replace(HERE, patterns="bb")}, False),
        ("ok", "red", {"environment": replace(HERE, harness="0.2")}, False),
        ("ok", "red", {"environment": replace(HERE, engine="docker 28")}, False),
    ],
)
def test_the_same_legs_with_another_verdict_are_flaky(
    first: str, second: str, changes: dict[str, Any], *, flaky: bool
) -> None:
    made = [night(0, {"nic": one("nic", first)}), night(1, {"nic": one("nic", second)}, **changes)]
    assert (state_of(made, cell("nic"), 1) is State.FLAKY) == flaky
    other = [made[0], night(1, {"nic": one("nic", second, "k2")}, **changes)]
    assert state_of(other, cell("nic"), 1) is not State.FLAKY


def test_cells_of_unknown_keys_are_not_called_flaky() -> None:
    made = [night(day, {"nic": replace(one("nic", word), key="")}) for day, word in enumerate(("ok", "red"))]
    assert state_of(made, cell("nic"), 1) is State.NEW


def test_a_flake_is_told_with_counts_dates_and_who_carries_it(tmp_path: Path) -> None:
    note = KnownIssueNote("shaky", "active", "r", "https://x.org/", "ann", "2027-01-01")
    made = nights("ok", "flaky", "ok", "red", "ok", key=True)
    made[1] = replace(
        made[1],
        known_issues=(note,),
        cells=night(1, {"nic": one("nic", "flaky", "same", known_issue="shaky")}).cells,
    )
    found = history(tmp_path, *made)
    (flake,) = found.flakes()
    assert (flake.cell, flake.first.number, flake.last.number) == (cell("nic"), 2, 5)
    assert dict(flake.seen) == {"pass": 3, "fail": 1, "two answers": 1}
    assert (flake.owner, flake.issue and flake.issue.expires) == ("ann", "2027-01-01")
    assert found.state(NIC) is State.FLAKY
    assert overview_code(found, EPOCH, None) == 0


def test_a_flake_is_forgotten_after_a_window_and_when_its_cell_leaves(tmp_path: Path) -> None:
    made = nights("ok", "red", *["ok"] * 40, key=True)
    made[2:] = [replace(n, cells=night(0, {"nic": one("nic", "ok", "new")}).cells) for n in made[2:]]
    found = history(tmp_path, *made)
    assert [bool(found.flakes(at)) for at in (0, 1, 2, 31, 32, 41)] == [False, True, True, True, False, False]
    assert unsteady(found.nights, 41) == set() or found.flakes() == []
    gone = history(tmp_path / "gone", *made[:2], night(2, {"disk": "ok"}))
    assert gone.flakes() == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"builds": (OLD, replace(NEW, version="9.2.0", digest="2" * 64))},
         ["build new: 9.1.0 (111111111111) -> 9.2.0 (222222222222)"]),
        ({"builds": (OLD, replace(NEW, package="1:9.1+dfsg", digest="3" * 64))},
         ["build new: 9.1.0 (111111111111) -> 9.1.0 1:9.1+dfsg (333333333333)"]),
        ({"builds": (OLD, NEW, replace(NEW, id="other"))}, ["rest mode, guest, or a file that arguments name: 1000000000 -> 2000000000"]),
        ({"environment": replace(HERE, kernel="6.9.0", harness="0.2.0")}, ["harness: 0.1.0 -> 0.2.0", "host kernel: 6.1.0 -> 6.9.0",
         "rest mode, guest, or a file that arguments name: 1000000000 -> 2000000000"]),
        ({"profiles": {"nic": "q", "disk": "p"}}, ["profile nic: p -> q"]),
        ({"profiles": {"nic": "p", "disk": "q"}}, ["rest mode, guest, or a file that arguments name: 1000000000 -> 2000000000"]),
    ],
)  # fmt: skip
def test_a_break_tells_the_nights_and_what_changed_between_them(
    tmp_path: Path, changes: dict[str, Any], told: list[str]
) -> None:
    made = nights("ok", "ok", None, "red", "red", "known")
    made[3:] = [replace(n, **changes) for n in made[3:]]
    made[3] = replace(made[3], cells=night(3, {"nic": one("nic", "red", "2")}).cells)
    found = history(tmp_path, *made).break_of(NIC)
    assert found is not None
    assert found.last_good is not None
    assert (found.first_bad.number, found.last_good.number, found.unanswered) == (4, 2, 1)
    assert [change.text for change in found.changes] == told


def test_a_problem_has_the_changes_that_its_cells_share_and_its_first_sighting(tmp_path: Path) -> None:
    good = night(0, {"nic": one("nic", "ok", "1"), "disk": one("disk", "red:e1000 other", "1"), "usb": "ok"})
    newer = {
        "builds": (OLD, replace(NEW, version="9.2.0")),
        "profiles": {"nic": "q", "disk": "p", "usb": "p"},
    }
    bad = night(1, {n: one(n, "red", "2") for n in ("nic", "disk", "usb")}, **newer)
    found = history(tmp_path, good, bad)
    (problem,) = found.problems()
    assert problem.cells == tuple(sorted(cell(n).id for n in ("disk", "nic", "usb")))
    assert problem.first_seen is not None
    assert problem.last_good is None or problem.last_good.number == 1
    assert problem.first_bad.number == 1  # `disk` was red before, with another signature
    assert found.first_seen["pci-config nic 0x10"].number == 2


def test_a_night_of_a_late_line_stands_at_its_time(tmp_path: Path) -> None:
    one_, two, three = nights("ok", "red", "ok")
    found = history(tmp_path, one_, three, two)
    assert [n.number for n in found.nights] == [1, 3, 2]
    assert (found.night(-1).time, found.night(2).time) == (three.time, three.time)
    assert [c and c.outcome for c in found.strip(NIC)] == ["ok", "regression", "ok"]


EVERY = timedelta(hours=24)


def test_silence_and_short_nights_are_loud(tmp_path: Path) -> None:
    made = nights("ok", "ok", "ok")
    made[2] = replace(
        made[2], time=EPOCH + timedelta(days=4), every=EVERY, counts=replace(made[2].counts, planned=5)
    )
    found = history(tmp_path, *made)
    now = EPOCH + timedelta(days=4, hours=3)
    assert [(a.kind, a.text, a.tonight) for a in alarms(found, now)] == [
        ("short", "ran short: 2 of 5 planned cells have a verdict", True),
        ("missed", "2 nights missed between 2026-01-02 and 2026-01-05", True),
    ]
    assert [a.kind for a in alarms(found, now + timedelta(hours=34))] == ["silent", "short", "missed"]
    assert [a.kind for a in alarms(found, now + timedelta(hours=34), timedelta(days=7))] == ["short"]
    assert letters(found, NIC, EVERY, 30) == "..  ."
    assert overview_code(found, now, None) == 3


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"interrupted": True}, "interrupted"),
        ({"counts": replace(night(0, {"nic": "ok"}).counts, run=0, reused=1)}, "reused"),
        ({"cells": night(0, {}).cells, "counts": replace(night(0, {}).counts, planned=0)}, "empty"),
        ({"cells": night(0, {"nic": "lost"}).cells}, "host"),
    ],
)
def test_a_night_that_said_little_is_loud(tmp_path: Path, changes: dict[str, Any], kind: str) -> None:
    found = history(tmp_path, replace(night(0, {"nic": "ok"}), **changes))
    assert kind in [alarm.kind for alarm in alarms(found, EPOCH)]
    assert overview_code(found, EPOCH, None) == 3
    quiet = history(tmp_path / "quiet", night(0, {"nic": "ok"}))
    assert alarms(quiet, LATER) == []
    assert overview_code(quiet, LATER, None) == 0


@pytest.mark.parametrize(("hours", "count"), [(24, 0), (35, 0), (36, 1), (48, 1), (71, 2), (72, 2), (240, 9)])
def test_gaps_are_counted_in_cadences(hours: int, count: int) -> None:
    before = night(0, {})
    assert missed(before, replace(before, time=before.time + timedelta(hours=hours)), EVERY) == count
    assert missed(before, replace(before, time=before.time + timedelta(hours=hours)), None) == 0

# SPDX-License-Identifier: Apache-2.0
"""Sixty nights on the reference emulator, run for real: what the history says of them is what the script did."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sixty_nights
from sixty_nights import (
    BREAKS,
    COVERED,
    EVERY,
    FIRST,
    HOST_BACK,
    IDLE,
    MISSING,
    NIGHTS,
    OTHER_HOST,
    REPAIRED,
    SIGNATURE,
    UNCOVERED,
)

from migmatrix.harness.history import History, State
from migmatrix.harness.history.alarm import alarms
from migmatrix.harness.history.compare import Kind, compare
from migmatrix.harness.history.merkle import root_of
from migmatrix.harness.history.overview import letters
from migmatrix.harness.history.side import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sixty_nights import Nights

    from migmatrix.harness.history.compare import Comparison

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

PORT = [f"pc-q35-7.2/port/{path}/snapshot/paused" for path in ("next>old", "old>next")]
SHAKY = "pc-q35-7.2/legacy/old>shaky/snapshot/paused"
STEADY = [
    "pc-q35-7.2/port/old>shaky/snapshot/paused",
    *(f"pc-q35-7.2/legacy/{path}/snapshot/paused" for path in ("next>old", "old>next")),
]
FLAKY = [17, 53]  # drawn by the seed


@pytest.fixture(scope="module")
def made() -> Iterator[Nights]:
    directory = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    yield sixty_nights.make(directory)
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def history(made: Nights) -> History:
    return made.history()


def index(night: int) -> int:
    """The place of a night of the script in the history, which lacks one."""
    return night - (night > MISSING)


def until(history: History, night: int) -> History:
    """The history as it was on the morning after a night."""
    return History(history.path, history.nights[: index(night) + 1])


def strip(said: dict[range, str]) -> str:
    """A letter a night, ``.`` where nothing is said, a blank for the missing one."""
    text = ["."] * NIGHTS
    for nights, letter in said.items():
        for night in nights:
            text[night] = letter
    text[MISSING] = " "
    return "".join(text)


def test_every_night_but_one_is_there_in_order(made: Nights, history: History) -> None:
    assert [night.time for night in history.nights] == [FIRST + n * EVERY for n in sixty_nights.days()]
    assert [night.root for night in history.nights] == [root_of(night.cells) for night in history.nights]
    assert set(history.cells) == {*PORT, SHAKY, *STEADY}
    assert made.flaky == FLAKY


def test_strips_are_as_scripted(history: History) -> None:
    port = strip(
        {range(BREAKS, COVERED): "X", range(COVERED, REPAIRED): "k", range(REPAIRED, UNCOVERED): "^"}
    )
    shaky = strip({**{range(n, n + 1): "~" for n in FLAKY}, range(OTHER_HOST, HOST_BACK): "X"})
    assert {id_: letters(history, id_, EVERY, NIGHTS) for id_ in history.cells} == {
        **dict.fromkeys(PORT, port),
        **dict.fromkeys(STEADY, strip({})),
        SHAKY: shaky,
    }


def test_states_are_as_scripted(history: History) -> None:
    def states(id_: str, nights: list[int]) -> list[State | None]:
        return [history.state(id_, index(night)) for night in nights]

    for id_ in PORT:
        nights = [BREAKS - 1, BREAKS, BREAKS + 1, COVERED, REPAIRED, UNCOVERED]
        assert states(id_, nights) == [State.OK, State.NEW, State.STILL, State.KNOWN, State.FIXED, State.OK]
    nights = [
        FLAKY[0],
        FLAKY[0] + 1,
        OTHER_HOST - 1,
        OTHER_HOST,
        OTHER_HOST + 1,
        HOST_BACK,
        HOST_BACK + 1,
        FLAKY[1],
    ]
    assert states(SHAKY, nights) == [
        *(State.FLAKY, State.OK, State.OK, State.NEW, State.STILL, State.FIXED, State.OK, State.FLAKY)
    ]
    for id_ in STEADY:
        assert set(states(id_, list(sixty_nights.days()))) == {State.OK}


def test_no_flaky_night_is_red_and_every_red_one_is(history: History) -> None:
    red = {*range(BREAKS, COVERED), *range(OTHER_HOST, HOST_BACK)}
    assert {n for n in sixty_nights.days() if history.nights[index(n)].exit_code == 1} == red
    assert {night.exit_code for night in history.nights} == {0, 1}


def test_the_culprit_of_the_regression_is_the_release(history: History) -> None:
    for night in (BREAKS, COVERED - 1, REPAIRED - 1):
        (problem,) = history.problems(index(night))
        assert problem.group.signature == SIGNATURE
        assert problem.cells == tuple(PORT)
        assert problem.last_good is not None
        assert (problem.first_bad, problem.last_good) == (history.nights[BREAKS], history.nights[BREAKS - 1])
        assert [(change.what, change.name) for change in problem.changes] == [("build", "next")]
        assert problem.changes[0].before.startswith("7.2")
        assert problem.changes[0].after.startswith("8.0")
        assert (problem.issue.owner if problem.issue else None) == (None if night < COVERED else "ann")
    assert history.first_seen[SIGNATURE] == history.nights[BREAKS]


def test_the_culprit_of_the_crashes_is_the_host_though_the_legs_are_the_same(history: History) -> None:
    good, bad = (history.nights[index(n)].cells.get(SHAKY) for n in (OTHER_HOST - 1, OTHER_HOST))
    assert good is not None
    assert bad is not None
    assert good.key == bad.key
    found = history.break_of(SHAKY, index(HOST_BACK - 1))
    assert found is not None
    assert (found.first_bad, found.last_good) == (
        history.nights[index(OTHER_HOST)],
        history.nights[index(OTHER_HOST - 1)],
    )
    assert [change.text for change in found.changes] == ["host kernel: 6.1.0-1 -> 6.9.0-1"]


def test_flakes_are_those_that_the_emulator_made(history: History) -> None:
    for night, first in [(FLAKY[0], FLAKY[0]), (FLAKY[0] + 30, FLAKY[0]), (NIGHTS - 1, FLAKY[1])]:
        (flake,) = history.flakes(index(night))
        assert (flake.cell.id, flake.first, flake.owner) == (SHAKY, history.nights[index(first)], "nobody")
        assert dict(flake.seen)["two answers"] == 1
    assert history.flakes(FLAKY[0] - 1) == []
    assert history.flakes(index(FLAKY[1] - 1)) == []


def compared(history: History, old: int, new: int) -> Comparison:
    before, after = (history.nights[index(n)] for n in (old, new))
    return compare(Side.of("old", before.results(), before), Side.of("new", after.results(), after))


def test_differences_are_as_scripted(history: History) -> None:
    def kinds(found: Comparison) -> dict[Kind, list[str]]:
        return {
            kind: [id_ for one in ones for id_ in one.cells] for kind, ones in found.problems.items() if ones
        }

    breaks = compared(history, BREAKS - 1, BREAKS)
    assert kinds(breaks) == {Kind.NEW: PORT}
    assert breaks.surge is not None
    assert (breaks.surge.what, breaks.surge.name, [c.name for c in breaks.surge.changes]) == (
        "build",
        "next",
        ["next"],
    )
    assert kinds(compared(history, BREAKS, COVERED)) == {Kind.STILL: PORT}
    assert kinds(compared(history, REPAIRED - 1, REPAIRED)) == {Kind.FIXED: PORT}
    assert kinds(compared(history, OTHER_HOST - 1, OTHER_HOST)) == {Kind.NEW: [SHAKY]}
    assert kinds(compared(history, FLAKY[0] - 1, FLAKY[0])) == {Kind.FLAKY: [SHAKY]}
    assert kinds(compared(history, IDLE - 1, IDLE)) == {}
    assert [night for night in (BREAKS, COVERED, REPAIRED) if compared(history, night - 1, night).worse] == [
        BREAKS
    ]


def test_the_missing_and_the_idle_night_are_loud(history: History) -> None:
    def loud(night: int, hours: int = 3) -> list[tuple[str, bool]]:
        now = FIRST + night * EVERY + timedelta(hours=hours)
        return [(alarm.kind, alarm.tonight) for alarm in alarms(until(history, night), now)]

    assert loud(MISSING - 1) == []
    assert loud(MISSING - 1, 40) == [("silent", True)]
    assert loud(MISSING + 1) == [("missed", True)]
    assert loud(MISSING + 2) == [("missed", False)]
    assert loud(IDLE) == [("reused", True)]
    assert loud(IDLE + 1) == []


def test_the_command_line_says_the_same(made: Nights) -> None:
    def call(*words: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "migmatrix", *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False)

    database = str(made.database)
    shown = call("history", "show", database, "--json")
    data = json.loads(shown.stdout)
    assert shown.returncode == 3  # the last night is long ago
    assert [alarm["kind"] for alarm in data["alarms"]] == ["silent"]
    assert [flake["cell"] for flake in data["flakes"]] == [SHAKY]
    assert call("diff", f"{database}@{BREAKS}", f"{database}@{BREAKS + 1}").returncode == 1
    assert call("diff", f"{database}@-2", f"{database}@-1").returncode == 0
    assert call("history", "verify", database).returncode == 0

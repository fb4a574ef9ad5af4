# SPDX-License-Identifier: Apache-2.0
"""What `migmatrix history show` tells: the last night and how loud it is, problems, flakes, strips; as lines and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import ExitCode
from migmatrix.harness.history.alarm import Alarm, alarms, cadence_of, missed
from migmatrix.harness.history.records import State
from migmatrix.harness.history.told import changes_json
from migmatrix.harness.model import Outcome
from migmatrix.harness.report.terminal import describe_problem, spread
from migmatrix.harness.report.text import plural
from migmatrix.harness.visible import visible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from migmatrix.harness.history.history import History
    from migmatrix.harness.history.records import Night, NightCell
    from migmatrix.harness.history.standing import Standing
    from migmatrix.harness.history.states import Flake

__all__ = ["LETTERS", "letters", "overview_code", "overview_json", "overview_lines"]

LETTERS: Final = {
    Outcome.OK: ".",
    Outcome.REGRESSION: "X",
    Outcome.WRONG_FAILURE: "W",
    Outcome.KNOWN: "k",
    Outcome.FIXED: "^",
    Outcome.SKIPPED: "-",
    Outcome.INCOMPLETE: "?",
    Outcome.FLAKY: "~",
}
_ABSENT: Final = "_"
_MISSED: Final = " "
_SHOWN: Final = 20
_WANTED: Final = [state for state in State if state not in (State.OK, State.SKIPPED)]


def letters(history: History, cell: str, every: timedelta | None, length: int) -> str:
    """A cell's strip, a letter a night, oldest first: ``_`` for a night without it, a blank for one that is missing."""
    window = history.window(length=length)
    strip = history.strip(cell, length=length)
    text = ""
    for before, night, found in zip([None, *window], window, strip, strict=False):
        text += _MISSED * (missed(before, night, every) if before else 0) + _letter(found)
    return text[-length:]


def _letter(found: NightCell | None) -> str:
    return LETTERS[found.outcome] if found else _ABSENT


def overview_code(history: History, now: datetime, every: timedelta | None) -> ExitCode:
    """1 when the last night has red cells, else 3 for what is as loud, else 0."""
    if any(state in (State.NEW, State.STILL) for state in history.states().values()):
        return ExitCode.REGRESSIONS
    loud = any(alarm.tonight for alarm in alarms(history, now, every))
    return ExitCode.INCOMPLETE if loud else ExitCode.OK


def overview_lines(
    history: History, now: datetime, every: timedelta | None, *, whole: bool, length: int
) -> Iterator[str]:
    """For a terminal, the loud ones first; `whole` shows every strip."""
    found = alarms(history, now, every)
    if not history.nights:
        yield from _loud(found)
        return
    states = Counter(history.states().values())
    night = history.nights[-1]
    yield visible(f"{night.title}: {_answer(states, found)}")
    yield from _loud(found)
    yield from _flakes(history.flakes())
    yield _counts(night, states)
    for number, standing in enumerate(history.problems(), 1):
        yield from _problem(number, standing)
    yield from _strips(history, cadence_of(history.nights, every), whole=whole, length=length)


def _answer(states: Counter[State], found: Sequence[Alarm]) -> str:
    red = [f"{states[state]:,} {state}" for state in (State.NEW, State.STILL) if states[state]]
    if red:
        return f"red: {', '.join(red)}"
    return "no answer" if any(alarm.tonight for alarm in found) else "nothing unexpected"


def _loud(found: Sequence[Alarm]) -> Iterator[str]:
    yield from (f"  ! {visible(alarm.text)}" for alarm in found)


def _flakes(flakes: Sequence[Flake]) -> Iterator[str]:
    for flake in flakes[:_SHOWN]:
        seen = ", ".join(f"{count} x {what}" for what, count in flake.seen)
        until = f", until {flake.issue.expires}" if flake.issue else ""
        days = f"{flake.first.time:%Y-%m-%d} to {flake.last.time:%Y-%m-%d}"
        yield visible(f"  ~ flaky: {flake.cell.id}: {seen}, {days}, carried by {flake.owner}{until}")
    if len(flakes) > _SHOWN:
        yield f"  ~ and {plural(len(flakes) - _SHOWN, 'more flaky cell')}: --json has all"


def _counts(night: Night, states: Counter[State]) -> str:
    counts = night.counts
    told = ", ".join(f"{states[state]:,} {state}" for state in State if states[state])
    return (
        f"  night {night.number}, {night.time:%Y-%m-%d %H:%M %Z}: {counts.planned:,} planned, {counts.run:,} run,"
        f" {counts.reused:,} reused, {counts.skipped:,} skipped; {told}"
    )


def _problem(number: int, standing: Standing) -> Iterator[str]:
    if number == 1:
        yield ""
    kind = "" if standing.red else " (known)"
    yield f"{number:>3}. {plural(len(standing.cells), 'cell')}  {describe_problem(standing.group)}{kind}"
    good = f", last good {_named(standing.last_good)}" if standing.last_good else ", never seen good"
    yield f"     first bad {_named(standing.first_bad)}{good}"
    if standing.issue:
        yield visible(
            f"     carried by {standing.issue.owner}, until {standing.issue.expires}: {standing.issue.reason}"
        )
    yield from (f"     changed: {visible(change.text)}" for change in standing.changes)
    yield f"     {spread(standing.group)}"


def _named(night: Night) -> str:
    return f"night {night.number} ({night.time:%Y-%m-%d})"


def _strips(history: History, every: timedelta | None, *, whole: bool, length: int) -> Iterator[str]:
    states = history.states()
    wanted = [
        id_ for state in State if whole or state in _WANTED for id_, its in states.items() if its is state
    ]
    if wanted:
        yield ""
    for id_ in wanted if whole else wanted[:_SHOWN]:
        yield visible(f"  {letters(history, id_, every, length):>{length}}  {states[id_]:<8} {id_}")
    if not whole and len(wanted) > _SHOWN:
        yield f"  and {plural(len(wanted) - _SHOWN, 'more cell')}: -v shows all"


def overview_json(history: History, now: datetime, every: timedelta | None, *, length: int) -> dict[str, Any]:
    """For programs; docs/history.md names the keys."""
    cadence = cadence_of(history.nights, every)
    states = history.states() if history.nights else {}
    return {
        "path": str(history.path),
        "exit_code": int(overview_code(history, now, every)),
        "every": cadence.total_seconds() if cadence else None,
        "alarms": [asdict(alarm) for alarm in alarms(history, now, every)],
        "nights": [_night(night) for night in history.window(length=length)],
        "problems": [_standing(one) for one in history.problems()],
        "flakes": [_flake(flake) for flake in history.flakes()],
        "cells": {
            id_: {"state": state.value, "strip": letters(history, id_, cadence, length)}
            for id_, state in states.items()
        },
    }


def _night(night: Night) -> dict[str, Any]:
    return {
        "number": night.number,
        "time": night.time.isoformat(),
        "exit_code": night.exit_code,
        "counts": asdict(night.counts),
        "root": night.root,
    }


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "signature": one.group.signature,
        "red": one.red,
        "cells": list(one.cells),
        "first_seen": one.first_seen and one.first_seen.number,
        "first_bad": one.first_bad.number,
        "last_good": one.last_good and one.last_good.number,
        "changes": changes_json(one.changes),
        "owner": one.issue.owner if one.issue else None,
        "expires": one.issue.expires if one.issue else None,
    }


def _flake(flake: Flake) -> dict[str, Any]:
    return {
        "cell": flake.cell.id,
        "first": flake.first.number,
        "last": flake.last.number,
        "seen": dict(flake.seen),
        "owner": flake.issue.owner if flake.issue else None,
        "expires": flake.issue.expires if flake.issue else None,
    }

# SPDX-License-Identifier: Apache-2.0
"""What is as loud as a red night: none came, it ran short, it was cut off, it ran nothing that it could have reused.

1. A cadence is given, or the last that was stored with a night. A gap of one and a half of it or more is a missed night.
2. `Alarm.tonight` are those about the last night, or that there is none; the others are about the week before.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from migmatrix.harness.history.records import State
from migmatrix.harness.history.states import STALE
from migmatrix.harness.model import Outcome
from migmatrix.harness.report.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime, timedelta

    from migmatrix.harness.history.history import History
    from migmatrix.harness.history.records import Night

__all__ = ["Alarm", "alarms", "cadence_of", "missed"]

_LATE: Final = 1.5


@dataclass(frozen=True, slots=True)
class Alarm:
    """`kind` is silent, missed, cut, interrupted, short, empty, reused or host; `text` is for people."""

    kind: str
    text: str
    tonight: bool = True


def cadence_of(nights: Sequence[Night], given: timedelta | None = None) -> timedelta | None:
    """How often a night is to come: as given, else as stored last."""
    return given or next((night.every for night in reversed(nights) if night.every), None)


def missed(before: Night, after: Night, every: timedelta | None) -> int:
    """How many nights should have been between two."""
    if every is None or (gap := after.time - before.time) < _LATE * every:
        return 0
    return max(round(gap / every) - 1, 1)


def alarms(history: History, now: datetime, every: timedelta | None = None) -> list[Alarm]:
    """What is wrong with the nights themselves, whatever their cells say; of the last night first."""
    if not history.nights:
        return [Alarm("empty", "the history has no night")]
    cadence = cadence_of(history.nights, every)
    return [*_silence(history, now, cadence), *_cut(history), *_last(history), *_gaps(history, cadence)]


def _silence(history: History, now: datetime, every: timedelta | None) -> Iterator[Alarm]:
    last = history.nights[-1]
    if every is not None and (age := now - last.time) >= _LATE * every:
        yield Alarm("silent", f"no night for {told(age)}, though one is to come every {told(every)}")


def told(time: timedelta) -> str:
    """A time in its largest unit: ``26 hours``, ``3 days``."""
    hours = time.total_seconds() / 3600
    if hours >= 2 * 24:
        return plural(round(hours / 24), "day")
    return plural(round(hours), "hour") if hours >= 1 else plural(round(hours * 60), "minute")


def _cut(history: History) -> Iterator[Alarm]:
    if history.cut:
        yield Alarm("cut", f"the last line of {history.path} is cut, a writer was killed: add its run again")


def _last(history: History) -> Iterator[Alarm]:
    night, counts = history.nights[-1], history.nights[-1].counts
    if night.interrupted:
        yield Alarm("interrupted", "the run was interrupted")
    if not len(night.cells):
        yield Alarm("empty", "no cell ran")
    elif counts.judged < counts.planned:
        yield Alarm(
            "short",
            f"ran short: {counts.judged:,} of {plural(counts.planned, 'planned cell')} have a verdict",
        )
    if counts.reused and not counts.run:
        yield Alarm("reused", f"nothing ran: {plural(counts.reused, 'cell')} reused, none done anew")
    states = history.states().values()
    if lost := sum(state in (State.NOT_RUN, State.STALE) for state in states):
        stale = sum(state is State.STALE for state in states)
        also = f", {stale:,} of them for {STALE} nights or more" if stale else ""
        yield Alarm("short", f"{plural(lost, 'cell')} of earlier nights not run{also}")
    if hosts := sum(outcome is Outcome.INCOMPLETE for outcome in night.cells.outcomes):
        yield Alarm("host", f"{plural(hosts, 'cell')} without a verdict: the host or the engine failed")


def _gaps(history: History, every: timedelta | None) -> Iterator[Alarm]:
    recent = history.window(length=STALE + 1)
    pairs = list(itertools.pairwise(recent))
    for before, after in reversed(pairs):
        if count := missed(before, after, every):
            days = f"{before.time:%Y-%m-%d} and {after.time:%Y-%m-%d}"
            yield Alarm("missed", f"{plural(count, 'night')} missed between {days}", after is recent[-1])

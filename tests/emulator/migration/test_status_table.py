# SPDX-License-Identifier: Apache-2.0
"""Every status with every event: what follows, and that everything else is refused and changes nothing.

The table is written out here once more, by hand and in another shape, so that a row that is lost or gained by a
change of `states` is noticed. Walks through it are checked against what QMP's documentation says of the statuses.
"""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.emulator.migration.states import RUNNING, Event, Progress, Status, WrongEventError

# status: {event: next}; a status that is missing has no way out
_WAYS = {
    "none": {"start": "setup"},
    "completed": {"start": "setup"},
    "failed": {"start": "setup"},
    "cancelled": {"start": "setup"},
    "setup": {"retry": "setup", "activate": "active", "cancel": "cancelling", "break": "failing", "fail": "failed"},
    "active": {
        "pause": "pre-switchover", "switch": "device", "complete": "completed", "cancel": "cancelling",
        "postcopy-load": "postcopy-device", "postcopy": "postcopy-active", "break": "failing", "fail": "failed",
    },
    "pre-switchover": {"switch": "device", "cancel": "cancelling", "break": "failing", "fail": "failed"},
    "device": {
        "complete": "completed", "cancel": "cancelling", "postcopy-load": "postcopy-device",
        "postcopy": "postcopy-active", "break": "failing", "fail": "failed",
    },
    "postcopy-device": {"postcopy": "postcopy-active", "cancel": "cancelling", "break": "failing", "fail": "failed"},
    "postcopy-active": {
        "lose": "postcopy-paused", "complete": "completed", "cancel": "cancelling", "break": "failing", "fail": "failed",
    },
    "postcopy-paused": {
        "resume": "postcopy-recover-setup", "link": "postcopy-recover", "cancel": "cancelling", "break": "failing",
        "fail": "failed",
    },
    "postcopy-recover-setup": {
        "lose": "postcopy-paused", "link": "postcopy-recover", "cancel": "cancelling", "break": "failing",
        "fail": "failed",
    },
    "postcopy-recover": {
        "lose": "postcopy-paused", "recover": "postcopy-active", "cancel": "cancelling", "break": "failing",
        "fail": "failed",
    },
    "cancelling": {"cancelled": "cancelled"},
    "failing": {"fail": "failed"},
}  # fmt: skip
PAIRS = list(product(Status, Event))
ENDS = {"completed", "failed", "cancelled"}


def at(status: Status) -> tuple[Progress, list[str]]:
    """A migration in that status, and what it tells from now on."""
    told: list[str] = []
    progress = Progress(lambda new: told.append(new.value), status)
    return progress, told


@pytest.mark.parametrize(("status", "event"), PAIRS)
def test_every_status_with_every_event(status: Status, event: Event) -> None:
    progress, told = at(status)
    wanted = _WAYS.get(status.value, {}).get(event.value)
    assert progress.can(event) is (wanted is not None)
    if wanted is None:
        with pytest.raises(WrongEventError, match=f"'{event.value}' in status '{status.value}'"):
            progress.fire(event)
        assert (progress.status, told) == (status, [])
    else:
        assert progress.fire(event).value == wanted
        assert (progress.status.value, told) == (wanted, [wanted])


@pytest.mark.parametrize("status", list(Status))
def test_what_counts_as_a_migration_under_way(status: Status) -> None:
    progress, _ = at(status)
    under_way = status.value in _WAYS and "start" not in _WAYS[status.value]
    assert progress.running is under_way
    assert (status in RUNNING) is under_way


def test_names_are_those_of_qmp() -> None:
    """The words of `MigrationStatus` that clients compare with."""
    assert {status.value for status in Status} >= {
        *_WAYS,
        "colo",
        "wait-unplug",
        "postcopy-active",
        "postcopy-paused",
    }
    assert all(status.value == status.value.lower() and "_" not in status.value for status in Status)


@pytest.mark.parametrize("end", sorted(ENDS))
def test_every_end_can_be_reached_from_every_status_under_way(end: str) -> None:
    for begin in ("setup", "active", "pre-switchover", "device"):
        reached, found = {begin}, {begin}
        while reached:
            reached = {new for old in reached for new in _WAYS[old].values() if old not in ENDS} - found
            found |= reached
        assert end in found, (begin, end)


@given(st.lists(st.sampled_from(list(Event)), max_size=40))
def test_no_walk_leaves_the_table_or_is_told_wrongly(events: list[Event]) -> None:
    """Whatever is fired in whatever order, a listener that only hears the statuses knows where it is."""
    told: list[Status] = []
    progress = Progress(told.append)
    fired = 0
    for event in events:
        if progress.can(event):
            progress.fire(event)
            fired += 1
        else:
            with pytest.raises(WrongEventError):
                progress.fire(event)
    assert len(told) == fired
    assert [Status.NONE, *told][-1] is progress.status
    for old, new in zip([Status.NONE, *told], told, strict=False):
        assert new.value in _WAYS[old.value].values()


@given(st.lists(st.sampled_from([event for event in Event if event.value != "retry"]), max_size=40))
def test_between_two_starts_there_is_one_end(events: list[Event]) -> None:
    told: list[str] = []
    progress = Progress(lambda new: told.append(new.value))
    for event in filter(progress.can, events):
        if progress.can(event):
            progress.fire(event)
    begins = [place for place, status in enumerate(told) if status == "setup"]
    for first, following in pairwise(begins):
        assert [status for status in told[first:following] if status in ENDS] == [told[following - 1]]

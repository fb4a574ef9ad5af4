from __future__ import annotations

import itertools

import pytest

from migmatrix.emulator.migration.states import RUNNING, TABLE, Event, Progress, Status, WrongEventError
from migmatrix.emulator.migration.traits import TRAITS, Traits
from migmatrix.vmstate.device.lifetime import release_key


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_every_pair_is_in_the_table_or_an_error(status: Status, event: Event) -> None:
    seen: list[Status] = []
    progress = Progress(seen.append)
    progress.status = status
    assert progress.can(event) == ((status, event) in TABLE)
    if (status, event) in TABLE:
        assert progress.fire(event) is TABLE[status, event]
        assert seen == [TABLE[status, event]] == [progress.status]
    else:
        with pytest.raises(WrongEventError, match=event.value):
            progress.fire(event)
        assert (seen, progress.status) == ([], status)


def test_every_running_status_of_precopy_has_a_way_out() -> None:
    idle = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}
    reached = {status: {status} for status in RUNNING}
    for _ in Status:
        for known in reached.values():
            known |= {after for (before, _event), after in TABLE.items() if before in known}
    assert all(known & idle for known in reached.values())


def test_a_status_that_is_only_a_name_leads_nowhere_yet() -> None:
    later = {s for s in Status if s.value.startswith(("postcopy", "colo", "wait"))}
    assert not later & {before for before, _ in TABLE}


def test_traits_have_lives_that_are_not_empty() -> None:
    for name, span in TRAITS.items():
        assert not span.until or release_key(span.since or "0.1") < release_key(span.until), name


def test_an_unknown_trait_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = Traits("7.2").nonsense

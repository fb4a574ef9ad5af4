# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ast
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, none, statuses, target

import migmatrix.emulator
from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.states import RUNNING, TABLE, Event, Progress, Status, WrongEventError
from migmatrix.emulator.migration.traits import TRAITS, Traits
from migmatrix.vmstate.device.lifetime import release_key

if TYPE_CHECKING:
    from collections.abc import Iterator

# attribute -> the only functions that may assign it: (file of the emulator, function)
DOORS = {
    "_status": {("migration/states.py", "__init__"), ("migration/states.py", "fire")},
    "_runstate": {("machine.py", "__init__"), ("machine.py", "set_runstate")},
}
# attributes of other owners with the names of the two properties
OTHERS = {("qmp/server.py", "status"), ("migration/globalstate.py", "runstate")}


def assigned(root: Path) -> Iterator[tuple[str, str, str]]:
    """(file, function, attribute) of every assignment to an attribute of any object."""
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        functions = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.FunctionDef)]
        for function in functions:
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                    yield name, function.name, node.attr


def test_a_migration_status_and_a_run_state_have_one_door_each() -> None:
    found = [a for a in assigned(Path(*migmatrix.emulator.__path__)) if not a[0].startswith("devices/")]
    for attribute, doors in DOORS.items():
        assert {(file, function) for file, function, name in found if name == attribute} == doors
    public = {(file, name) for file, _, name in found if name in ("status", "runstate")}
    assert public == OTHERS


def test_neither_can_be_assigned_from_outside() -> None:
    machine = none("10.0")
    for owner, name in ((machine.migration.progress, "status"), (machine, "runstate")):
        with pytest.raises(AttributeError, match="no setter"):
            setattr(owner, name, "running")


def test_the_clock_and_the_listeners_follow_the_run_state() -> None:
    machine = none("10.0")
    seen: list[tuple[bool, str, bool]] = []
    machine.on_change(lambda running, state: seen.append((running, state, machine.clock.running)))
    for state in ("paused", "running", "running", "postmigrate", "prelaunch"):
        machine.set_runstate(state)
        assert (machine.runstate, machine.clock.running) == (state, state == "running")
    assert seen == [(True, "running", True), (False, "postmigrate", False)]
    assert machine.events == []


@pytest.mark.parametrize("release", ["5.2", "7.2"])
def test_an_incoming_side_that_could_not_listen_is_told_again(release: str) -> None:
    machine = target(release)
    enable(machine, "events")
    for _ in range(2):
        with pytest.raises(QmpError):
            machine.migration.incoming("unix:/nowhere/at/all")
        assert machine.migration.progress.status is Status.SETUP
    assert statuses(machine) == ["setup", "setup"]


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)))
def test_every_pair_is_in_the_table_or_an_error(status: Status, event: Event) -> None:
    seen: list[Status] = []
    progress = Progress(seen.append, status)
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
    later = {s for s in Status if s.value.startswith(("colo", "wait"))}
    assert not later & {before for before, _ in TABLE}


def test_traits_have_lives_that_are_not_empty() -> None:
    for name, span in TRAITS.items():
        assert not span.until or release_key(span.since or "0.1") < release_key(span.until), name


def test_an_unknown_trait_is_an_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = Traits("7.2").nonsense

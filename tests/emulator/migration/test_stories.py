# SPDX-License-Identifier: Apache-2.0
"""Whole migrations of both sides, as a client sees them: order of statuses, events and run states in each release line.

The orders are those that real QEMU 5.2, 7.2, 10.0 and 11.1 told (see the notes at each table). Passes over memory depend
on how fast the guest writes, so that they are looked at apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from migration_machines import (
    RELEASES,
    Box,
    enable,
    fill,
    goes_on,
    memory,
    none,
    runs,
    status,
    statuses,
    target,
    until,
)
from told_migrations import send, stay, told, waiting

from migmatrix.emulator.errors import QmpError
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8

if TYPE_CHECKING:
    from pathlib import Path

NEW: Final = ("10.0", "11.1")
# STOP comes before `device`, which old releases have only after `pre-switchover`.
SOURCE: Final = {
    "5.2": ["setup", "active", "STOP", "completed"],
    "7.2": ["setup", "active", "STOP", "completed"],
    "10.0": ["setup", "active", "STOP", "device", "completed"],
    "11.1": ["setup", "active", "STOP", "device", "completed"],
}
PAUSING: Final = ["setup", "active", "STOP", "pre-switchover", "device", "completed"]
DESTINATION: Final = ["setup", "active", "RESUME", "completed"]


def passes(machine: Box) -> list[int]:
    return [data["pass"] for event, data in machine.events if event == "MIGRATION_PASS"]


# -- precopy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("way_back", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_a_running_guest_is_told_of_in_the_order_of_the_release(
    release: str, way_back: bool, tmp_path: Path
) -> None:
    capabilities = ["return-path"] if way_back else []
    source, there = runs(release, mib=1), waiting(release, tmp_path, *capabilities)
    enable(source, *capabilities)
    send(source, tmp_path)
    assert status(source)["status"] == status(there)["status"] == "completed"
    assert (told(source), statuses(there)) == (SOURCE[release], DESTINATION)
    assert (source.runstate, there.runstate) == ("postmigrate", "running")
    assert memory(source) == memory(there)


@pytest.mark.parametrize("release", RELEASES)
def test_passes_are_counted_without_a_gap(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=1), waiting(release, tmp_path)
    send(source, tmp_path)
    answer = status(source, "completed")
    status(there, "completed")
    found = passes(source)
    first = 2 if release == "11.1" else 1  # 11.1 does not tell of the one at setup
    assert found == list(range(first, first + len(found)))
    assert answer["ram"]["dirty-sync-count"] == found[-1] >= 2
    assert passes(there) == []


# What the guest was, what the destination was told, and what it is there: from global state, autostart and -S.
ARRIVALS: Final = [
    ("running", (), "running", ["RESUME"]),
    ("running", ("-S",), "paused", []),
    ("paused", (), "paused", []),
    ("paused", ("-S",), "paused", []),
    ("io-error", (), "io-error", []),
    ("shutdown", (), "shutdown", []),
]


@pytest.mark.parametrize(("before", "words", "after", "extra"), ARRIVALS)
@pytest.mark.parametrize("release", RELEASES)
def test_the_run_state_travels(
    release: str, before: str, words: tuple[str, ...], after: str, extra: list[str], tmp_path: Path
) -> None:
    source, there = runs(release, mib=1), waiting(release, tmp_path, words=words)
    if before != "running":
        source.vm_stop(before)
    send(source, tmp_path)
    status(source, "completed")
    status(there, "completed")
    assert there.runstate == after
    assert statuses(there) == ["setup", "active", *extra, "completed"]
    assert there.clock.running is (after == "running")
    assert source.runstate == "postmigrate"


@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_comes_back_the_way_it_went(release: str, tmp_path: Path) -> None:
    """There and back again, each time over another socket, with what it writes meanwhile."""
    guest = runs(release, mib=1)
    for number in range(3):
        there = target(release)
        enable(there, "events")
        there.migration.incoming(f"unix:{tmp_path / str(number)}")
        guest.migration.migrate(f"unix:{tmp_path / str(number)}")
        status(guest, "completed")
        status(there, "completed")
        assert memory(there) == memory(guest)
        assert statuses(there) == DESTINATION
        next(iter(there.ram_blocks.values())).write(4096 * number, b"seen %d" % number)
        guest = there
    assert guest.runstate == "running"
    assert memory(guest)["ram"][8192:8198] == b"seen 2"


@pytest.mark.parametrize("release", RELEASES)
def test_without_the_capability_only_the_run_state_is_told(release: str, tmp_path: Path) -> None:
    source, there = none(release), target(release)
    source.vm_start()
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    send(source, tmp_path)
    status(source, "completed")
    status(there, "completed")
    assert [event for event, _ in source.events] == ["RESUME", "STOP"]
    assert [event for event, _ in there.events] == ["RESUME"]


# -- pause before switchover ---------------------------------------------------------------------


@pytest.mark.parametrize("way_back", [False, True])
@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_that_waits_before_the_switch_goes_on_when_told(
    release: str, way_back: bool, tmp_path: Path
) -> None:
    capabilities = ["return-path"] if way_back else []
    source, there = runs(release, mib=1), waiting(release, tmp_path, *capabilities)
    enable(source, "pause-before-switchover", *capabilities)
    send(source, tmp_path)
    status(source, "pre-switchover")
    status(there, "active")
    assert (source.runstate, there.runstate) == ("finish-migrate", "inmigrate")
    assert told(source) == PAUSING[:4]
    source.migration.continue_("pre-switchover")
    assert status(source)["status"] == status(there)["status"] == "completed"
    assert told(source) == PAUSING
    assert (source.runstate, there.runstate) == ("postmigrate", "running")


@pytest.mark.parametrize("release", RELEASES)
def test_a_guest_that_waits_before_the_switch_stays_when_cancelled(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=1), waiting(release, tmp_path)
    enable(source, "pause-before-switchover")
    send(source, tmp_path)
    status(source, "pre-switchover")
    source.migration.cancel()
    status(source, "cancelled")
    assert told(source) == [*PAUSING[:4], "cancelling", "RESUME", "cancelled"]
    assert source.runstate == "running"
    until(lambda: there.ended, "the end of the destination")
    assert statuses(there) == ["setup", "active", "failed"]
    goes_on(source, tmp_path)


@pytest.mark.parametrize("wrong", ["setup", "active", "device", "completed", "cancelled", "none"])
@pytest.mark.parametrize("release", RELEASES)
def test_only_the_state_that_it_waits_in_lets_it_go_on(release: str, wrong: str) -> None:
    source = runs(release, mib=1)
    enable(source, "pause-before-switchover")
    source.migration.migrate("exec:cat > /dev/null")
    status(source, "pre-switchover")
    with pytest.raises(QmpError, match=r"^Migration not in expected state: pre-switchover$"):
        source.migration.continue_(wrong)
    assert source.migration.query()["status"] == "pre-switchover"
    source.migration.continue_("pre-switchover")
    status(source, "completed")
    with pytest.raises(QmpError, match=r"^Migration not in expected state: completed$"):
        source.migration.continue_("pre-switchover")


# -- cancel --------------------------------------------------------------------------------------


# Not at setup: the first flush is under the machine's lock, and this destination reads nothing.
CANCELLED: Final = {
    "active": ["setup", "active", "cancelling", "cancelled"],
    "pre-switchover": [*PAUSING[:4], "cancelling", "RESUME", "cancelled"],
    "device": [*PAUSING[:5], "cancelling", "RESUME", "cancelled"],
}
# What 10.0.13 and 11.1.3 print and tell; 7.2.22 says nothing.
LATE: Final = {
    ("10.0", "pre-switchover"): "Channel error: Input/output error",
    ("11.1", "pre-switchover"): "Switchover is interrupted",
    **dict.fromkeys(
        ((release, "device") for release in NEW), "Channel error: Input/output error"
    ),  # a return path
}


@pytest.mark.parametrize("at", CANCELLED)
@pytest.mark.parametrize("release", RELEASES)
def test_a_cancel_at_every_status(release: str, at: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    kept = stay(source, at, tmp_path)
    status(source, at)
    source.migration.cancel()
    answer = status(source)
    for end in kept:
        end.close()
    words = LATE.get((release, at))
    assert (answer["status"], answer.get("error-desc")) == ("cancelled", words)
    assert told(source) == CANCELLED[at]
    assert source.said == ([words] if words else [])
    goes_on(source, tmp_path)


@pytest.mark.parametrize("release", RELEASES)
def test_a_cancel_of_nothing_changes_nothing(release: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    source.migration.cancel()
    assert source.migration.query() == {}
    source.migration.migrate(f"exec:cat > {tmp_path / 'it'}")
    status(source, "completed")
    seen = list(source.events)
    source.migration.cancel()
    assert (source.migration.query()["status"], source.events) == ("completed", seen)


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_has_nothing_to_cancel(release: str, tmp_path: Path) -> None:
    there = waiting(release, tmp_path)
    there.migration.cancel()
    assert there.migration.query().get("status") == (
        "setup" if there.migration.traits.told_while_listening else None
    )
    source = runs(release, mib=1)
    send(source, tmp_path)
    assert status(there)["status"] == "completed"


# -- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_that_is_not_there(release: str, tmp_path: Path) -> None:
    source = runs(release, mib=1)
    send(source, tmp_path)
    answer = status(source)
    assert answer["status"] == "failed"
    assert answer["error-desc"].startswith("Failed to connect to ")
    assert answer["error-desc"].endswith("No such file or directory")
    assert told(source) == ["setup", *(["failing"] if release == "11.1" else []), "failed"]
    goes_on(source, tmp_path)


def alone(machine: Box) -> None:
    """Give a machine a section that no other has; it is sent after memory, with the guest stopped."""
    description = VMState("only-here", (uint8("value"),), version_id=1, minimum_version_id=1)
    machine.registry.register(description, type("State", (), {"value": 3})())


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_that_fails_at_the_end_tells_it_by_the_way_back(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=1), waiting(release, tmp_path, "return-path")
    alone(source)
    enable(source, "return-path")
    send(source, tmp_path)
    assert status(source)["status"] == "failed"
    until(lambda: there.ended, "the end of the destination")
    order = told(source)
    assert order[:3] == SOURCE[release][:3]
    assert order[-2:] == (["RESUME", "failed"] if release == "11.1" else order[-2:])
    assert set(order[3:]) == {"RESUME", "failed", *(["device"] if release in NEW else []),
                              *(["failing"] if release == "11.1" else [])}  # fmt: skip
    assert source.runstate == "running"
    assert statuses(there) == ["setup", "active", "failed"]
    assert "only-here" in there.said[-1 if release == "11.1" else -2]


@pytest.mark.parametrize("release", RELEASES)
def test_without_a_way_back_a_source_does_not_learn_of_a_late_failure(release: str, tmp_path: Path) -> None:
    """QEMU's own gap: all bytes are in the socket, and nobody says that they were refused."""
    source, there = runs(release, mib=1), waiting(release, tmp_path)
    alone(source)
    send(source, tmp_path)
    assert status(source)["status"] == "completed"
    until(lambda: there.ended, "the end of the destination")
    assert (source.runstate, there.runstate) == ("postmigrate", "inmigrate")
    source.vm_start()
    assert source.runstate == "running"


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_that_may_live_says_why_it_failed(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=2), target(release)
    enable(there, "events")
    there.migration.incoming(f"unix:{tmp_path / 's'}", exit_on_error=False)
    send(source, tmp_path)
    answer = status(there)
    assert answer["status"] == "failed"
    assert answer["error-desc"].startswith("load of migration failed: Invalid argument")
    assert there.said[0] == "Size mismatch: ram: 0x200000 != 0x100000: Invalid argument"
    assert (there.ended, there.runstate) == ([], "inmigrate")
    status(source)


# -- postcopy ------------------------------------------------------------------------------------

# As real 7.2.22, 10.0.13 and 11.1.3 told it; 11.1 looks at memory before the switch, and not behind it.
COURSES: Final[dict[str, list[str | int]]] = {
    "7.2": ["setup", 1, "active", "postcopy-active", 2, "completed"],
    "10.0": ["setup", 1, "active", "device", 2, "postcopy-active", "completed"],
    "11.1": ["setup", "active", 2, "device", "postcopy-device", "postcopy-active", "completed"],
}


@pytest.mark.parametrize("release", COURSES)
def test_a_postcopy_is_told_of_in_the_order_of_the_release(release: str, tmp_path: Path) -> None:
    source, there = none(release, "-S"), target(release, "-S")
    fill(source)
    for side in (source, there):
        enable(side, "postcopy-ram", "events")
    source.migration.set_parameters({"max-bandwidth": 4096})
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    with source.bql:
        source.migration.migrate(f"unix:{tmp_path / 'm'}")
        source.migration.start_postcopy()
    for side in (source, there):
        status(side, "completed")
    said = [
        data.get("status", data.get("pass")) for name, data in source.events if name.startswith("MIGRATION")
    ]
    assert said == COURSES[release]

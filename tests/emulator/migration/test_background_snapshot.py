# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a guest that goes on: what is loaded is the guest of one moment, devices and memory.

Statuses and events, and that a guest that never ran is taken, unlike by QEMU, which aborts: seen on 7.2, 10.0, 11.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from migration_machines import enable, fill, make, memory, none, status, statuses, target, until

from migmatrix.emulator.errors import QmpError

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

MIB = 3
RELEASES = ["6.0", "7.2", "10.0", "11.1"]


def begin(release: str, machine: str = "none") -> Box:
    """A running guest with content, told to take snapshots."""
    source = make(release, "-M", machine, "-m", str(MIB), "-nodefaults")
    fill(source)
    source.vm_start()
    enable(source, "events", "background-snapshot")
    source.events.clear()
    return source


def load(release: str, file: Path, machine: str = "none") -> Box:
    """A machine that has loaded a snapshot."""
    there = make(release, "-M", machine, "-m", str(MIB), "-nodefaults", "-incoming", "defer")
    there.migration.incoming(f"exec:cat {file}")
    assert status(there)["status"] == "completed", there.said
    return there


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("machine", ["none", "pc-q35-6.0"])
def test_the_guest_goes_on_and_its_state_of_before_is_loaded(
    release: str, machine: str, tmp_path: Path
) -> None:
    source = begin(release, machine)
    before = memory(source)
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    answer = status(source)
    assert answer["status"] == "completed"
    assert answer["ram"]["dirty-sync-count"] == 0
    assert source.runstate == "running"
    assert statuses(source) == ["setup", "active", "STOP", "RESUME", "completed"]
    there = load(release, tmp_path / "s", machine)
    assert memory(there) == before
    assert there.runstate == "running"


@pytest.mark.parametrize("seed", range(4))
def test_what_the_guest_writes_meanwhile_is_not_in_it(seed: int, tmp_path: Path) -> None:
    """The source writes all over its memory while the snapshot leaves slowly."""
    source = begin("10.0")
    source.migration.set_parameters({"max-bandwidth": 8 << 20})
    before = memory(source)
    block = source.ram_blocks["ram"]
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    until(lambda: "RESUME" in statuses(source), "the moment")
    written = 0
    while source.migration.query()["status"] == "active":
        page = (written * 37 + seed * 11) % (block.pages - 2)
        with source.bql:
            block.write(page * 4096 + 5 * seed, written.to_bytes(8) * 700)  # over two pages
        written += 1
    assert status(source)["status"] == "completed"
    assert written > 0
    assert memory(source) != before
    assert memory(load("10.0", tmp_path / "s")) == before


def test_a_second_one_has_what_was_written_since(tmp_path: Path) -> None:
    source = begin("10.0")
    for number in range(2):
        source.ram_blocks["ram"].write(4096 * number, b"again" * 100)
        now = memory(source)
        source.migration.migrate(f"exec:cat > {tmp_path / str(number)}")
        assert status(source)["status"] == "completed"
        until(lambda: source.ram_blocks["ram"].guard is None, "the end")
        assert memory(load("10.0", tmp_path / str(number))) == now


def test_a_cancelled_one_leaves_the_guest_as_it_is(tmp_path: Path) -> None:
    source = begin("10.0")
    source.migration.set_parameters({"max-bandwidth": 4096})
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    until(lambda: "RESUME" in statuses(source), "the moment")
    source.migration.cancel()
    assert status(source)["status"] == "cancelled"
    assert source.runstate == "running"
    assert source.ram_blocks["ram"].guard is None
    assert statuses(source).count("STOP") == 1


def test_one_that_nobody_takes_fails_and_the_guest_runs(tmp_path: Path) -> None:
    source = begin("10.0")
    source.migration.migrate("exec:exit 1")
    assert status(source)["status"] == "failed"
    assert source.runstate == "running"
    assert source.ram_blocks["ram"].guard is None
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    assert status(source)["status"] == "completed"


def test_a_guest_that_never_ran_is_taken_and_does_not_start(tmp_path: Path) -> None:
    source = none("10.0", "-S", mib=MIB)
    fill(source)
    enable(source, "background-snapshot")
    source.migration.migrate(f"exec:cat > {tmp_path / 's'}")
    assert status(source)["status"] == "completed"
    assert source.runstate == "prelaunch"
    assert memory(load("10.0", tmp_path / "s")) == memory(source)


def test_it_does_not_go_into_a_file_with_places_for_pages() -> None:
    machine = target("10.0")
    with pytest.raises(
        QmpError, match="'background-snapshot' with 'mapped-ram' is not supported by this emulator"
    ):
        enable(machine, "background-snapshot", "mapped-ram")

# SPDX-License-Identifier: Apache-2.0
"""savevm, loadvm and the snapshot jobs: what a snapshot brings back, which jobs it is, and how it is refused.

A snapshot is a migration stream in a file, so that everything a stream can be refused for a snapshot can be as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import RELEASES, Box, enable, fill, memory, none, status, statuses

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.snapshots import Snapshots
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def guest(release: str, place: Path, *words: str) -> Box:
    """A machine with an image, and memory that is told apart."""
    machine = none(release, "-drive", f"file={place / 'disk'},format=qcow2,if=none,id=d", *words)
    fill(machine)
    enable(machine, "events")
    return machine


@pytest.mark.parametrize("before", ["running", "paused", "prelaunch", "io-error"])
@pytest.mark.parametrize("release", RELEASES)
def test_a_snapshot_changes_nothing_and_brings_everything_back(
    release: str, before: str, tmp_path: Path
) -> None:
    machine = guest(release, tmp_path)
    machine.set_runstate(before)
    snapshots, kept = Snapshots(machine), memory(machine)
    snapshots.save("one")
    assert (machine.runstate, memory(machine)) == (before, kept)
    fill(machine, b"later")
    snapshots.load("one")
    assert (machine.runstate, memory(machine)) == (before, kept)
    told = ["STOP", "RESUME"] * 2 if before == "running" else []
    assert [word for word in statuses(machine) if not word.startswith("pass")] == told
    assert machine.migration.query() == {}


@pytest.mark.parametrize("release", RELEASES)
def test_the_file_is_a_stream_of_this_machine(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    Snapshots(machine).save("one")
    stream = read_stream((tmp_path / "disk.one.vmstate").read_bytes())
    assert stream.machine == "none"
    assert stream.sections[0].key[0] == "ram"
    assert b"running" in (tmp_path / "disk.one.vmstate").read_bytes()


@pytest.mark.parametrize("release", RELEASES)
def test_each_tag_keeps_its_own_and_the_last_of_a_name_counts(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    snapshots, contents = Snapshots(machine), {}
    for tag, seed in (("one", b"first"), ("two", b"second"), ("one", b"third")):
        fill(machine, seed)
        snapshots.save(tag)
        contents[tag] = memory(machine)
    assert snapshots.tags() == ["one", "two"]
    for tag in ("two", "one", "two"):
        snapshots.load(tag)
        assert memory(machine) == contents[tag]
    snapshots.delete("one")
    assert snapshots.tags() == ["two"]


@pytest.mark.parametrize("act", [Snapshots.load, Snapshots.delete])
@pytest.mark.parametrize("release", RELEASES)
def test_a_tag_that_nobody_saved(release: str, act: Callable[[Any, str], None], tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    with pytest.raises(QmpError, match=r"^Snapshot 'two' does not exist in one or more devices$"):
        act(Snapshots(machine), "two")
    assert machine.runstate == "running"


@pytest.mark.parametrize("release", RELEASES)
def test_without_an_image_there_is_nowhere_to_save(release: str) -> None:
    machine = none(release)
    machine.vm_start()
    snapshots = Snapshots(machine)
    assert snapshots.tags() is None
    for act in (snapshots.save, snapshots.load):
        with pytest.raises(QmpError):
            act("one")
    snapshots.delete("one")  # QEMU says nothing either
    assert machine.runstate == "running"


@pytest.mark.parametrize("cut", [0, 3, 40, -2000])
@pytest.mark.parametrize("release", RELEASES)
def test_a_snapshot_that_is_damaged_leaves_a_stopped_guest(release: str, cut: int, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    snapshots, file = Snapshots(machine), tmp_path / "disk.one.vmstate"
    snapshots.save("one")
    os.truncate(file, cut if cut >= 0 else file.stat().st_size + cut)
    with pytest.raises(QmpError, match=r"^Error while loading VM state: load of migration failed: "):
        snapshots.load("one")
    assert (machine.runstate, machine.clock.running) == ("restore-vm", False)
    machine.vm_start()
    snapshots.save("one")
    snapshots.load("one")
    assert machine.runstate == "running"


@pytest.mark.parametrize("release", RELEASES)
def test_a_failed_save_keeps_the_old_snapshot_and_the_guest(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    snapshots, file = Snapshots(machine), tmp_path / "disk.one.vmstate"
    snapshots.save("one")
    old = file.read_bytes()
    lacking = VMState("lacking", (uint8("value"),), version_id=1, minimum_version_id=1)
    state = object()
    machine.registry.register(lacking, state)
    with pytest.raises(QmpError, match=r"^Error while writing VM state: "):
        snapshots.save("one")
    assert file.read_bytes() == old
    assert [path.name for path in tmp_path.iterdir()] == ["disk.one.vmstate"]
    assert machine.runstate == "running"
    machine.registry.unregister(lacking, state)
    snapshots.load("one")


@pytest.mark.parametrize("release", RELEASES)
def test_a_blocked_machine_is_not_saved(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.registry.register(VMState("stuck", unmigratable="never"), object())
    with pytest.raises(QmpError, match=r"^State blocked by non-migratable device 'stuck'$"):
        Snapshots(machine).save("one")
    assert Snapshots(machine).tags() == []


@pytest.mark.parametrize("release", RELEASES)
def test_a_snapshot_and_a_migration_do_not_disturb_each_other(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    snapshots = Snapshots(machine)
    snapshots.save("one")
    kept = memory(machine)
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(machine, "completed")
    machine.vm_start()
    fill(machine, b"later")
    snapshots.load("one")
    assert (memory(machine), machine.runstate) == (kept, "running")
    assert machine.migration.query()["status"] == "completed"
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(machine, "completed")

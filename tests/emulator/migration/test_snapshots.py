# SPDX-License-Identifier: Apache-2.0
"""savevm and loadvm: what a snapshot brings back, what is in the image, and how it is refused.

A snapshot is a migration stream in a disk image, so that everything a stream can be refused for a snapshot can be too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from migration_machines import RELEASES, Box, enable, fill, memory, none, status, statuses
from qcow2_images import CLUSTER, COPIED, create, problems

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.properties import ON_WORDS
from migmatrix.emulator.qcow2 import Image, StateReader
from migmatrix.emulator.snapshots import Snapshots
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path


def tags(machine: Box) -> list[str]:
    """Names of the snapshots in its one image."""
    (found,) = (Snapshots(machine).listed() or {}).values()
    return [taken.name for taken in found]


def stream_of(path: Path, tag: str) -> bytes:
    """The VM state of a snapshot."""
    image = Image(str(path))
    taken = image.find(tag)
    assert taken is not None
    reader, data = StateReader(image, taken), bytearray(taken.state)
    at = 0
    while got := reader.read_into(memoryview(data)[at:]):
        at += got
    image.close()
    return bytes(data)


def guest(release: str, place: Path, *words: str) -> Box:
    """A machine with an image, and memory that is told apart."""
    image = place / "disk"
    if not image.exists():
        create(image, data=b"content")
    machine = none(release, "-drive", f"file={image},format=qcow2,if=none,id=d,node-name=n", *words)
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
    stream = read_stream(stream_of(tmp_path / "disk", "one"))
    assert stream.machine == "none"
    assert stream.sections[0].key[0] == "ram"
    assert b"running" in stream_of(tmp_path / "disk", "one")


@pytest.mark.parametrize("release", RELEASES)
def test_each_tag_keeps_its_own_and_the_last_of_a_name_counts(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    snapshots, contents = Snapshots(machine), {}
    for tag, seed in (("one", b"first"), ("two", b"second"), ("one", b"third")):
        fill(machine, seed)
        snapshots.save(tag)
        contents[tag] = memory(machine)
    assert tags(machine) == ["two", "one"]
    for tag in ("two", "one", "two"):
        snapshots.load(tag)
        assert memory(machine) == contents[tag]
    snapshots.delete("one")
    assert tags(machine) == ["two"]


@pytest.mark.parametrize("release", RELEASES)
def test_a_tag_that_nobody_saved(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    with pytest.raises(QmpError, match=r"^Snapshot 'two' does not exist in one or more devices$"):
        Snapshots(machine).load("two")
    Snapshots(machine).delete("two")  # QEMU says nothing
    assert machine.runstate == "running"


@pytest.mark.parametrize("release", RELEASES)
def test_without_an_image_there_is_nowhere_to_save(release: str) -> None:
    machine = none(release)
    machine.vm_start()
    snapshots = Snapshots(machine)
    assert snapshots.listed() is None
    for act in (snapshots.save, snapshots.load):
        with pytest.raises(QmpError):
            act("one")
    snapshots.delete("one")  # QEMU says nothing either
    assert machine.runstate == "running"


@pytest.mark.parametrize("release", RELEASES)
def test_a_snapshot_that_is_damaged_leaves_a_stopped_guest(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.vm_start()
    snapshots, file = Snapshots(machine), tmp_path / "disk"
    snapshots.save("one")
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b"QEVM", b"QEVN"))
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
    snapshots, file = Snapshots(machine), tmp_path / "disk"
    snapshots.save("one")
    old = stream_of(file, "one")
    lacking = VMState("lacking", (uint8("value"),), version_id=1, minimum_version_id=1)
    state = object()
    machine.registry.register(lacking, state)
    with pytest.raises(QmpError, match=r"^Error while writing VM state: "):
        snapshots.save("one")
    assert (stream_of(file, "one"), problems(file), machine.runstate) == (old, [], "running")
    machine.registry.unregister(lacking, state)
    snapshots.load("one")


def test_the_image_stays_whole_through_many_changes(tmp_path: Path) -> None:
    machine, file = guest("7.2", tmp_path), tmp_path / "disk"
    snapshots = Snapshots(machine)
    assert problems(file) == []
    for number in range(12):
        fill(machine, b"%d" % number)
        snapshots.save(f"t{number % 5}")
        assert problems(file) == []
        snapshots.load(f"t{number // 3}")
        assert problems(file) == []
    size = file.stat().st_size
    for _ in range(3):
        snapshots.save("t0")
    assert file.stat().st_size <= size + 64 * CLUSTER  # clusters of replaced snapshots are used again
    for tag in tags(machine):
        snapshots.delete(tag)
    assert (problems(file), tags(machine)) == ([], [])
    image = Image(str(file))
    (table,) = image.l1
    (entry,) = struct.unpack(">Q", file.read_bytes()[table & ~COPIED :][:8])
    assert file.read_bytes()[entry & ~COPIED :].startswith(b"content")
    image.close()


def test_node_names_and_words_of_the_jobs(tmp_path: Path) -> None:
    """Seen with 7.2 and 11.1."""
    raw = ("-blockdev", "null-co,node-name=z")
    machine = guest("7.2", tmp_path)
    snapshots = Snapshots(machine)
    snapshots.save("one", "n", ["n"])
    for arguments, told in (
        (("one", "n", ["n"]), "Snapshot 'one' already exists in one or more devices"),
        (("two", "nope", ["n"]), "vmstate block device 'nope' does not exist"),
        (("two", "d", ["d"]), "No block device node 'd'"),
        (("two", "n", []), "At least one device is required for snapshot"),
    ):
        with pytest.raises(QmpError) as refused:
            snapshots.save(*arguments)
        assert refused.value.desc == told
    other = Snapshots(guest("7.2", tmp_path, *raw))
    for act in (other.save, other.load, other.delete):
        with pytest.raises(QmpError, match=r"^Device 'z' is writable but does not support snapshots$"):
            act("one")


@pytest.mark.parametrize("word", ON_WORDS)
def test_a_drive_that_cannot_be_written_takes_no_part(word: str, tmp_path: Path) -> None:
    image = create(tmp_path / "disk")
    machine = none("10.0", "-drive", f"file={image},format=qcow2,if=none,id=d,readonly={word}")
    assert Snapshots(machine).listed() is None


def test_two_drives_and_what_only_one_has(tmp_path: Path) -> None:
    second = create(tmp_path / "second")
    one = guest("7.2", tmp_path)
    Snapshots(one).save("alone")
    machine = guest("7.2", tmp_path, "-drive", f"file={second},format=qcow2,if=none,id=e")
    Snapshots(machine).save("both")
    found = Snapshots(machine).listed() or {}
    assert [[(s.id, s.name, bool(s.state)) for s in each] for each in found.values()] == [
        [("1", "alone", True), ("2", "both", True)], [("1", "both", False)],
    ]  # fmt: skip
    with pytest.raises(QmpError, match="'alone' does not exist in one or more devices"):
        Snapshots(machine).load("alone")
    assert problems(second) == []


@pytest.mark.parametrize("content", [b"", b"raw" * 1000])
def test_what_is_no_qcow2(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(content)
    with pytest.raises(QmpError, match=r"^Could not use the image: Image is not in qcow2 format$"):
        Snapshots(guest("7.2", tmp_path)).save("one")
    (tmp_path / "disk").unlink()
    machine = guest("7.2", tmp_path)
    (tmp_path / "disk").unlink()
    with pytest.raises(QmpError, match=r"^Could not open '.*disk': No such file or directory$"):
        Snapshots(machine).save("one")


@pytest.mark.parametrize("release", RELEASES)
def test_a_blocked_machine_is_not_saved(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    machine.registry.register(VMState("stuck", unmigratable="never"), object())
    with pytest.raises(QmpError, match=r"^State blocked by non-migratable device 'stuck'$"):
        Snapshots(machine).save("one")
    assert tags(machine) == []


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


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_pages_have_no_place_of_their_own_in_a_snapshot(release: str, tmp_path: Path) -> None:
    machine = guest(release, tmp_path)
    enable(machine, "mapped-ram")
    snapshots, kept = Snapshots(machine), memory(machine)
    snapshots.save("one")
    fill(machine, b"later")
    snapshots.load("one")
    assert memory(machine) == kept


def test_a_new_release_takes_none_with_multifd(tmp_path: Path) -> None:
    """Seen on 11.1; up to 10.1 QEMU crashes, and the emulator goes on without its channels."""
    machine = guest("10.0", tmp_path)
    enable(machine, "multifd")
    Snapshots(machine).save("one")
    machine = guest("10.2", tmp_path)
    enable(machine, "multifd")
    with pytest.raises(QmpError, match=r"^Snapshots are not compatible with multifd$"):
        Snapshots(machine).save("two")
    with pytest.raises(QmpError, match=r"^Snapshots are not compatible with multifd$"):
        Snapshots(machine).load("one")

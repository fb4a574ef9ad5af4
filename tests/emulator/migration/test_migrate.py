# SPDX-License-Identifier: Apache-2.0
"""A machine migrates to another, over every transport; statuses and events are those of the release."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
from migration_machines import RELEASES, Box, enable, fill, memory, none, status, statuses, target, until
from whole_streams import Sink

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.streams import BytesChannel
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path

# As real QEMU of these releases told them; a stopped guest, events on.
STOPPED = {
    "5.2": ["setup", "pass 1", "active", "pass 2", "completed"],
    "7.2": ["setup", "pass 1", "active", "pass 2", "completed"],
    "10.0": ["setup", "pass 1", "active", "device", "pass 2", "completed"],
    "11.1": ["setup", "active", "pass 2", "device", "completed"],
}
PAUSED = {
    "5.2": ["setup", "pass 1", "active", "pre-switchover", "device", "pass 2", "completed"],
    "7.2": ["setup", "pass 1", "active", "pre-switchover", "device", "pass 2", "completed"],
    "10.0": ["setup", "pass 1", "active", "pre-switchover", "device", "pass 2", "completed"],
    "11.1": ["setup", "active", "pass 2", "pre-switchover", "device", "completed"],
}


@pytest.mark.parametrize("release", RELEASES)
def test_a_stopped_guest_is_saved_with_the_events_of_the_release(release: str, tmp_path: Path) -> None:
    machine = none(release, "-S")
    enable(machine, "events")
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(machine, "completed")
    assert statuses(machine) == STOPPED[release]
    assert machine.runstate == "postmigrate"
    assert read_stream((tmp_path / "stream").read_bytes()).machine == "none"


@pytest.mark.parametrize("kind", ["unix", "tcp", "exec", "fd", "file"])
@pytest.mark.parametrize("release", ["7.2", "11.1"])
def test_a_running_guest_goes_on_at_the_other_side(release: str, kind: str, tmp_path: Path) -> None:
    if (release, kind) == ("7.2", "file"):
        pytest.skip("QEMU has file: from 8.2")
    source, there = none(release), target(release)
    fill(source)
    source.vm_start()
    for machine in (source, there):
        enable(machine, "events")
    path = str(tmp_path / "it")
    ours, theirs = socket.socketpair()
    lookups = {"mine": ours.detach(), "yours": theirs.detach()}
    uris = {"unix": (f"unix:{path}",) * 2, "exec": (f"exec:cat > {path}", f"exec:cat {path}"),
            "fd": ("fd:mine", "fd:yours"), "file": (f"file:{path},offset=4096",) * 2}  # fmt: skip
    if kind in ("exec", "file"):
        source.migration.migrate(uris[kind][0])
        status(source, "completed")
        there.migration.incoming(uris[kind][1])
    elif kind == "tcp":
        there.migration.incoming("tcp:127.0.0.1:0")
        source.migration.migrate(f"tcp:127.0.0.1:{there.migration.query()['socket-address'][0]['port']}")
    else:
        there.migration.incoming(uris[kind][1], lookups.get)
        source.migration.migrate(uris[kind][0], lookups.get)
    status(source, "completed")
    status(there, "completed")
    assert memory(there) == memory(source)
    assert (source.runstate, there.runstate) == ("postmigrate", "running")
    assert statuses(there) == ["setup", "active", "RESUME", "completed"]
    assert statuses(source)[-3] == "STOP"
    if kind != "fd":
        for fd in lookups.values():
            os.close(fd)


@pytest.mark.parametrize("release", RELEASES)
def test_with_a_return_path_completed_means_loaded(release: str, tmp_path: Path) -> None:
    source, there = none(release), target(release)
    fill(source)
    for machine in (source, there):
        enable(machine, "events", "return-path", *(["switchover-ack"] if release == "10.0" else []))
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    source.migration.migrate(f"unix:{tmp_path / 's'}")
    status(source, "completed")
    assert there.migration.query()["status"] == "completed" or status(there, "completed")
    assert memory(there) == memory(source)


@pytest.mark.parametrize("release", RELEASES)
def test_a_migration_can_pause_before_the_switchover(release: str, tmp_path: Path) -> None:
    machine = none(release, "-S")
    enable(machine, "events", "pause-before-switchover")
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    assert status(machine, "pre-switchover")["ram"]["total"] == 1 << 20
    assert machine.runstate == "finish-migrate"
    with pytest.raises(QmpError, match="There's a migration process in progress"):
        machine.migration.migrate("exec:cat > /dev/null")
    with pytest.raises(QmpError, match="Migration not in expected state: pre-switchover"):
        machine.migration.continue_("device")
    machine.migration.continue_("pre-switchover")
    status(machine, "completed")
    assert statuses(machine) == PAUSED[release]


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("running", [True, False])
def test_a_late_cancel_gives_the_guest_back(release: str, running: bool, tmp_path: Path) -> None:
    machine = none(release, "-S")
    enable(machine, "events", "pause-before-switchover")
    if running:
        machine.vm_start()
    machine.migration.migrate("exec:cat > /dev/null")
    status(machine, "pre-switchover")
    machine.migration.cancel()
    status(machine, "cancelled")
    restored = "prelaunch" if release in ("10.0", "11.1") else "postmigrate"  # as real QEMU
    assert machine.runstate == ("running" if running else restored)
    assert statuses(machine)[-2:] == (["RESUME", "cancelled"] if running else ["cancelling", "cancelled"])
    if machine.runstate != "postmigrate":
        machine.migration.migrate(f"exec:cat > {tmp_path / 'again'}")
        status(machine, "pre-switchover")
        machine.migration.continue_("pre-switchover")
        status(machine, "completed")
        assert read_stream((tmp_path / "again").read_bytes()).machine == "none"


def test_a_cancel_ends_a_migration_that_waits_for_the_other_side(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen(1)
        machine = none("10.0", mib=64)
        machine.vm_start()
        fill(machine)
        machine.migration.migrate(f"unix:{tmp_path / 's'}")
        status(machine, "active")
        machine.migration.cancel()
        assert status(machine)["status"] == "cancelled"
        assert machine.runstate == "running"


def test_the_bandwidth_limit_holds_and_can_be_lifted(tmp_path: Path) -> None:
    machine = none("10.0", mib=64)
    fill(machine)
    machine.vm_start()
    machine.migration.set_parameters({"max-bandwidth": 4 << 20})
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    until(lambda: machine.migration.query().get("total-time", 0) > 300, "a few windows")
    answer = machine.migration.query()
    assert answer["status"] == "active"
    assert answer["ram"]["transferred"] < (answer["total-time"] / 1000 + 0.2) * (4 << 20) + (4 << 20)
    machine.migration.set_parameters({"max-bandwidth": 0})
    status(machine, "completed")


def test_a_guest_that_writes_too_fast_is_not_stopped_until_the_limit_allows_it(tmp_path: Path) -> None:
    machine = none("10.0", mib=16)
    block = next(iter(machine.ram_blocks.values()))
    for page in range(block.pages):
        block.write(page * 4096, os.urandom(4096))
    machine.vm_start()
    machine.migration.set_parameters({"max-bandwidth": 32 << 20, "downtime-limit": 1})
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    passes = 0
    for turn in range(10_000):
        for page in range(0, block.pages, 2):
            block.write(page * 4096, bytes((turn & 255, 1)))
        passes = machine.migration.query().get("ram", {}).get("dirty-sync-count", 0)
        if passes > 3:
            break
    assert passes > 3
    assert machine.migration.query()["status"] == "active"
    machine.migration.set_parameters({"downtime-limit": 2000, "max-bandwidth": 0})
    status(machine, "completed")
    there = target("10.0", mib=16)
    there.migration.incoming(f"exec:cat {tmp_path / 'stream'}")
    status(there, "completed")
    assert memory(there) == memory(machine)


@pytest.mark.parametrize(
    ("release", "uri", "text"),
    [
        ("5.2", "bogus:x", "Parameter 'uri' expects a valid migration protocol"),
        ("10.0", "bogus:x", "unknown migration protocol: bogus:x"),
        ("7.2", "file:/x", "Parameter 'uri' expects a valid migration protocol"),
        ("10.0", "file:/nodir/f.bin", "Could not create '/nodir/f.bin': No such file or directory"),
        ("10.0", "file:/x,offset=abc", "file URI has bad offset abc: Invalid argument"),
        ("11.1", "fd:nofd", "File descriptor named 'nofd' has not been found"),
        ("5.2", "tcp:127.0.0.1", "error parsing address '127.0.0.1'"),
        ("7.2", "unix:", "invalid Unix socket address"),
    ],
)
def test_a_bad_address_is_refused_at_once(release: str, uri: str, text: str) -> None:
    machine = none(release)
    with pytest.raises(QmpError) as refused:
        machine.migration.migrate(uri)
    assert refused.value.desc == text
    assert machine.runstate == "prelaunch"
    assert machine.migration.query().get("error-desc") in (text, None)


@pytest.mark.parametrize("release", RELEASES)
def test_the_bytes_are_those_of_real_qemu(release: str, tmp_path: Path, real_none: dict[str, bytes]) -> None:
    machine = none(release, "-S")
    machine.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    status(machine, "completed")
    assert (tmp_path / "stream").read_bytes() == real_none[release]


@pytest.mark.parametrize("release", RELEASES)
def test_a_stream_of_real_qemu_loads(release: str, tmp_path: Path, real_none: dict[str, bytes]) -> None:
    (tmp_path / "stream").write_bytes(real_none[release])
    machine: Box = target(release, "-S")
    fill(machine)
    machine.migration.incoming(f"exec:cat {tmp_path / 'stream'}")
    status(machine, "completed")
    assert memory(machine) == {"ram": bytes(1 << 20)}
    assert (machine.runstate, machine.said) == ("prelaunch", [])


@pytest.mark.parametrize("running", [True, False])
def test_a_snapshot_restores_memory_and_run_state(running: bool) -> None:
    machine = none("7.2")
    if running:
        machine.vm_start()
    fill(machine)
    before, state = memory(machine), machine.runstate
    machine.migration.save_snapshot(sink := Sink(), lambda: None)
    assert machine.runstate == state
    fill(machine, b"other")
    machine.migration.load_snapshot(BytesChannel(bytes(sink.data)))
    assert (memory(machine) == before, machine.runstate) == (True, state)

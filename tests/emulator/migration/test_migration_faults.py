# SPDX-License-Identifier: Apache-2.0
"""Everything that can break: the source runs on, the destination says why, and nothing waits for ever."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from migration_machines import RELEASES, enable, goes_on, none, runs, status, statuses, target, until
from whole_streams import Sink

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel, ChannelError
from migmatrix.vmstate.device.description import VMState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize("kind", ["exec", "unix"])
@pytest.mark.parametrize("after", [0, 7, 100, 5000, 1 << 20])
def test_a_reader_that_goes_away_fails_the_migration(
    release: str, kind: str, after: int, tmp_path: Path
) -> None:
    machine = runs(release)
    path = tmp_path / "s"
    if kind == "unix":
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen(1)
        threading.Thread(target=read_some, args=(server, after), daemon=True).start()
    uri = f"unix:{path}" if kind == "unix" else f"exec:head -c {after} > /dev/null"
    machine.migration.migrate(uri)
    answer = status(machine)
    assert answer["status"] == "failed"
    assert any(text in answer["error-desc"] for text in ("Broken pipe", "reset by peer"))
    assert machine.said[-1] == answer["error-desc"]
    assert statuses(machine)[-1] == "failed"
    assert ("failing" in statuses(machine)) == (release == "11.1")
    goes_on(machine, tmp_path)


def read_some(server: socket.socket, count: int) -> None:
    connection, _ = server.accept()
    with server, connection:
        while count > 0 and (data := connection.recv(min(count, 65536))):
            count -= len(data)


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    machine = runs("10.0")
    machine.migration.migrate("exec:cat > /dev/full 2> /dev/null")
    assert "Broken pipe" in status(machine, "failed")["error-desc"]
    goes_on(machine, tmp_path)
    other = runs("10.0")
    other.migration.migrate("file:/dev/full")
    assert status(other, "failed")["error-desc"] == "Unable to write to file: No space left on device"


def test_nobody_there(tmp_path: Path) -> None:
    machine = runs("11.1")
    machine.migration.migrate(f"unix:{tmp_path / 'nobody'}")
    text = f"Failed to connect to '{tmp_path / 'nobody'}': No such file or directory"
    assert status(machine, "failed")["error-desc"] == text
    assert statuses(machine) == ["RESUME", "setup", "failing", "failed"]
    goes_on(machine, tmp_path)


@pytest.mark.parametrize("release", RELEASES)
def test_a_destination_that_refuses_tells_the_source_by_the_return_path(release: str, tmp_path: Path) -> None:
    source, there = runs(release, mib=1), target(release, mib=2)
    for machine in (source, there):
        enable(machine, "return-path")
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    source.migration.migrate(f"unix:{tmp_path / 's'}")
    assert status(source)["status"] == "failed"
    until(lambda: there.ended, "the end of the destination")
    assert there.said[0] == "Size mismatch: ram: 0x100000 != 0x200000: Invalid argument"
    assert there.migration.query()["status"] == "failed"
    source.migration.set_capabilities([{"capability": "return-path", "state": False}])
    goes_on(source, tmp_path)


@pytest.mark.parametrize("after", [1, 9, 30, 70, 3000, 3200])
def test_a_source_that_goes_away_ends_the_destination(
    after: int, tmp_path: Path, real_none: dict[str, bytes]
) -> None:
    there = target("10.0")
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    with socket.socket(socket.AF_UNIX) as source:
        source.connect(str(tmp_path / "s"))
        source.sendall(real_none["10.0"][:after])
    status(there)
    if after < 3000:
        until(lambda: there.ended, "the end of the destination")
        assert there.said[-1].startswith("load of migration failed: ")
        assert there.runstate == "inmigrate"


def test_a_connection_without_a_byte_is_none(tmp_path: Path, real_none: dict[str, bytes]) -> None:
    there = target("10.0", "-S")
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    for data in (b"", real_none["10.0"]):
        with socket.socket(socket.AF_UNIX) as source:
            source.connect(str(tmp_path / "s"))
            source.sendall(data)
    status(there, "completed")


def test_a_refused_stream_may_leave_the_process_alive(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"nonsense")
    there = target("10.0")
    there.migration.incoming(f"exec:cat {tmp_path / 'bad'}", exit_on_error=False)
    assert status(there, "failed")["error-desc"] == "load of migration failed: Invalid argument"
    assert (there.ended, there.said) == ([], ["Not a migration stream"])


def test_a_device_that_cannot_be_migrated_blocks() -> None:
    machine = none("7.2")
    machine.registry.register(VMState("nvme", unmigratable="never"), object(), path="0000:00:05.0")
    text = "State blocked by non-migratable device '0000:00:05.0/nvme'"
    with pytest.raises(QmpError) as refused:
        machine.migration.migrate("exec:cat")
    assert refused.value.desc == text
    with pytest.raises(QmpError) as refused:
        machine.migration.save_snapshot(Sink(), lambda: None)
    assert refused.value.desc == text
    assert machine.migration.query() == {}


@pytest.mark.parametrize(
    ("release", "capability", "text"),
    [
        ("5.2", "nope", "Invalid parameter 'nope'"),
        ("7.2", "nope", "Parameter 'capability' does not accept value 'nope'"),
        ("10.0", "switchover-ack", "Capability 'switchover-ack' requires capability 'return-path'"),
        ("7.2", "postcopy-preempt", "Postcopy preempt requires postcopy-ram"),
        ("11.1", "release-ram", "'release-ram' is not supported by this emulator"),
    ],
)
def test_a_capability_that_is_not_there_is_refused(release: str, capability: str, text: str) -> None:
    machine = none(release)
    with pytest.raises(QmpError) as refused:
        enable(machine, "events", capability)
    assert refused.value.desc == text
    assert not machine.migration.capabilities["events"]


@pytest.mark.parametrize(
    ("release", "name", "value", "text"),
    [
        ("10.0", "downtime-limit", 99999999,
         "Parameter 'downtime_limit' expects an integer in the range of 0 to (2000 * 1000) ms"),
        ("11.1", "downtime-limit", 99999999,
         "Option downtime-limit expects an integer in the range of 0 to (2000 * 1000) ms"),
        ("5.2", "multifd-channels", 0,
         "Parameter 'multifd_channels' expects is invalid, it should be in the range of 1 to 255"),
        ("7.2", "multifd-channels", 0, "Parameter 'multifd_channels' expects a value between 1 and 255"),
        ("11.1", "multifd-channels", 0, "Option multifd-channels expects a value between 1 and 255"),
    ],
)  # fmt: skip
def test_a_parameter_out_of_range_is_refused(release: str, name: str, value: int, text: str) -> None:
    with pytest.raises(QmpError) as refused:
        none(release).migration.set_parameters({name: value})
    assert refused.value.desc == text


def test_an_interrupted_channel_waits_for_nothing() -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        channel = Channel.from_socket(ours)
        failed = threading.Event()

        def write() -> None:
            with pytest.raises(ChannelError):
                channel.write(bytes(8 << 20))
            failed.set()

        writer = threading.Thread(target=write, daemon=True)
        writer.start()
        assert select.select([theirs], [], [], 20)[0]
        channel.interrupt()
        assert failed.wait(120)
        writer.join(120)
        with pytest.raises(ChannelError):
            channel.read_into(memoryview(bytearray(1)))
        channel.close()
        channel.close()


def test_hostile_lengths_cost_no_memory() -> None:
    there = target("10.0")
    head = b"QEVM" + struct.pack(">IBI", 3, 7, 0xFFFFFFFF)
    reader, writer = os.pipe()
    os.write(writer, head + b"x" * 1000)
    os.close(writer)
    there.migration.incoming("fd:it", {"it": reader}.get)
    status(there, "failed")
    until(lambda: there.ended, "the end")
    assert there.said[-1].startswith("load of migration failed: ")

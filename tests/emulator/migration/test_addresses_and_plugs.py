# SPDX-License-Identifier: Apache-2.0
"""Channels with members that are missing or wrong, offsets of files, hot-plug while migrating, rings against memory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from migration_machines import make, none, status
from monitor_calls import call, said
from whole_streams import loaded, saved

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.address import from_channels
from migmatrix.emulator.qmp.table import find_command

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

ADDR = "channels[0].addr."


def channel(**addr: Any) -> dict[str, Any]:
    return {"channel-type": "main", "addr": addr}


@pytest.mark.parametrize("name", ["migrate", "migrate-incoming"])
@pytest.mark.parametrize(
    ("addr", "words"),
    [
        ({}, f"Parameter '{ADDR}transport' is missing"),
        ({"transport": "socket"}, f"Parameter '{ADDR}type' is missing"),
        ({"transport": "socket", "type": "inet", "host": "::1"}, f"Parameter '{ADDR}port' is missing"),
        (
            {"transport": "socket", "type": "inet", "host": "::1", "port": 1},
            f"Invalid parameter type for '{ADDR}port', expected: string",
        ),
        ({"transport": "socket", "type": "unix"}, f"Parameter '{ADDR}path' is missing"),
        ({"transport": "socket", "type": "fd"}, f"Parameter '{ADDR}str' is missing"),
        ({"transport": "exec"}, f"Parameter '{ADDR}args' is missing"),
        ({"transport": "file", "filename": "f"}, f"Parameter '{ADDR}offset' is missing"),
        ({"transport": "exec", "args": ["a"], "more": 1}, f"Parameter '{ADDR}more' is unexpected"),
    ],
)
def test_an_incomplete_channel_is_refused_as_by_qemu(name: str, addr: dict[str, Any], words: str) -> None:
    command = find_command(name, "10.0")
    assert command is not None
    with pytest.raises(QmpError, match=re.escape(words)):
        command.arguments.check({"channels": [channel(**addr)]}, "", "10.0")


def test_a_list_of_channels_has_one_main_channel() -> None:
    main = channel(transport="exec", args=["true"])
    assert from_channels([main]).command == ("true",)
    with pytest.raises(QmpError, match="Channel list has more than one main entry"):
        from_channels([main, main])
    with pytest.raises(QmpError):
        from_channels([channel(transport="exec", args=[])])


def test_a_stream_at_an_offset_keeps_what_is_before_it(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"X" * 200000)
    machine = none("10.0")
    machine.migration.migrate(f"file:{path},offset=0x2000")
    status(machine, "completed")
    data = path.read_bytes()
    assert data[:8192] == b"X" * 8192
    assert data[8192:8196] == b"QEVM"
    assert b"X" * 100 not in data[8192:]
    with pytest.raises(QmpError, match="bad offset -1: Numerical result out of range"):
        none("10.0").migration.migrate(f"file:{path},offset=-1")


def asks(machine: Box, name: str, **arguments: Any) -> Any:
    command = find_command(name, "10.0")
    assert command is not None
    with call(machine) as made:
        return command.handler(made, arguments)


def test_nothing_is_plugged_while_the_guest_is_sent() -> None:
    machine = make("10.0", "-M", "pc-i440fx-7.2", "-m", "4", "-nodefaults", "-device", "virtio-rng-pci,id=r")
    machine.migration.set_capabilities([{"capability": "pause-before-switchover", "state": True}])
    machine.migration.migrate("exec:cat > /dev/null")
    status(machine, "pre-switchover")
    with pytest.raises(QmpError, match="device_add not allowed while migrating"):
        asks(machine, "device_add", driver="virtio-rng-pci")
    with pytest.raises(QmpError, match="device_del not allowed while migrating"):
        asks(machine, "device_del", id="r")
    machine.migration.continue_("pre-switchover")
    status(machine, "completed")


def test_the_root_bus_of_q35_takes_nothing_later() -> None:
    machine = make("10.0", "-M", "pc-q35-7.2", "-m", "4", "-nodefaults", "-device", "virtio-rng-pci,id=r")
    with pytest.raises(QmpError, match=re.escape("Bus 'pcie.0' does not support hotplugging")):
        asks(machine, "device_add", driver="virtio-rng-pci", bus="pcie.0")
    with pytest.raises(QmpError, match=re.escape("Bus 'pcie.0' does not support hotplugging")):
        asks(machine, "device_del", id="r")
    machine.create("virtio-rng-pci", bus="pcie.0")  # a board may


def rng(*more: str) -> Box:
    return make(
        "7.2", "-M", "pc-q35-7.2", "-m", "4", "-nodefaults", "-device", "virtio-rng-pci,x-guest=driver", *more
    )


@pytest.mark.parametrize(
    ("last", "exit_status", "words"),
    [
        (0, 0, ""),
        (5, 0, "VQ 0 size 0x8 Guest index 0x0 inconsistent with Host index 0x5: delta 0xfffb"),
        (0xFFFF, 1, "VQ 0 size 0x8 < last_avail_idx 0xffff - used_idx 0x0"),
    ],
)
def test_the_indices_of_a_ring_are_those_of_guest_memory(last: int, exit_status: int, words: str) -> None:
    source = rng("-S")
    (device,) = [d for d in source.walk() if d.type_name == "virtio-rng-device"]
    device.rings[0].last_avail = last  # type: ignore[attr-defined]  # a virtio device
    got, said = loaded(rng("-incoming", "defer"), saved(source))
    assert got == exit_status
    assert words in said or not words


def test_the_human_monitor_takes_the_documents_lines(tmp_path: Path) -> None:
    machine = none("10.0")
    assert said(machine, "migrate_set_capability events on") == ""
    assert machine.migration.capabilities["events"] is True
    assert said(machine, "migrate_set_parameter max-bandwidth 50") == ""
    assert machine.migration.parameters["max-bandwidth"] == 50 << 20
    assert said(machine, "migrate_set_capability postcopy-ram on") == ""
    assert said(machine, "migrate_start_postcopy").startswith("Error: Postcopy must be started after")
    assert said(machine, "migrate_set_capability postcopy-ram off") == ""
    assert said(machine, "migrate_continue pre-switchover").startswith(
        "Error: Migration not in expected state"
    )
    assert said(machine, f'migrate -d "exec:cat > {tmp_path / "mig"}"') == ""
    status(machine, "completed")
    assert (tmp_path / "mig").read_bytes()[:4] == b"QEVM"

# SPDX-License-Identifier: Apache-2.0
"""The monitor answers while a migration's thread waits: in a slow handler, or for a destination that reads nothing.

QEMU calls `save_setup` without the machine's lock up to 8.1, and under it from 8.2 on ("migration: hold the BQL during
setup"), where monitors wait, too. Writing never waits under the lock here.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from migration_machines import DEADLINE, RELEASES, none, status, until
from told_migrations import stay

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.migration.channel import Channel
from migmatrix.emulator.migration.handlers import IterativeDevice, register_iterative
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import buffer

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from migration_machines import Box

    from migmatrix.emulator.migration.streams import Output

LOCKED = ("10.0", "11.1")


class Slow(IterativeDevice):
    """A device that waits in one handler until the test lets it go on."""

    name = "slow"

    def __init__(self, where: str) -> None:
        self.where = where
        self.inside, self.may_go_on = threading.Event(), threading.Event()

    def _pass(self, where: str) -> None:
        if where == self.where:
            self.inside.set()
            assert self.may_go_on.wait(DEADLINE)

    def save_setup(self, _: Output) -> None:
        self._pass("save_setup")

    def save_live_iterate(self, _: Output) -> bool:
        self._pass("save_live_iterate")
        return True

    def save_live_complete_precopy(self, _: Output) -> None:
        self._pass("save_live_complete_precopy")


def begun(release: str, handler: str) -> tuple[Box, Slow]:
    """A source that waits in the handler."""
    source, device = none(release), Slow(handler)
    register_iterative(source.registry, device)
    source.vm_start()
    source.migration.migrate("exec:cat > /dev/null")
    assert device.inside.wait(DEADLINE)
    return source, device


def asked(source: Box) -> dict[str, Any]:
    """What `query-migrate` answers: a monitor executes each command under the machine's lock."""
    assert source.bql.acquire(timeout=DEADLINE)
    try:
        return source.migration.query()
    finally:
        source.bql.release()


@pytest.mark.parametrize(
    ("release", "handler", "shown"),
    [
        ("5.2", "save_setup", "setup"),
        ("7.2", "save_setup", "setup"),
        ("7.2", "save_live_iterate", "active"),
        ("11.1", "save_live_iterate", "active"),
        ("7.2", "save_live_complete_precopy", "active"),
        ("11.1", "save_live_complete_precopy", "device"),
    ],
)
def test_it_answers_while_a_handler_waits(release: str, handler: str, shown: str) -> None:
    """The handler goes on only after the monitor has told the status."""
    source, device = begun(release, handler)
    assert asked(source)["status"] == shown
    device.may_go_on.set()
    assert status(source)["status"] == "completed"


@pytest.mark.parametrize("release", LOCKED)
def test_it_waits_for_setup_where_qemu_does(release: str) -> None:
    source, device = begun(release, "save_setup")
    assert not source.bql.acquire(blocking=False)
    device.may_go_on.set()
    assert status(source)["status"] == "completed"


@pytest.mark.parametrize("release", RELEASES)
def test_it_answers_while_device_state_does_not_leave(release: str, tmp_path: Path) -> None:
    """More device state than a socket holds, and nobody who reads it."""
    source = none(release)
    state = {"bytes": bytes(1 << 23)}
    source.registry.register(VMState("large", (buffer("bytes", 1 << 23),)), state)
    source.vm_start()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "there"))
        listening.listen()
        source.migration.migrate(f"unix:{tmp_path / 'there'}")
        peer, _ = listening.accept()
        until(lambda: source.runstate == "finish-migrate", "the switch")
        assert asked(source)["status"] in ("active", "device")
        with pytest.raises(QmpError, match="There's a migration process in progress"):
            source.migration.migrate("exec:cat > /dev/null")
        source.migration.cancel()
        assert status(source)["status"] == "cancelled"
        peer.close()


@pytest.mark.parametrize("release", RELEASES)
def test_it_answers_while_the_first_bytes_do_not_leave(
    release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writes = threading.Event()
    write = Channel.write

    def told(channel: Channel, data: bytes | memoryview) -> None:
        writes.set()
        write(channel, data)

    monkeypatch.setattr(Channel, "write", told)
    source = none(release)
    kept = stay(source, "setup", tmp_path)
    assert writes.wait(DEADLINE)
    assert asked(source)["status"] == "setup"
    source.migration.cancel()
    assert status(source)["status"] == "cancelled"
    for end in kept:
        end.close()

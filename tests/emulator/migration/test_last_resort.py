# SPDX-License-Identifier: Apache-2.0
"""An exception that nobody foresaw, at every place there is: sources run on, destinations refuse, monitors answer.

The places come from the tables themselves (sections, handlers, QMP and HMP commands, doors of the loop), so that a new
one is tried without being named here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NoReturn

import pytest
from migration_machines import make, status, until
from monitor_calls import call
from whole_streams import saved

from migmatrix.emulator.loop import READ, Loop
from migmatrix.emulator.migration.handlers import IterativeDevice, iterative
from migmatrix.emulator.qmp import human
from migmatrix.emulator.qmp.server import Server
from migmatrix.emulator.qmp.session import Session
from migmatrix.emulator.qmp.table import COMMANDS, commands_of
from migmatrix.emulator.qmp.types import Struct
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.record import replace

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

    from migmatrix.vmstate.device.registry import Entry

CARDS = [
    word
    for card in ("virtio-net-pci,romfile=", "virtio-rng-pci", "virtio-balloon-pci", "VGA,romfile=")
    for word in ("-device", card)
]
SAVES, LOADS = ("pre_save", "post_save", "needed"), ("pre_load", "post_load")
HANDLERS = [name for name, value in vars(IterativeDevice).items() if callable(value) and name[0] != "_"]
WORDS = "internal error: ZeroDivisionError: boom"


def boom(*_: Any, **__: Any) -> NoReturn:
    raise ZeroDivisionError("boom")


def guest(*more: str) -> Box:
    return make("10.0", "-M", "pc-q35-7.2", "-m", "4", "-nodefaults", *CARDS, *more)


def put(record: Any, name: str, value: Any) -> None:
    """Change a section, which is a record and does not change by itself."""
    object.__setattr__(record, name, value)


def broken(entry: Entry, hook: str) -> Any:
    """The description of a section, or its two functions, with one that raises."""
    if isinstance(entry.vmsd, VMState):
        return replace(entry.vmsd, **{hook: boom})
    return replace(entry.vmsd, **{"save_state" if hook in SAVES else "load_state": boom})


def test_a_source_runs_on_whatever_a_hook_raises(capfd: pytest.CaptureFixture[str]) -> None:
    machine = guest()
    machine.vm_start()
    tried = 0
    for entry in machine.registry:
        if iterative(entry) is not None or not entry.needed:
            continue
        good = entry.vmsd
        for hook in SAVES:
            put(entry, "vmsd", broken(entry, hook))
            machine.migration.migrate("exec:cat > /dev/null")
            where = f"{entry.idstr} {hook}"
            assert status(machine)["status"] == "failed", where
            assert machine.migration.outgoing is not None
            machine.migration.outgoing.join()
            assert (machine.runstate, machine.migration.query()["error-desc"]) == ("running", WORDS), where
            assert capfd.readouterr().err.count("Traceback") == 1, where
            tried += 1
        put(entry, "vmsd", good)
    assert tried > 60
    machine.migration.migrate("exec:cat > /dev/null")
    assert status(machine)["status"] == "completed"


@pytest.mark.parametrize(
    "handler", [name for name in HANDLERS if not name.startswith(("load", "has")) and "postcopy" not in name]
)
def test_a_source_runs_on_whatever_a_handler_raises(handler: str) -> None:
    machine = guest()
    machine.vm_start()
    setattr(machine.migration.ram, handler, boom)
    machine.migration.migrate("exec:cat > /dev/null")
    found = status(machine)["status"]
    assert machine.migration.outgoing is not None
    machine.migration.outgoing.join()
    if found == "failed":
        assert machine.runstate == "running"
    else:  # the clean-up comes after the end, and an exact answer may not be asked for
        assert (handler in ("save_cleanup", "state_pending_exact"), found) == (True, "completed")


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("last") / "stream"
    path.write_bytes(saved(guest("-S")))
    return path


def refuses(there: Box, stream: Path, where: str) -> None:
    there.migration.incoming(f"exec:cat {stream}")
    until(lambda: there.ended, f"the end of the destination ({where})")
    assert there.migration.query()["status"] == "failed", where
    assert there.said[-1].startswith("load of migration failed: "), where
    assert WORDS in there.said, where


def test_a_destination_refuses_whatever_a_hook_raises(
    stream: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = [e.idstr for e in guest("-S").registry if e.needed and iterative(e) is None]
    tried = 0
    for number, name in enumerate(names):
        there = guest("-incoming", "defer")
        (entry,) = [e for e in there.registry if e.needed and iterative(e) is None][number : number + 1]
        put(entry, "vmsd", broken(entry, LOADS[number % 2]))
        refuses(there, stream, name)
        assert capfd.readouterr().err.count("Traceback") == 1, name
        tried += 1
    assert tried > 20


@pytest.mark.parametrize("handler", [name for name in HANDLERS if name.startswith("load")])
def test_a_destination_refuses_whatever_a_handler_raises(handler: str, stream: Path) -> None:
    there = guest("-incoming", "defer")
    setattr(there.migration.ram, handler, boom)
    refuses(there, stream, handler)


class Wire:
    """A chardev that keeps what is written."""

    def __init__(self) -> None:
        self.on_open = self.on_data = self.on_close = boom

    def write(self, data: bytes) -> None:
        """Nobody reads."""


def test_each_qmp_command_answers_whatever_it_raises(capfd: pytest.CaptureFixture[str]) -> None:
    machine = guest()
    server = Server(Loop(), "10.0", {})
    server.machine = machine
    session = Session(server, Wire())  # type: ignore[arg-type]  # as much of a chardev as is needed
    session._open()  # noqa: SLF001 - what its chardev calls
    session.negotiate(oob=False)
    found = commands_of("10.0")
    assert len(found) > 50
    for name, command in found.items():
        if name == "qmp_capabilities":
            continue
        COMMANDS[name] = command._replace(handler=boom, arguments=Struct("any", open_=True))
        try:
            answer = session.answer({"execute": name, "id": name})
        finally:
            COMMANDS[name] = command
        assert answer == {"error": {"class": "GenericError", "desc": WORDS}, "id": name}
        assert capfd.readouterr().err.count("Traceback") == 1
    assert session.answer({"execute": "query-status"})["return"]["status"] == "prelaunch"
    server.loop.close()


@pytest.mark.parametrize("kind", ["command", "info"])
def test_each_human_command_answers_whatever_it_raises(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    machine = guest()
    table: dict[str, Any] = vars(human)["_COMMANDS" if kind == "command" else "_INFOS"]
    for name, entry in list(table.items()):
        words = [*(["info"] if kind == "info" else []), name, *["1" if entry.numbers else "on"] * entry.needs]
        table[name] = entry._replace(command=boom)
        try:
            with call(machine) as made:
                said = human.run(made, " ".join(words))
        finally:
            table[name] = entry
        assert said == f"Error: {WORDS}\r\n"
        assert capfd.readouterr().err.count("Traceback") == 1


def test_the_loop_goes_on_whatever_a_callback_raises(capfd: pytest.CaptureFixture[str]) -> None:
    loop = Loop()
    read, write = os.pipe()
    os.write(write, b"always ready")
    loop.watch(read, READ, boom)
    loop.call(boom)
    loop.later(0, boom)
    loop.clock.timer(boom).arm(0)
    loop.clock.start()
    for _ in range(5):
        loop.once(0)
    assert capfd.readouterr().err.count("Traceback") == 5  # the descriptor's twice, then it is let alone
    loop.call(loop.stop)
    loop.run()
    loop.close()
    os.close(read)
    os.close(write)

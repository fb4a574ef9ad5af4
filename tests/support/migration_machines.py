# SPDX-License-Identifier: Apache-2.0
"""Machines in this process, for tests of migration: made like those of a command line, with their events recorded."""

from __future__ import annotations

import functools
import time
from importlib import import_module
from pkgutil import walk_packages
from typing import TYPE_CHECKING, Any, cast

from migmatrix.emulator import migration
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import Release, open_release

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

RELEASES = ("5.2", "7.2", "10.0", "11.1")
DEADLINE = 120.0  # of something broken only: a busy host is no error
_ENDS = ("completed", "failed", "cancelled")

# Two machines of one process may want a module in two threads at once. pytest parses what it imports of a package with a
# plugin, and Python 3.11 ends one of two parsers that run at once with a SystemError.
for _module in walk_packages(migration.__path__, f"{migration.__name__}."):
    import_module(_module.name)


@functools.cache
def release(name: str) -> Release:
    """A release, read once."""
    return open_release(name)


class Box(Machine):
    """Only for the type checker: a machine with what `make` adds."""

    events: list[tuple[str, Any]]
    said: list[str]
    ended: list[int]


def make(name: str, *arguments: str, chardevs: Any = None) -> Box:
    """A machine of release `name`; `events`, `said` (stderr) and `ended` (it would have exited) record."""
    machine = build_machine(release(name), parse(["--release", name, *arguments]), chardevs=chardevs)
    assert isinstance(machine, Machine)
    box = cast("Box", machine)
    box.events, box.said, box.ended = [], [], []
    box.emit = lambda event, data: box.events.append((event, data))
    machine.migration.on_fatal = lambda: box.ended.append(1)
    machine.migration.say = box.said.append
    return box


def none(name: str, *arguments: str, mib: int = 1) -> Box:
    """A machine of type `none`."""
    return make(name, "-M", "none", "-m", str(mib), "-nodefaults", *arguments)


def target(name: str, *arguments: str, mib: int = 1) -> Box:
    """The same, waiting for a stream."""
    return none(name, "-incoming", "defer", *arguments, mib=mib)


def enable(machine: Machine, *capabilities: str) -> None:
    """Switch capabilities on."""
    machine.migration.set_capabilities([{"capability": c, "state": True} for c in capabilities])


def until(condition: Callable[[], Any], what: str) -> None:
    """Look until `condition` holds; the test fails at the deadline."""
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE} s for {what}"
        time.sleep(0.002)


def status(machine: Machine, *wanted: str) -> dict[str, Any]:
    """`query-migrate` once it has one of the statuses, by default an end; of an end, when all that belongs to it is done."""
    end = time.monotonic() + DEADLINE
    while (answer := _query(machine)).get("status") not in (wanted or _ENDS):
        assert time.monotonic() < end, (
            f"waited {DEADLINE} s for {wanted or _ENDS}: {answer}, {_told(machine)}"
        )
        time.sleep(0.002)
    if answer["status"] in _ENDS:
        settle(machine)
    return answer


def _query(machine: Machine) -> dict[str, Any]:
    """`query-migrate`, and whoever changed the status has told of it."""
    with machine.bql:
        return machine.migration.query()


def _told(machine: Machine) -> dict[str, Any]:
    """What a machine has told so far."""
    return {"events": getattr(machine, "events", None), "stderr": getattr(machine, "said", None)}


def settle(machine: Machine) -> None:
    """Wait for the threads of a migration that has ended: they clean up after the status has changed."""
    for side in (machine.migration.outgoing, machine.migration.incoming_side):
        if side is not None:
            side.join(DEADLINE)


def statuses(machine: Box) -> list[str]:
    """Statuses and STOP, RESUME, passes as events told them."""
    return [_word(event, data) for event, data in machine.events]


def _word(event: str, data: Any) -> str:
    if event == "MIGRATION_PASS":
        return f"pass {data['pass']}"
    return str(data["status"]) if event == "MIGRATION" else event


def fill(machine: Machine, seed: bytes = b"guest") -> None:
    """Content in every third page of the first block, and some that is nearly zero."""
    block = next(iter(machine.ram_blocks.values()))
    for page in range(0, block.pages, 3):
        block.write(page * 4096, (seed + page.to_bytes(4)) * 400)
    block.write(4096 * 2 - 1, b"\1")


def memory(machine: Machine) -> dict[str, bytes]:
    """All of its memory."""
    return {name: block.data[: block.used_length] for name, block in machine.ram_blocks.items()}


def runs(release: str, mib: int = 8) -> Box:
    """A running guest with memory that is told apart, whose migrations are told of."""
    machine = none(release, mib=mib)
    fill(machine)
    machine.vm_start()
    enable(machine, "events")
    return machine


def goes_on(machine: Box, tmp_path: Path) -> None:
    """A source that runs as if nothing had been, and can be migrated."""
    assert machine.runstate == "running"
    off = [{"capability": c, "state": False} for c in ("pause-before-switchover", "return-path")]
    machine.migration.set_capabilities(off)
    machine.migration.set_parameters({"max-bandwidth": 0})
    before = memory(machine)
    machine.migration.migrate(f"exec:cat > {tmp_path / 'again'}")
    status(machine, "completed")
    there = target(machine.release.name, mib=len(before["ram"]) >> 20)
    there.migration.incoming(f"exec:cat {tmp_path / 'again'}")
    status(there, "completed")
    assert memory(there) == before

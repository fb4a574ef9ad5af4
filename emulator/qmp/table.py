# SPDX-License-Identifier: Apache-2.0
"""The table of commands: name, life-time, arguments, and the handler that executes it.

    @command("query-name")
    def query_name(call: Call, arguments: Arguments) -> Any: ...

1. A command outside of its life-time is unknown, like one that never existed.
2. Arguments are checked before a handler is called; a handler returns the ``return`` value or raises `QmpError`.
3. Handlers run on the main loop's thread under the machine's lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from migmatrix.emulator.qmp.types import ANY, Struct
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.qmp.monitor import Monitor
    from migmatrix.emulator.qmp.server import Server
    from migmatrix.emulator.qmp.types import Member

__all__ = ["COMMANDS", "EVENTS", "Arguments", "Call", "Command", "command", "commands_of", "find_command"]

Arguments = dict[str, Any]


class Call(NamedTuple):
    """What a handler gets: the machine, the process's monitors, and the monitor that asks."""

    machine: Machine
    server: Server
    session: Monitor

    @property
    def release(self) -> str:
        """The release's name."""
        return self.machine.release.name


class Command(NamedTuple):
    """One command, for one span of releases."""

    name: str
    handler: Callable[[Call, Arguments], Any]
    arguments: Struct
    returns: Any
    since: str
    until: str
    oob: bool


COMMANDS: Final[dict[str, Command]] = {}

# Events that the emulator sends, for query-events and query-qmp-schema.
EVENTS: Final = (
    "SHUTDOWN", "POWERDOWN", "RESET", "STOP", "RESUME", "SUSPEND", "WAKEUP", "GUEST_PANICKED", "JOB_STATUS_CHANGE",
    "MIGRATION", "MIGRATION_PASS", "DEVICE_DELETED",
)  # fmt: skip


def command(
    name: str,
    *members: Member,
    returns: Any = ANY,
    since: str = "",
    until: str = "",
    oob: bool = False,
    open_: bool = False,
) -> Callable[[Callable[[Call, Arguments], Any]], Callable[[Call, Arguments], Any]]:
    """Put a handler into the table; see `emulator.qmp.types.Struct` for `open_`."""

    def put(handler: Callable[[Call, Arguments], Any]) -> Callable[[Call, Arguments], Any]:
        arguments = Struct(f"q_obj_{name}-arg", *members, open_=open_)
        COMMANDS[name] = Command(name, handler, arguments, returns, since, until, oob)
        return handler

    return put


def commands_of(release: str) -> dict[str, Command]:
    """The commands that a release has, by name."""
    from migmatrix.emulator.qmp.commands import load  # noqa: PLC0415 - they import this module

    for _ in load():
        pass
    return {name: c for name, c in COMMANDS.items() if lives(c.since, c.until, release)}


def find_command(name: str, release: str) -> Command | None:
    """The command `name` if `release` has it; loads topics only until one has it."""
    from migmatrix.emulator.qmp.commands import load  # noqa: PLC0415 - as above

    if name not in COMMANDS:
        for _ in load():
            if name in COMMANDS:
                break
    found = COMMANDS.get(name)
    return found if found is not None and lives(found.since, found.until, release) else None

# SPDX-License-Identifier: Apache-2.0
"""`Server`: all monitors of one process, the events that they get, and the end of the process.

Any thread may call `emit`. The main loop's thread sends events in the order of the calls, each with the time of its
call.
"""

from __future__ import annotations

import time
from collections import deque
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.qmp.session import Session
from migmatrix.emulator.qmp.table import find_command
from migmatrix.vmstate.device.lifetime import release_key

if TYPE_CHECKING:
    from migmatrix.emulator.chardev import Backend
    from migmatrix.emulator.loop import Loop
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.qmp.monitor import Monitor
    from migmatrix.emulator.qmp.table import Command
    from migmatrix.emulator.snapshots import Snapshots

__all__ = ["PACKAGE", "Server", "version_of"]

PACKAGE: Final = "migmatrix reference emulator"
_KEPT_BY_RESET: Final = ("running", "inmigrate", "finish-migrate")


def version_of(release: str) -> dict[str, Any]:
    """`release` as QMP has it."""
    major, minor, micro = (*release_key(release), 0)[:3]
    return {"qemu": {"micro": micro, "minor": minor, "major": major}, "package": PACKAGE}


class Server:
    """Monitors, events, and the end of the process."""

    def __init__(self, loop: Loop, release: str, chardevs: dict[str, Backend]) -> None:
        self.loop = loop
        self.release = release
        self.version = version_of(release)
        self.chardevs = chardevs
        self.machine: Machine  # set before the loop runs
        self.sessions: list[Monitor] = []
        self.jobs: dict[str, dict[str, Any]] = {}
        self.ending = False
        self.status = 0  # what the process ends with
        self._events: deque[dict[str, Any]] = deque()

    def command(self, name: str) -> Command | None:
        """A command, if the release has it."""
        return find_command(name, self.release)

    @cached_property
    def snapshots(self) -> Snapshots:
        """The machine's snapshots, for savevm and its relatives."""
        from migmatrix.emulator.snapshots import Snapshots  # noqa: PLC0415 - few machines have any

        return Snapshots(self.machine)

    def add(self, backend: Backend, *, control: bool = True, pretty: bool = False) -> None:
        """Serve QMP on a chardev, or the human monitor."""
        if control:
            self.sessions.append(Session(self, backend, pretty=pretty))
        else:
            from migmatrix.emulator.qmp.human import HumanSession  # noqa: PLC0415 - few have one

            self.sessions.append(HumanSession(self, backend))
        backend.start()

    def emit(self, event: str, data: dict[str, Any] | None = None) -> None:
        """Queue an event for all sessions; any thread may call this."""
        seconds, microseconds = divmod(time.time_ns() // 1000, 1_000_000)
        message: dict[str, Any] = {
            "timestamp": {"seconds": seconds, "microseconds": microseconds},
            "event": event,
        }
        if data is not None:
            message["data"] = data
        self._events.append(message)
        self.loop.call(self.deliver)

    def deliver(self) -> None:
        """Send all queued events; only on the loop's thread."""
        while self._events:
            message = self._events.popleft()
            for session in self.sessions:
                session.event(message)

    def reset(self, reason: str, *, guest: bool = False) -> None:
        """Reset the machine and emit RESET; a stopped machine goes back to `prelaunch`, as in QEMU."""
        if self.machine.options.no_reboot:
            self.shut_down(reason, guest=guest)
            return
        self.machine.reset()
        if self.machine.runstate not in _KEPT_BY_RESET:
            self.machine.set_runstate("prelaunch")
        self.emit("RESET", {"guest": guest, "reason": reason})

    def abandon(self) -> None:
        """End the process with status 1 and no event, as QEMU does when it refuses an incoming stream."""
        self.ending = True
        self.status = 1
        self.loop.stop()

    def shut_down(self, reason: str, *, guest: bool = False, status: int = 0) -> None:
        """End the process with `status`: say so, then stop the loop; on the loop's thread."""
        if not self.ending:
            self.ending = True
            self.status = status
            self.emit("SHUTDOWN", {"guest": guest, "reason": reason})
            self.loop.stop()

# SPDX-License-Identifier: Apache-2.0
"""One emulator under test, spoken to in plain QMP: for assertions that must hold for every implementation.

Nothing of the harness's own QMP client or legs is used, so that neither repairs what an emulator says. Every wait
has a deadline, after which the test fails with what the emulator said last.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from typing import TYPE_CHECKING, Any, Self

from migmatrix.harness.engines.base import Needs, Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from migmatrix.harness.builds import PreparedBuild
    from migmatrix.harness.engines import Engines

__all__ = ["FINAL", "Side"]

FINAL = ("completed", "failed", "cancelled")
_PATIENCE = 120.0  # seconds
_LINE_LIMIT = 1 << 24


class Side:
    """An emulator and its monitor; an asynchronous context manager that ends it."""

    def __init__(self, engines: Engines, build: PreparedBuild, arguments: Sequence[str]) -> None:
        self._engines, self._build, self._arguments = engines, build, arguments
        self.events: list[dict[str, Any]] = []
        self._replies: deque[dict[str, Any]] = deque()
        self._listener = socket.socket(socket.AF_UNIX)
        self._connected = asyncio.Event()
        self._connection: socket.socket | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def __aenter__(self) -> Self:
        sandbox = await self._engines.sandbox(self._build, Role.DESTINATION, Needs())
        self.sandbox, self.job = sandbox, sandbox.job()
        self._listener.bind(self.job.files.path("qmp"))
        self._listener.listen(1)
        self.job.files.open_socket("qmp")
        asyncio.get_running_loop().add_reader(self._listener, self._take)
        qmp = ("-qmp", f"unix:{self.job.inner('qmp')}")
        await self.job.start((self._build.binary, *self._build.args, *self._arguments, *qmp))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        if self._writer is not None:
            self._writer.close()
        elif self._connection is not None:  # it connected, and nobody listened to it
            self._connection.close()
        self.job.signal("KILL")
        async with asyncio.timeout(_PATIENCE):
            await self.job.wait()
        self.job.discard()

    def _take(self) -> None:
        asyncio.get_running_loop().remove_reader(self._listener)
        self._connection, _ = self._listener.accept()
        self._connected.set()

    async def greeting(self) -> dict[str, Any]:
        """What it says first."""
        async with asyncio.timeout(_PATIENCE):
            await self._connected.wait()
        opened = asyncio.open_unix_connection(sock=self._connection, limit=_LINE_LIMIT)
        self._reader, self._writer = await opened
        return await self._message()

    async def negotiate(self) -> Self:
        """Ready for commands, with migration events."""
        await self.greeting()
        await self.ok("qmp_capabilities")
        await self.ok("migrate-set-capabilities", capabilities=[{"capability": "events", "state": True}])
        return self

    async def _message(self) -> dict[str, Any]:
        async with asyncio.timeout(_PATIENCE):
            line = await self._reader.readline()
        if not line:
            raise AssertionError(f"the monitor is closed: {self.job.output('stderr')}")
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, text: str) -> None:
        """Send bytes as they are."""
        assert self._writer is not None, "it has not been greeted"
        self._writer.write(text.encode())

    async def reply(self) -> dict[str, Any]:
        """The next message that is no event."""
        while "event" in (message := await self._message()):
            self.events.append(message)
        return message

    async def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The whole reply to a command; `_` in names of arguments stands for `-`."""
        named = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.send(json.dumps({"execute": command, **({"arguments": named} if named else {})}) + "\n")
        return await self.reply()

    async def ok(self, command: str, **arguments: Any) -> Any:
        """The value that a command returns; an AssertionError when it is refused."""
        reply = await self.call(command, **arguments)
        assert "return" in reply, reply
        return reply["return"]

    async def refused(self, command: str, **arguments: Any) -> dict[str, str]:
        """The error of a command that must be refused."""
        reply = await self.call(command, **arguments)
        assert "error" in reply, reply
        error: dict[str, str] = reply["error"]
        assert set(error) == {"class", "desc"}
        return error

    async def event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event so far, or to come, that is wanted."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                if wanted(event):
                    return event
            seen = len(self.events)
            self.events.append(await self._message())

    async def ended(self) -> str:
        """The last migration's status once it has one that does not change any more."""
        event = await self.event(lambda e: e["event"] == "MIGRATION" and e["data"]["status"] in FINAL)
        return str(event["data"]["status"])

    async def reached(self, status: str) -> None:
        """Wait for a migration status."""
        await self.event(lambda e: e["event"] == "MIGRATION" and e["data"]["status"] == status)

    def statuses(self) -> list[str]:
        """Migration statuses in the order in which they were told."""
        return [e["data"]["status"] for e in self.events if e["event"] == "MIGRATION"]

    def names(self) -> list[str]:
        """Names of all events so far."""
        return [e["event"] for e in self.events]

    async def exit(self) -> int:
        """The exit status; the monitor is closed by then."""
        async with asyncio.timeout(_PATIENCE):
            return await self.job.wait()

    @property
    def stderr(self) -> str:
        """What it printed."""
        return self.job.output("stderr")

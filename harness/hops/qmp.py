# SPDX-License-Identifier: Apache-2.0
"""One QMP session with one emulator, every message of it on record.

The emulator connects to a socket that the harness listens on, so that nothing is polled. The client is `qemu.qmp`;
what it raises is translated here and nowhere else. The emulator may be hostile: `shapes` looks at all that comes in,
and a session that says too much is ended.
"""

from __future__ import annotations

import logging
import select
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from qemu.qmp import (
    ConnectError,
    EventListener,
    ExecInterruptedError,
    ExecuteError,
    Message,
    QMPClient,
    QMPError,
    Runstate,
    StateError,
)
from qemu.qmp.error import ProtocolError

from migmatrix.harness.hops.patience import patience
from migmatrix.harness.hops.shapes import message, misfit
from migmatrix.harness.model import QmpMessage

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Disconnected", "Malformed", "QmpSession", "Refused"]

# More than any emulator says in a leg.
_MOST_MESSAGES = 100_000
_MOST_BYTES = 64 << 20

# The client logs a traceback when an emulator goes away; here that is evidence, not an error.
logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)


class Refused(Exception):
    """The emulator answered a command with an error; the text is the error's description."""


class Malformed(Refused):
    """The emulator said what no emulator says; the text tells what, in the harness's words."""


class Disconnected(Exception):
    """The emulator closed the session."""


class _QuietClient(QMPClient):
    """The client with bounds, and without its debug log, which formats every message even when nobody listens."""

    def __init__(self) -> None:
        super().__init__()
        self.malformed = ""  # what ended the session, if it was what the emulator said
        self._messages = self._bytes = 0

    def held(self) -> bool:
        """Whether the other end of the session's socket is open, if there is one."""
        if self._writer is None or (file := self._writer.get_extra_info("socket").fileno()) < 0:
            return False
        poll = select.poll()
        poll.register(file, select.POLLRDHUP)
        return not poll.poll(0)

    async def _do_recv(self) -> Message:
        try:
            return message(self._counted(await self._line()))
        except ProtocolError as err:
            self.malformed = f"QMP: {err}"
            raise

    async def _line(self) -> bytes:
        try:
            return await self._readline()
        except ValueError as err:  # asyncio's, of a line longer than it may be
            raise ProtocolError("a message is too long") from err

    def _counted(self, data: bytes) -> bytes:
        self._messages += 1
        self._bytes += len(data)
        if self._messages > _MOST_MESSAGES or self._bytes > _MOST_BYTES:
            raise ProtocolError(f"over {_MOST_MESSAGES} messages or {_MOST_BYTES} bytes")
        return data

    def _cb_outbound(self, msg: Message) -> Message:
        return msg

    def _cb_inbound(self, msg: Message) -> Message:
        return msg


class QmpSession:
    """Commands and events of one emulator; `clock` gives seconds since the leg began."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._client = _QuietClient()
        self._log: list[QmpMessage] = []
        self._events = EventListener()
        self._client.register_listener(self._events)

    @property
    def log(self) -> tuple[QmpMessage, ...]:
        """All messages so far, in order."""
        return tuple(self._log)

    async def listen(self, path: str) -> None:
        """Make the socket that the emulator will connect to; OSError."""
        try:
            await self._client.start_server(path)
        except ConnectError as err:
            raise OSError(str(err)) from err

    async def accept(self) -> None:
        """Wait for the emulator and negotiate; Malformed, or Disconnected when it goes away in between."""
        try:
            await self._client.accept()
        except (ConnectError, StateError) as err:
            raise self._gone(err) from err
        except AssertionError as err:  # of the client: no session, for it ended as soon as it had begun
            if self._client.runstate is Runstate.RUNNING:
                raise
            raise self._gone(ConnectionError("it hung up")) from err

    def _gone(self, err: Exception) -> Malformed | Disconnected:
        return Malformed(self._client.malformed) if self._client.malformed else Disconnected(str(err))

    async def execute(
        self, command: str, arguments: dict[str, Any] | None = None, *, oob: bool = False
    ) -> Any:
        """The command's return value, of the command's shape; Refused, Malformed or Disconnected.

        `oob`: out of band, which an emulator answers even while its main thread waits for a page of memory.
        """
        sent: dict[str, Any] = {"exec-oob" if oob else "execute": command}
        if arguments:
            sent["arguments"] = arguments
        self._record(">", sent)
        try:
            value = await self._client.execute(command, arguments, oob=oob)
        except ExecuteError as err:
            self._record("<", dict(err.received))
            raise Refused(str(err)) from err
        except (ExecInterruptedError, StateError, OSError) as err:
            raise self._gone(err) from err
        except QMPError as err:
            raise Malformed(f"QMP: {command}: no answer that one could understand") from err
        self._record("<", {"return": value})
        if wrong := misfit(command, value):
            raise Malformed(f"QMP: {wrong}")
        return value

    async def event(self) -> dict[str, Any]:
        """The next event."""
        event = dict(await self._events.get())
        self._record("<", event)
        return event

    def drain(self) -> None:
        """Take down the events that nobody has waited for."""
        for event in self._events.clear():
            self._record("<", dict(event))

    async def awaited(self, seconds: float) -> None:
        """Give whoever has not connected yet so long to do it; nothing to wait for once there is, or was, a session."""
        with suppress(TimeoutError):
            async with patience(seconds):
                while self._client.runstate is Runstate.CONNECTING:
                    await self._client.runstate_changed()

    def held(self) -> bool:
        """Whether the other end of the session is still open somewhere, whatever of it has not been read yet."""
        return self._client.held()

    async def give_fd(self, fd: int, name: str) -> str:
        """Give the emulator a copy of a file descriptor under a name; the URI by which it migrates there."""
        self._client.send_fd_scm(fd)
        await self.execute("getfd", {"fdname": name})
        return f"fd:{name}"

    async def close(self) -> None:
        """End the session; that the emulator ended it first is no error."""
        self.drain()
        try:
            await self._client.disconnect()
        except (EOFError, OSError):
            pass  # the emulator hung up, which is how most sessions end
        except QMPError as err:
            self._record("<", {"protocol-error": str(err)})

    def _record(self, direction: str, message: dict[str, Any]) -> None:
        self._log.append(QmpMessage(round(self._clock(), 4), direction, message))

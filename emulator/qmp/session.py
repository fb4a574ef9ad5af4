# SPDX-License-Identifier: Apache-2.0
"""One QMP connection: greeting, negotiation, then commands, one after another.

1. The table of `emulator.qmp.states` says what a client may send in which state.
2. Every input gets exactly one answer, in order; events that a command causes are sent before its answer.
3. File descriptors that come with a message wait for `getfd` or `add-fd`; the next message with some closes them.
4. The sentences are those of QEMU's dispatcher (5.2 to 11.1).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import QmpError, bug
from migmatrix.emulator.qmp.input import Input
from migmatrix.emulator.qmp.monitor import Monitor
from migmatrix.emulator.qmp.states import Cause, Dialogue, Effect
from migmatrix.emulator.qmp.table import Call
from migmatrix.emulator.qmp.types import generic
from migmatrix.emulator.start.jsontext import dumps

if TYPE_CHECKING:
    from migmatrix.emulator.chardev import Backend
    from migmatrix.emulator.qmp.server import Server
    from migmatrix.emulator.qmp.states import CauseName
    from migmatrix.emulator.qmp.table import Command

__all__ = ["Session"]

_CAPABILITIES: Final = "qmp_capabilities"


class Session(Monitor):
    """A QMP monitor on one chardev."""

    def __init__(self, server: Server, backend: Backend, *, pretty: bool = False) -> None:
        super().__init__()
        self.server = server
        self._dialogue = Dialogue()
        self._arrived: list[int] = []
        self._backend = backend
        self._pretty = pretty
        self._input = Input(server.release)
        backend.on_open, backend.on_data, backend.on_close = self._open, self._data, self._close

    def _react(self, cause: CauseName, message: dict[str, Any] | None = None) -> None:
        effect = self._dialogue.fire(cause)
        if effect == Effect.GREET:
            self._greet()
        elif effect == Effect.FORGET:
            self._forget()
        elif effect == Effect.SEND and message is not None:
            self._send(message)

    def _open(self) -> None:
        self._react(Cause.CONNECT)

    def _close(self) -> None:
        self._react(Cause.DISCONNECT)

    def _greet(self) -> None:
        self._input = Input(self.server.release)
        self._send({"QMP": {"version": self.server.version, "capabilities": ["oob"]}})

    def _forget(self) -> None:
        for fd in (*self._arrived, *self.named_fds.values()):
            os.close(fd)
        self._arrived.clear()
        self.named_fds.clear()

    def _data(self, data: bytes, fds: list[int]) -> None:
        self.server.deliver()  # what came before this client was ready is not for it
        if fds:
            for fd in self._arrived:
                os.close(fd)
            self._arrived = fds
        for request in self._input.feed(data):
            if self.server.ending:
                return
            answer = self.answer(request)
            self.server.deliver()
            self._send(answer)

    def take_fd(self) -> int:
        """See `Monitor`."""
        return self._arrived.pop(0) if self._arrived else super().take_fd()

    def negotiate(self, *, oob: bool) -> None:
        """See `Monitor`."""
        self._react(Cause.NEGOTIATE_OOB if oob else Cause.NEGOTIATE)

    def event(self, message: dict[str, Any]) -> None:
        """Send an event, if the client has negotiated."""
        self._react(Cause.EVENT, message)

    def _send(self, message: dict[str, Any]) -> None:
        words = _indented(message) if self._pretty else dumps(message)
        self._backend.write(words.encode() + b"\r\n")

    def answer(self, request: Any) -> dict[str, Any]:
        """The answer to one input."""
        has_id = isinstance(request, dict) and "id" in request
        try:
            value = self._execute(request)
        except Exception as err:  # noqa: BLE001 - the last resort: a client gets an answer, whatever a command raises
            known = err if isinstance(err, QmpError) else generic(bug(err))
            error = {"error": {"class": known.class_, "desc": known.desc}}
            return {"id": request["id"], **error} if has_id else error
        return {"return": value, "id": request["id"]} if has_id else {"return": value}

    def _execute(self, request: Any) -> Any:
        if isinstance(request, Exception):  # a SyntaxMistake: the input is no value
            raise generic(str(request))
        name, arguments, oob = _envelope(request, self._dialogue)
        found = self._find(name)
        if oob and not found.oob:
            raise generic(f"The command {name} does not support OOB")
        with self.server.machine.bql:
            found.arguments.check(arguments, "", self.server.release)
            return found.handler(Call(self.server.machine, self.server, self), arguments)

    def _find(self, name: str) -> Command:
        found = self.server.command(name)
        self._dialogue.check(Cause.NEGOTIATE if name == _CAPABILITIES else Cause.COMMAND)
        if found is None:
            raise QmpError("CommandNotFound", f"The command {name} has not been found")
        return found


def _indented(message: dict[str, Any]) -> str:
    import json  # noqa: PLC0415 - only pretty monitors need it

    return json.dumps(message, indent=4)


def _envelope(request: Any, dialogue: Dialogue) -> tuple[str, dict[str, Any], bool]:
    """(command, arguments, out of band) of a request; QmpError."""
    if not isinstance(request, dict):
        raise generic("QMP input must be a JSON object")
    name: str | None = None
    urgent = False
    for key, value in request.items():
        if key in ("execute", "exec-oob"):
            if key == "exec-oob":
                dialogue.check(Cause.EXEC_OOB)
            if not isinstance(value, str):
                raise generic(f"QMP input member '{key}' must be a string")
            if name is not None:
                raise generic("QMP input member 'execute' clashes with 'exec-oob'")
            name, urgent = value, key == "exec-oob"
        elif key == "arguments" and not isinstance(value, dict):
            raise generic("QMP input member 'arguments' must be an object")
        elif key not in ("arguments", "id"):
            raise generic(f"QMP input member '{key}' is unexpected")
    if name is None:
        raise generic("QMP input lacks member 'execute'")
    return name, request.get("arguments", {}), urgent

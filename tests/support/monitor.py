# SPDX-License-Identifier: Apache-2.0
"""An emulator process and a plain line-by-line QMP client of it: nothing of `qemu.qmp`, nothing of the harness."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["Client", "Process", "connect"]

_PATIENCE = 120.0  # seconds


class Process:
    """An emulator; a context manager that kills it."""

    def __init__(self, argv: Sequence[str]) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        self.process = subprocess.Popen(argv, **pipes)  # type: ignore[call-overload]  # a dict of keywords

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """Wait for the end: exit status and standard error."""
        _, errors = self.process.communicate(timeout=_PATIENCE)
        return self.process.returncode, errors.decode()


class Client:
    """A connection to a monitor; events are kept apart."""

    def __init__(self, sock: socket.socket) -> None:
        sock.settimeout(_PATIENCE)
        self.socket = sock
        self.file = sock.makefile("rb")
        self.events: list[dict[str, Any]] = []
        self.greeting = self.message()

    def message(self) -> dict[str, Any]:
        """The next message; EOFError at the end."""
        line = self.file.readline()
        if not line:
            raise EOFError
        found: dict[str, Any] = json.loads(line)
        return found

    def answer(self) -> dict[str, Any]:
        """The next message that is no event."""
        while "event" in (found := self.message()):
            self.events.append(found)
        return found

    def call(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The whole answer to a command."""
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
        return self.answer()

    def ok(self, command: str, **arguments: Any) -> Any:
        """The value that a command returns."""
        answer = self.call(command, **arguments)
        assert "return" in answer, answer
        return answer["return"]

    def event(self, name: str) -> dict[str, Any]:
        """The first event of that name, among those that came or still to come."""
        while not any(e["event"] == name for e in self.events):
            self.events.append(self.message())
        return next(e for e in self.events if e["event"] == name)

    def close(self) -> None:
        """Hang up."""
        self.file.close()
        self.socket.close()


def connect(path: Path) -> Client:
    """Connect to a server socket as soon as it is there."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            assert time.monotonic() < deadline, "nobody listens"
            time.sleep(0.005)
        else:
            return Client(sock)

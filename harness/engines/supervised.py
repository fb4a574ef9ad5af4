# SPDX-License-Identifier: Apache-2.0
"""A sandbox run by `supervisor.sh`: the part that the process engine and the docker engine share.

Rules:
1. The harness holds the write end of the command FIFO open for as long as the sandbox lives; its end, by any
   means, is the supervisor's end of file.
2. Every fact about a process comes as a line of the event FIFO: nothing is polled.
3. When the event FIFO reaches its end the sandbox is dead and every waiter gets EngineError.
4. A process id is signalled only between its `pid` and its `exit` line.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from migmatrix.harness.engines.workspace import SANDBOX_ID, give
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["SUPERVISOR", "SupervisedJob", "SupervisedSandbox"]

SUPERVISOR = Path(__file__).with_name("supervisor.sh")

# Emulators print little; what is beyond this much is the same message over and over.
_OUTPUT_LIMIT = 64 * 1024
_SIGNALLED = 128


def _trimmed(data: bytes) -> str:
    if len(data) > _OUTPUT_LIMIT:
        half = _OUTPUT_LIMIT // 2
        cut = len(data) - 2 * half
        data = data[:half] + f"\n[... {cut} bytes left out ...]\n".encode() + data[-half:]
    return data.decode("utf-8", "replace")


class SupervisedJob:
    """One emulator process started by a supervisor."""

    def __init__(self, sandbox: SupervisedSandbox, name: str) -> None:
        self.name = name
        self.directory = sandbox.workspace.directory(f"{sandbox.name}/{name}", sandbox.user)
        self._sandbox = sandbox
        self._pid: int | None = None
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[int] = loop.create_future()
        self._saved: asyncio.Future[int] = loop.create_future()

    def inner(self, name: str) -> str:
        """The path of a file of this job as the emulator sees it."""
        return f"{self._sandbox.inner_root}/{self.name}/{name}"

    def save_command(self, name: str) -> str:
        """A shell command that copies its input to file `name` and then reports to `saved`."""
        events = f"{self._sandbox.inner_root}/events"
        return f"cat >{shlex.quote(self.inner(name))}; echo saved {self.name} $? >>{shlex.quote(events)}"

    async def start(self, argv: Sequence[str]) -> None:
        """Start the emulator; EngineError when the sandbox is gone."""
        (self.directory / "run").write_text(f"exec {shlex.join(argv)}\n")
        self._sandbox.command(f"start {self.name}")

    async def wait(self) -> int:
        """The exit status, negative for a signal; EngineError when the sandbox died."""
        return await asyncio.shield(self._exit)

    async def saved(self) -> int:
        """The exit status of the helper that writes an outgoing stream."""
        return await asyncio.shield(self._saved)

    def signal(self, name: str) -> None:
        """Send a signal by name; nothing happens when the emulator has ended."""
        if self._pid is not None and not self.exited and not self._sandbox.dead:
            self._sandbox.command(f"signal {self._pid} {name}")

    @property
    def exited(self) -> bool:
        """Whether the emulator has ended."""
        return self._exit.done()

    def output(self, name: str) -> str:
        """Text of `stdout` or `stderr` so far, its middle cut out when very long."""
        path = self.directory / name
        return _trimmed(path.read_bytes()) if path.exists() else ""

    def discard(self) -> None:
        """Remove the job's directory; the sandbox forgets the job."""
        self._sandbox.forget(self.name)
        shutil.rmtree(self.directory)

    def on_event(self, what: str, value: int) -> None:
        """Take one line of the event FIFO."""
        match what:
            case "pid":
                self._pid = value
            case "exit" if not self._exit.done():
                self._exit.set_result(value if value < _SIGNALLED else _SIGNALLED - value)
            case "saved" if not self._saved.done():
                self._saved.set_result(value)

    def on_sandbox_death(self, reason: str) -> None:
        """Fail every waiter."""
        for future in (self._exit, self._saved):
            if not future.done():
                future.set_exception(EngineError(reason))
                future.exception()  # it may be that nobody waits


class SupervisedSandbox:
    """Somewhere that stays up: FIFOs, jobs, and the death of the supervisor."""

    def __init__(
        self, workspace: Workspace, name: str, inner_root: str | None = None, user: int = SANDBOX_ID
    ) -> None:
        self.workspace = workspace
        self.name = name
        self.user = user
        self.root = workspace.directory(name, user)
        self.inner_root = inner_root if inner_root is not None else str(self.root)
        self.dead = ""
        self.address = "127.0.0.1"
        self._jobs: dict[str, SupervisedJob] = {}
        self._started = 0
        self._partial = b""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for fifo in ("commands", "events"):
            os.mkfifo(self.root / fifo)
            give(self.root / fifo, user)
        # Read and write: opening does not wait for the supervisor, and its `open` does not wait for us.
        self._commands = os.open(self.root / "commands", os.O_RDWR | os.O_NONBLOCK)
        self._events = os.open(self.root / "events", os.O_RDONLY | os.O_NONBLOCK)
        asyncio.get_running_loop().add_reader(self._events, self._read)

    async def ready(self, deadline: float) -> None:
        """Wait for the supervisor's first line; EngineError when it does not come in time."""
        try:
            async with asyncio.timeout(deadline):
                await asyncio.shield(self._ready)
        except TimeoutError as err:
            raise EngineError(f"{self.name}: the supervisor did not start within {deadline:g} s") from err

    def job(self) -> SupervisedJob:
        """A new job with an empty directory."""
        if self.dead:
            raise EngineError(self.dead)
        self._started += 1
        job = SupervisedJob(self, str(self._started))
        self._jobs[job.name] = job
        return job

    def forget(self, name: str) -> None:
        """Drop a finished job."""
        del self._jobs[name]

    def stream(self, path: Path) -> str:
        """A file of the shared stream directory as the emulators here see it."""
        return str(path)

    def link(self, path: Path) -> str:
        """A file of the directory shared by all sandboxes, as the emulators here see it."""
        return str(path)

    def command(self, line: str) -> None:
        """Send one line to the supervisor; EngineError when the sandbox is gone."""
        if self.dead:
            raise EngineError(self.dead)
        try:
            os.write(self._commands, line.encode() + b"\n")
        except OSError as err:
            raise EngineError(f"{self.name}: cannot reach the supervisor: {err}") from err

    def die(self, reason: str) -> None:
        """The supervisor is gone: fail every waiter."""
        if self.dead:
            return
        self.dead = reason
        for job in self._jobs.values():
            job.on_sandbox_death(reason)
        if not self._ready.done():
            self._ready.set_exception(EngineError(reason))
            self._ready.exception()

    def close_pipes(self) -> None:
        """End the supervisor by end of file, and stop listening."""
        self.die(f"{self.name}: closed")
        asyncio.get_running_loop().remove_reader(self._events)
        os.close(self._commands)
        os.close(self._events)

    def _read(self) -> None:
        data = os.read(self._events, 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(self._events)
            self.die(f"{self.name}: the supervisor ended unexpectedly")
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        for line in lines:
            self._dispatch(line.decode("ascii", "replace").split())

    def _dispatch(self, words: list[str]) -> None:
        match words:
            case ["ready"] if not self._ready.done():
                self._ready.set_result(None)
            case ["pid" | "exit" | "saved" as what, name, value] if name in self._jobs and value.isdigit():
                self._jobs[name].on_event(what, int(value))
            case _:  # a job that was discarded, or an emulator that writes rubbish into its own FIFO
                pass

# SPDX-License-Identifier: Apache-2.0
"""A sandbox run by `supervisor.sh`: the part that the process engine and the docker engine share.

Rules:
1. The harness holds the write end of the command FIFO open for as long as the sandbox lives; its end, by any
   means, is the supervisor's end of file.
2. Every fact about a process comes as a line of the event FIFO: nothing is polled.
3. When the event FIFO reaches its end the sandbox is dead and every waiter gets EngineError.
4. A process id is signalled only between its `pid` and its `exit` line.
5. What is in a sandbox's directories, and every line of its event FIFO, may come from a hostile build: files are
   reached through `Beneath` only, and a line that no supervisor writes is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from migmatrix.harness.beneath import Beneath
from migmatrix.harness.engines.workspace import SANDBOX_ID
from migmatrix.harness.errors import EngineError, SandboxDied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["SUPERVISOR", "SupervisedJob", "SupervisedSandbox"]

SUPERVISOR = Path(__file__).with_name("supervisor.sh")

# Emulators print little; what is beyond this much is the same message over and over.
_OUTPUT_LIMIT = 64 * 1024
_SIGNALLED = 128
# Lines that a supervisor writes: words, and numbers of a process id's size; an exit status is a byte.
_LONGEST_LINE = 256
_NUMBER = re.compile(r"[0-9]{1,10}")
_LAST_STATUS = 255
# Seconds that a supervisor gets to answer; it does nothing else for long.
_ANSWER_DEADLINE = 10.0
# Entries of a job's directory that are removed at once; what a build put there beyond them goes with the workspace.
_MOST_ENTRIES = 10_000


class SupervisedJob:
    """One emulator process started by a supervisor."""

    def __init__(self, sandbox: SupervisedSandbox, name: str) -> None:
        self.name = name
        self.files = sandbox.make(name)
        self._sandbox = sandbox
        self._pid: int | None = None
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._state: asyncio.Future[str] | None = None

    def inner(self, name: str) -> str:
        """The path of a file of this job as the emulator sees it."""
        return f"{self._sandbox.inner_root}/{self.name}/{name}"

    async def start(self, argv: Sequence[str]) -> None:
        """Start the emulator; EngineError when the sandbox is gone."""
        try:
            self.files.write_new("run", f"exec {shlex.join(argv)}\n".encode())
        except OSError as err:
            raise EngineError(f"cannot write a job's script: {err}") from err
        self._sandbox.command(f"start {self.name}")

    async def wait(self) -> int:
        """The exit status, negative for a signal; EngineError when the sandbox died."""
        return await asyncio.shield(self._exit)

    async def state(self) -> str:
        """The kernel's letter for the process (T: stopped), "" when there is none; EngineError when nobody answers."""
        if self._pid is None or self.exited:
            return ""
        if self._state is None or self._state.done():
            self._state = asyncio.get_running_loop().create_future()
            self._sandbox.command(f"state {self.name} {self._pid}")
        try:
            async with asyncio.timeout(_ANSWER_DEADLINE):
                letter = await asyncio.shield(self._state)
        except TimeoutError as err:
            self._sandbox.die(f"{self._sandbox.name}: the supervisor does not answer: was it stopped?")
            raise EngineError(self._sandbox.dead) from err
        return letter.strip("-")

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
        try:
            data = self.files.ends(name, _OUTPUT_LIMIT)
        except FileNotFoundError:
            return ""
        except OSError as err:  # the emulator put something else there
            return f"[{err}]"
        return data.decode("utf-8", "replace")

    def discard(self) -> None:
        """Remove the job's directory; the sandbox forgets the job."""
        self._sandbox.forget(self.name)
        self.files.close()
        self._sandbox.remove(self.name)

    def on_state(self, letter: str) -> None:
        """Take the answer to `state`."""
        if self._state is not None and not self._state.done():
            self._state.set_result(letter)

    def on_event(self, what: str, value: int) -> None:
        """Take one line of the event FIFO."""
        match what:
            case "pid":
                self._pid = value
            case "exit" if not self._exit.done():
                self._exit.set_result(value if value < _SIGNALLED else _SIGNALLED - value)

    def on_sandbox_death(self, reason: str) -> None:
        """Fail every waiter."""
        for future in (self._exit, self._state):
            if future is not None and not future.done():
                future.set_exception(SandboxDied(reason))
                future.exception()  # it may be that nobody waits


class SupervisedSandbox:
    """Somewhere that stays up: FIFOs, jobs, and the death of the supervisor."""

    def __init__(
        self, workspace: Workspace, name: str, inner_root: str | None = None, user: int = SANDBOX_ID
    ) -> None:
        self.workspace = workspace
        self.name = name
        self.user = user
        self.root = workspace.directory(name)
        self._files = Beneath.open(self.root)
        self.inner_root = inner_root if inner_root is not None else str(self.root)
        self.dead = ""
        self.address = "127.0.0.1"
        self._jobs: dict[str, SupervisedJob] = {}
        self._started = 0
        self._partial = b""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        for fifo in ("commands", "events"):
            self._files.make_fifo(fifo, user)
        # Read and write: opening does not wait for the supervisor, and its `open` does not wait for us.
        self._commands = self._files.fifo("commands", os.O_RDWR)
        self._events = self._files.fifo("events", os.O_RDONLY)
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
            raise SandboxDied(self.dead)
        self._started += 1
        job = SupervisedJob(self, str(self._started))
        self._jobs[job.name] = job
        return job

    def make(self, name: str) -> Beneath:
        """Make a job's directory; EngineError when a build has put something in its place."""
        try:
            return self._files.make(name, self.user)
        except OSError as err:
            raise SandboxDied(f"{self.name}: cannot make a job's directory: {err}") from err

    def forget(self, name: str) -> None:
        """Drop a finished job."""
        del self._jobs[name]

    def remove(self, name: str) -> None:
        """Remove a finished job's directory, or leave it to the end of the workspace, when nobody adds to it any more."""
        with contextlib.suppress(OSError):
            self._files.remove(name, _MOST_ENTRIES)

    def link(self, path: Path) -> str:
        """A file of the directory shared by all sandboxes, as the emulators here see it."""
        return str(path)

    def command(self, line: str) -> None:
        """Send one line to the supervisor; EngineError when the sandbox is gone."""
        if self.dead:
            raise SandboxDied(self.dead)
        try:
            os.write(self._commands, line.encode() + b"\n")
        except OSError as err:
            raise SandboxDied(f"{self.name}: cannot reach the supervisor: {err}") from err

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
        self._files.close()

    def _read(self) -> None:
        data = os.read(self._events, 65536)
        if not data:
            asyncio.get_running_loop().remove_reader(self._events)
            self.die(f"{self.name}: the supervisor ended unexpectedly")
            return
        *lines, self._partial = (self._partial + data).split(b"\n")
        self._partial = self._partial[: _LONGEST_LINE + 1]
        for line in lines:
            if len(line) <= _LONGEST_LINE:
                self._dispatch(line.decode("ascii", "replace").split())

    def _dispatch(self, words: list[str]) -> None:
        match words:
            case ["ready"] if not self._ready.done():
                self._ready.set_result(None)
            case ["pid" | "exit" as what, name, value] if name in self._jobs and _NUMBER.fullmatch(value):
                if what == "pid" or int(value) <= _LAST_STATUS:
                    self._jobs[name].on_event(what, int(value))
            case ["state", name, letter] if name in self._jobs and len(letter) == 1:
                self._jobs[name].on_state(letter)
            case _:  # a job that was discarded, or an emulator that writes rubbish into its own FIFO
                pass

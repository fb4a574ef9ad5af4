# SPDX-License-Identifier: Apache-2.0
"""The process engine: emulators as plain processes of this host, for local binaries and the reference emulator.

The same supervisor as in a container runs in a session of its own; when it ends, or is killed, its whole process
group is. What left the group is found by its mark (`leftovers`) at the end of the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
from typing import TYPE_CHECKING, Any

from migmatrix.harness.engines.base import OwnsStack, to_its_end
from migmatrix.harness.engines.leftovers import MARK, end_marked
from migmatrix.harness.engines.supervised import SUPERVISOR, SupervisedSandbox
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Needs, Role
    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["ProcessEngine"]

_START_DEADLINE = 10.0


class _ProcessSandbox(SupervisedSandbox):
    """A supervisor as a child process."""

    _process: asyncio.subprocess.Process | None = None

    async def open(self, supervisor: str) -> None:
        """Start the supervisor, an executable or "" for the shell script that can start anything."""
        await to_its_end(self._start(supervisor))
        await self.ready(_START_DEADLINE)

    async def _start(self, supervisor: str) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *([supervisor] if supervisor else ["/bin/sh", str(SUPERVISOR)]),
            str(self.root),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, MARK: str(self.workspace.root)},
        )
        self._watch = asyncio.create_task(self._watch_supervisor(self._process))

    async def _watch_supervisor(self, process: asyncio.subprocess.Process) -> None:
        status = await process.wait()
        self.die(f"{self.name}: the supervisor ended with status {status}")

    async def close(self) -> None:
        self.close_pipes()
        if self._process is None:  # it could not be started
            return
        with contextlib.suppress(ProcessLookupError):  # it saw the end of file and took its group with it
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._watch


class ProcessEngine(OwnsStack):
    """Runs emulators as plain processes."""

    def __init__(self, workspace: Workspace, log: Callable[[str], None]) -> None:  # noqa: ARG002 - as all engines
        super().__init__()
        self._stack.push_async_callback(asyncio.to_thread, end_marked, workspace.root)
        self._workspace = workspace
        self._sandboxes: dict[tuple[Role, str, str], _ProcessSandbox] = {}
        self._opening = asyncio.Lock()
        self._opened = 0

    async def sandbox(self, build: PreparedBuild, role: Role, needs: Needs) -> _ProcessSandbox:  # noqa: ARG002
        """The open sandbox of a build's emulators in `role`; those with a supervisor of their own share it.

        Nothing separates plain processes, but what one writes into its own FIFO is then told of no other build.
        """
        if build.image:
            raise EngineError(f"build {build.id!r} is a container image; it needs the docker engine")
        async with self._opening:
            key = role, build.supervisor, "" if build.supervisor else build.binary
            sandbox = self._sandboxes.get(key)
            if sandbox is None or sandbox.dead:
                self._opened += 1
                sandbox = _ProcessSandbox(self._workspace, f"p{self._opened}")
                self._stack.push_async_callback(sandbox.close)
                await sandbox.open(build.supervisor)
                self._sandboxes[key] = sandbox
            return sandbox

    def describe(self) -> dict[str, Any]:
        """Facts for the report."""
        return {"engine": "process", "kernel": platform.release()}

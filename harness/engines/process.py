"""The process engine: emulators as plain processes of this host, for local binaries and the reference emulator.

The same supervisor as in a container runs in a session of its own; when it ends, or is killed, its whole process
group is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Self

from migmatrix.harness.engines.supervised import SUPERVISOR, SupervisedPlace
from migmatrix.harness.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Needs, Role
    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["ProcessEngine"]

_START_DEADLINE = 10.0


class _ProcessPlace(SupervisedPlace):
    """A supervisor as a child process."""

    _process: asyncio.subprocess.Process

    async def open(self, supervisor: str) -> None:
        """Start the supervisor, an executable or "" for the shell script that can start anything."""
        self._process = await asyncio.create_subprocess_exec(
            *([supervisor] if supervisor else ["/bin/sh", str(SUPERVISOR)]),
            str(self.root),
            stdin=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        self._watch = asyncio.create_task(self._watch_supervisor())
        await self.ready(_START_DEADLINE)

    async def _watch_supervisor(self) -> None:
        status = await self._process.wait()
        self.die(f"{self.name}: the supervisor ended with status {status}")

    async def close(self) -> None:
        self.close_pipes()
        with contextlib.suppress(ProcessLookupError):  # it saw the end of file and took its group with it
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._watch


class ProcessEngine:
    """Runs emulators as plain processes."""

    def __init__(self, workspace: Workspace, log: Callable[[str], None]) -> None:  # noqa: ARG002 - as all engines
        self._workspace = workspace
        self._places: dict[tuple[Role, str], _ProcessPlace] = {}
        self._opening = asyncio.Lock()
        self._stack = AsyncExitStack()
        self._opened = 0

    async def place(self, build: PreparedBuild, role: Role, needs: Needs) -> _ProcessPlace:  # noqa: ARG002
        """The open place of `role`; builds share it, as nothing separates processes anyway, but for their supervisor."""
        if build.image:
            raise EngineError(f"build {build.id!r} is a container image; it needs the docker engine")
        async with self._opening:
            key = role, build.supervisor
            place = self._places.get(key)
            if place is None or place.dead:
                self._opened += 1
                place = _ProcessPlace(self._workspace, f"p{self._opened}")
                self._stack.push_async_callback(place.close)
                await place.open(build.supervisor)
                self._places[key] = place
            return place

    def describe(self) -> dict[str, Any]:
        """Facts for the report."""
        return {"engine": "process", "kernel": platform.release()}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

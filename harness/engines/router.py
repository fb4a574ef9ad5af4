# SPDX-License-Identifier: Apache-2.0
"""Sends every build to the engine that can run it: images to containers, local binaries to plain processes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from migmatrix.harness.engines.base import OwnsStack
from migmatrix.harness.engines.process import ProcessEngine

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.harness.builds.facts import PreparedBuild
    from migmatrix.harness.engines.base import Engine, Needs, Role, Sandbox
    from migmatrix.harness.engines.docker import DockerEngine
    from migmatrix.harness.engines.workspace import Workspace

__all__ = ["Engines"]


class Engines(OwnsStack):
    """An engine made of the others, each opened when the first build asks for it."""

    def __init__(self, workspace: Workspace, log: Callable[[str], None]) -> None:
        super().__init__()
        self._workspace = workspace
        self._log = log
        self._open: dict[str, Engine] = {}
        self._opening = asyncio.Lock()

    async def sandbox(self, build: PreparedBuild, role: Role, needs: Needs) -> Sandbox:
        """The open sandbox for these, opened if need be; EngineError when that fails."""
        engine = await self._engine("docker" if build.image else "process")
        return await engine.sandbox(build, role, needs)

    async def _engine(self, name: str) -> Engine:
        async with self._opening:
            if name not in self._open:
                kind = ProcessEngine if name == "process" else _docker_engine()
                engine: Engine = await asyncio.to_thread(kind, self._workspace, self._log)
                self._open[name] = await self._stack.enter_async_context(engine)
            return self._open[name]

    def describe(self) -> dict[str, Any]:
        """Facts about the engines that were used."""
        facts: dict[str, Any] = {}
        for engine in self._open.values():
            facts |= engine.describe()
        return facts


def _docker_engine() -> type[DockerEngine]:
    """Imported when a build asks for it: the SDK takes a fifth of a second."""
    from migmatrix.harness.engines.docker import DockerEngine  # noqa: PLC0415 - see above

    return DockerEngine

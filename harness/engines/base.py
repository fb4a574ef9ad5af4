# SPDX-License-Identifier: Apache-2.0
"""What an engine is to the rest of the harness.

An `Engine` opens `Sandbox`s, one per build and role: somewhere that stays up and in which emulators are started
without a call to a container engine. A sandbox makes `Job`s: one emulator process and the directory that it
shares with the harness. The process engine and the docker engine differ only in how a sandbox is opened.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from migmatrix.harness.model import Role

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path
    from types import TracebackType
    from typing import Any, Self

    from migmatrix.harness.beneath import Beneath
    from migmatrix.harness.builds.facts import PreparedBuild

__all__ = ["Engine", "Job", "Needs", "OwnsStack", "Role", "Sandbox", "to_its_end"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Needs:
    """What a mode needs beyond the strict defaults of a sandbox."""

    network: bool = False  # a private network, for tcp
    userfault: bool = False  # userfaultfd(2), for postcopy


class Job(Protocol):
    """One emulator process, from before its start until after its end."""

    @property
    def files(self) -> Beneath:
        """The directory that the emulator sees as `inner("")`, and can do anything to."""

    def inner(self, name: str) -> str:
        """The path of a file of this job as the emulator sees it."""

    async def start(self, argv: Sequence[str]) -> None:
        """Start the emulator; EngineError when the sandbox is gone."""

    async def wait(self) -> int:
        """The exit status, negative for a signal; EngineError when the sandbox died."""

    async def state(self) -> str:
        """The kernel's letter for the process (T: stopped), "" when there is none; EngineError when nobody answers."""

    def signal(self, name: str) -> None:
        """Send a signal by name ("TERM"); nothing happens when the emulator has ended."""

    @property
    def exited(self) -> bool:
        """Whether the emulator has ended."""

    def output(self, name: str) -> str:
        """Text of `stdout` or `stderr` so far, its middle cut out when very long."""

    def discard(self) -> None:
        """Remove the job's directory."""


class Sandbox(Protocol):
    """Somewhere that stays up and starts emulators of one build in one role."""

    @property
    def address(self) -> str:
        """The IP address that other sandboxes reach this one under."""

    def job(self) -> Job:
        """A new job with an empty directory."""

    def link(self, path: Path) -> str:
        """A file of the directory shared by all sandboxes of a run, as the emulators here see it."""


class Engine(Protocol):
    """Opens sandboxes; an asynchronous context manager that leaves nothing behind."""

    async def sandbox(self, build: PreparedBuild, role: Role, needs: Needs) -> Sandbox:
        """The open sandbox for these, opened if need be; EngineError when that fails."""

    def describe(self) -> dict[str, Any]:
        """Facts for the report: engine name and version."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


async def to_its_end(work: Coroutine[Any, Any, T]) -> T:
    """What `work` returns. A cancellation waits until it is through: what an engine makes or removes is not left half.

    That which is made in a thread goes on anyway, and somebody has to remember it to remove it.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as err:
            cancelled = err
    if cancelled is not None:
        raise cancelled from (None if task.cancelled() else task.exception())
    return task.result()


class OwnsStack:
    """Base of the engines: a context manager whose end unwinds what the engine pushed on `_stack`."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await to_its_end(self._stack.aclose())

# SPDX-License-Identifier: Apache-2.0
"""A body that something else may end: `async with Until(future)` cancels it when the future is done.

`asyncio.timeout` with an event in place of a clock, without a task for either side: a leg does this a dozen times.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Interrupted", "Until"]


class Interrupted(Exception):
    """The future was done before the body."""


class Until:
    """Runs a body until it ends (all is as without this) or until `future` is done (Interrupted)."""

    def __init__(self, future: asyncio.Future[int]) -> None:
        self._future = future
        self._task: asyncio.Task[object] | None = None
        self._others = 0  # cancellations that were asked for before
        self._interrupted = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101 - `async with` runs in a task
        self._others = self._task.cancelling()
        self._future.add_done_callback(self._interrupt)
        return self

    def _interrupt(self, _: object) -> None:
        if self._task is not None:
            self._interrupted = True
            self._task.cancel()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None  # a callback that is already on its way finds nobody
        self._future.remove_done_callback(self._interrupt)
        if not self._interrupted or task is None:
            return
        if task.uncancel() <= self._others and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise Interrupted from error

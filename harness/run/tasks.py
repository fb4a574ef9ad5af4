# SPDX-License-Identifier: Apache-2.0
"""Work that many ask for and one task does."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import Any

__all__ = ["cancel", "shared"]

# Finished work kept in memory.
_REMEMBERED = 2000

T = TypeVar("T")


async def shared(
    tasks: dict[str, asyncio.Task[T]], key: str, work: Callable[[], Coroutine[Any, Any, T]]
) -> T:
    """Return the result of the one task for `key`, which the first caller starts; old finished tasks are forgotten."""
    if key not in tasks:
        if len(tasks) >= _REMEMBERED:
            for old in [k for k, task in tasks.items() if task.done()]:
                del tasks[old]
        tasks[key] = asyncio.create_task(work())
    return await asyncio.shield(tasks[key])


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

# SPDX-License-Identifier: Apache-2.0
"""Signals that end a command in order: SIGINT, SIGTERM and SIGHUP all mean KeyboardInterrupt, exit 130.

1. `heed` comes before anything is made that has to be undone. A signal that is ignored (`nohup`) stays ignored.
2. Outside of `run` a signal raises KeyboardInterrupt. Within, it cancels the task, which unwinds as from any
   cancellation, with its awaits; no exception appears in the middle of somebody's clean-up.
3. Further signals change nothing: what ends already ends in order. SIGKILL is left to who cannot wait.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from migmatrix.harness.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["asked", "heed", "over", "run"]

T = TypeVar("T")

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Seconds for which one signal counts: programs that end others send several, and a terminal's goes to all of its group.
_ONE: Final = 1.0


class _Interrupts:
    """The signals of this process; there is one set of them, so there is one object."""

    def __init__(self) -> None:
        self.ending = False
        self._task: tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]] | None = None
        self._last = float("-inf")

    def take(self, *_: object) -> None:
        """Handle a signal."""
        if self.ending:
            return
        if self._task is not None:
            self.ending = True
            loop, task = self._task
            task.cancel()
            loop.call_soon_threadsafe(lambda: None)  # it may wait for something else
        elif time.monotonic() - self._last > _ONE:
            self._last = time.monotonic()
            raise KeyboardInterrupt

    async def cancelling(self, main: Coroutine[Any, Any, T]) -> T:
        """What `main` returns; KeyboardInterrupt when a signal ended it and it made nothing of that."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - asyncio.run made it
        self.ending, self._task = False, (asyncio.get_running_loop(), task)
        try:
            return await main
        except (asyncio.CancelledError, InfrastructureError) as err:
            if self.ending:
                raise KeyboardInterrupt from err
            raise
        finally:
            self._task = None


_INTERRUPTS: Final = _Interrupts()


def heed() -> dict[signal.Signals, Any]:
    """Handle the signals from here on; the handlers of before."""
    if threading.current_thread() is not threading.main_thread():  # only it has handlers
        return {}
    heard = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, _INTERRUPTS.take) for number in heard}


def over() -> None:
    """Take no signal any more: the command has its exit code. The interpreter's own end leaves what is ignored so."""
    _INTERRUPTS.ending = True
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def asked() -> bool:
    """Whether a signal ended what `run` runs, or ran last."""
    return _INTERRUPTS.ending


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` that signals cancel; KeyboardInterrupt unless `main` makes an answer of its cancellation."""
    before = heed()
    try:
        return asyncio.run(_INTERRUPTS.cancelling(main))
    except asyncio.CancelledError as err:  # a signal in the last moment
        if _INTERRUPTS.ending:
            raise KeyboardInterrupt from err
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

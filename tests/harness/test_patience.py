# SPDX-License-Identifier: Apache-2.0
"""A harness that was stopped calls nothing a hang: its deadlines run only while it does."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any

import psutil
import pytest
from lab import wait_until

from migmatrix.harness.hops.patience import patience

# Waits two seconds for the end of its standard input.
WAITS = """
import asyncio, sys
from migmatrix.harness.hops.patience import patience

async def main():
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    async with patience(2.0):
        loop.add_reader(0, ended.set)
        print("waiting", flush=True)
        await ended.wait()
    print("in time", flush=True)

asyncio.run(main())
"""
STOPPED = 3.0  # seconds, more than the deadline: the passing of time is what is tested


def test_the_time_in_which_the_harness_was_stopped_does_not_count() -> None:
    argv = [sys.executable, "-c", WAITS]
    with subprocess.Popen(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as harness:
        assert harness.stdin is not None
        assert harness.stdout is not None
        assert harness.stderr is not None
        assert harness.stdout.readline() == b"waiting\n"
        os.kill(harness.pid, signal.SIGSTOP)
        stopped = psutil.Process(harness.pid)
        wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED)
        time.sleep(STOPPED)
        os.kill(harness.pid, signal.SIGCONT)
        harness.stdin.close()

        assert harness.stdout.read() == b"in time\n", harness.stderr.read().decode()


def test_a_deadline_passes_while_the_harness_runs() -> None:
    async def wait() -> None:
        async with patience(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        asyncio.run(wait())


def test_what_is_done_in_time_is_done() -> None:
    async def wait() -> int:
        async with patience(60.0):
            await asyncio.sleep(0)
            return 1

    assert asyncio.run(wait()) == 1


def test_the_body_s_own_error_comes_through() -> None:
    async def wait() -> None:
        async with patience(60.0):
            raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        asyncio.run(wait())


def test_many_short_waits_need_one_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each QMP command is such a wait: what each adds would go on for as long as anybody waits."""
    ticks: list[float] = []

    async def wait() -> None:
        loop = asyncio.get_running_loop()
        later = loop.call_later

        def counted(delay: float, *rest: Any) -> asyncio.TimerHandle:
            ticks.append(delay)
            return later(delay, *rest)

        monkeypatch.setattr(loop, "call_later", counted)
        began = loop.time()
        for _ in range(500):
            async with patience(60.0):
                await asyncio.sleep(0)
        assert sum(delay < 1.0 for delay in ticks) <= 2 + (loop.time() - began) / 0.1

    asyncio.run(wait())
    assert len(ticks) > 500

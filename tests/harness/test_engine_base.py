# SPDX-License-Identifier: Apache-2.0
"""What an engine has begun to make or remove is made or removed, whatever is cancelled meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from migmatrix.harness.engines.base import to_its_end


def test_what_is_cancelled_twice_is_through_before_it_ends() -> None:
    async def cancel() -> list[str]:
        may_end = asyncio.Event()
        done: list[str] = []

        async def work() -> None:
            await may_end.wait()
            done.append("through")

        task = asyncio.ensure_future(to_its_end(work()))
        for _ in range(2):
            await asyncio.sleep(0)
            task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        return done

    assert asyncio.run(cancel()) == ["through"]


def test_an_error_is_told() -> None:
    async def fail() -> None:
        raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        asyncio.run(to_its_end(fail()))


def test_what_fails_after_a_cancellation_is_its_cause() -> None:
    async def cancel() -> BaseException | None:
        may_end = asyncio.Event()

        async def fail() -> None:
            await may_end.wait()
            raise OSError("no space")

        task = asyncio.ensure_future(to_its_end(fail()))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        may_end.set()
        with pytest.raises(asyncio.CancelledError) as ended:
            await task
        return ended.value.__cause__

    assert isinstance(asyncio.run(cancel()), OSError)

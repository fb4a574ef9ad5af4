# SPDX-License-Identifier: Apache-2.0
"""Lines that a hostile build writes into its sandbox's event FIFO: what no supervisor writes is dropped."""

from __future__ import annotations

import asyncio
import os

import pytest

from migmatrix.harness.engines.supervised import SupervisedSandbox
from migmatrix.harness.engines.workspace import Workspace

FORGED = [
    b"exit 1 256",  # a status is a byte
    b"exit 1 99999999999999999999",
    b"exit 1 -9",
    b"exit 1 \xd9\xa1",  # a digit, though not of ASCII
    b"exit 2 0",  # no such job
    b"exit 1",
    b"state 1 TT",
    b"ready ready",
    b"exit 1 7 7",
    b"\xff\xfe\x00\x1b]0;title\x07",
    b"exit 1 7 " + b" " * 300,  # longer than any line
    b"x" * (1 << 17),
    b"",
]


@pytest.mark.parametrize("forged", FORGED, ids=lambda line: repr(line[:24]))
def test_a_line_that_no_supervisor_writes_is_dropped(
    forged: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.getbasetemp()))

    async def status() -> int:
        with Workspace() as workspace:
            sandbox = SupervisedSandbox(workspace, "p1")
            job = sandbox.job()
            with os.fdopen(os.open(sandbox.root / "events", os.O_WRONLY), "wb") as events:
                await asyncio.to_thread(events.write, forged + b"\nexit 1 3\n")
                await asyncio.to_thread(events.flush)
                async with asyncio.timeout(120.0):
                    found = await job.wait()
            sandbox.close_pipes()
            return found

    assert asyncio.run(status()) == 3

# SPDX-License-Identifier: Apache-2.0
"""Signals, at any moment and however often: exit 130, and nothing stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from lab import heeds, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from lab import Lab

ENDS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]

# Says when it may be interrupted and when it cleans up, which takes until the end of its input.
WAITS = """
import asyncio, sys
from migmatrix.harness import interrupt

async def main():
    try:
        print("waits", flush=True)
        await asyncio.Event().wait()
    finally:
        print("cleans up", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        print("clean", flush=True)

try:
    interrupt.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("number", ENDS)
def test_a_signal_before_the_run_has_begun_is_an_interrupt(lab: Lab, number: signal.Signals) -> None:
    process = lab.start(lab.run_arguments(lab.matrix()))
    wait_until(lambda: heeds(process))
    process.send_signal(number)
    assert process.wait() == 130
    log = (lab.root / "log").read_text()
    assert "Traceback" not in log, log


@pytest.mark.parametrize("first", ENDS)
@pytest.mark.parametrize("then", ENDS)
def test_further_signals_leave_the_clean_up_alone(first: signal.Signals, then: signal.Signals) -> None:
    argv = [sys.executable, "-c", WAITS]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        process.send_signal(first)
        assert process.stdout.readline() == b"cleans up\n"
        process.send_signal(then)
        process.stdin.close()
        assert process.stdout.read() == b"clean\ninterrupted\n"


def test_an_ignored_signal_stays_ignored(lab: Lab) -> None:
    ignoring = [
        "/bin/sh",
        "-c",
        'trap "" HUP; exec "$@"',
        "sh",
        *lab.command("plan", "-f", str(lab.matrix())),
    ]
    process = lab.start(ignoring)
    wait_until(lambda: heeds(process))
    process.send_signal(signal.SIGHUP)
    assert process.wait() == 0


@pytest.mark.parametrize("tool", ["explain", "advise", "bisect"])
def test_a_tool_is_interrupted_as_a_run_is(lab: Lab, tool: str) -> None:
    builds = lab.builds({"old": [], "bad": ["-fake", "crash=load"]})
    matrix = lab.matrix(builds=builds, paths={"pairs": "all"})
    if tool != "bisect":
        assert lab.run(matrix, "--select", "profile=plain").returncode == 1
    slow = lab.matrix(builds={**lab.builds({"old": [], "bad": ["-fake", f"wait={lab.root}/go"]})})
    argv = {
        "explain": ["explain", "out", "--select", "path=old>bad", "-f", str(slow)],
        "advise": ["advise", "path", "out", "--from", "old", "--to", "bad", "--machine", "pc-q35-7.2",
                   "--profile", "plain", "-f", str(slow)],
        "bisect": ["bisect", "builds", "-f", str(slow), "--machine", "pc-q35-7.2", "--profile", "plain",
                   "--path", "old>old..bad"],
    }[tool]  # fmt: skip
    process = lab.start(lab.command(*argv))
    wait_until(lambda: process.poll() is not None or waits(lab.root))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130, (lab.root / "log").read_text()
    assert [p for p in (lab.root / f"migmatrix-{os.getuid()}").iterdir() if p.is_dir()] == []


def waits(root: Path) -> bool:
    """Whether an emulator waits for its file."""
    return (root / "go.waiting").exists()

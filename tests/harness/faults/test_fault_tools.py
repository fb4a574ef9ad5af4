# SPDX-License-Identifier: Apache-2.0
"""explain, bisect, advise and mutate, interrupted or killed at a random moment, then given again: the same answer.

``MIGMATRIX_TRIALS`` sets the trials of each, see `test_fault_trials.py`.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from random import Random
from typing import TYPE_CHECKING

import pytest
from fault_field import Field, remove
from lab import heeds, wait_until
from test_fault_trials import EMULATOR, TRIALS, field_of

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.timeout(0)]

CELL = ("--machine", "pc-q35-7.2", "--profile", "nic")
TOOLS = {
    "explain": ("explain", "truth", "--select", "profile=nic"),
    "advise": ("advise", "path", "truth", "--from", "old", *CELL),
    "bisect": ("bisect", "releases", "-f", "field.yaml", *CELL, "--source", "7.2..8.0", "--destination", "8.0",
               "--out", "other"),
    "mutate": ("mutate", "-f", "field.yaml", "--limit", "2"),
}  # fmt: skip
# What a resumed search had for nothing: legs and runs that the first one did.
COSTS = re.compile(r"\b[0-9]+ (?:new |of [0-9]+ )?(?:legs?|runs?|trials?|starts?|emulators?|migrations?)\b")


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    yield from field_of(EMULATOR)


def start(field: Field, tool: str) -> subprocess.Popen[str]:
    """Start a tool, and wait until signals have handlers."""
    process = subprocess.Popen(
        field.lab.command(*TOOLS[tool]),
        cwd=field.lab.root,
        env=field.lab.env(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: heeds(process))
    return process


def answer(said: str) -> list[str]:
    """What a tool says, but for costs."""
    return [COSTS.sub("N", line) for line in said.splitlines()]


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_that_was_ended_answers_the_same_when_asked_again(field: Field, tool: str) -> None:
    begin(field)
    began = time.monotonic()
    with start(field, tool) as undisturbed:
        truth, complaint = undisturbed.communicate()
    seconds = time.monotonic() - began
    assert undisturbed.returncode in (0, 1), complaint
    assert truth
    for number in range(TRIALS):
        dice = Random(f"{tool} {number}")
        begin(field)
        how = dice.choice((signal.SIGINT, signal.SIGTERM, signal.SIGTERM, signal.SIGKILL))
        with start(field, tool) as run:
            try:
                run.wait(dice.random() * seconds)
            except subprocess.TimeoutExpired:
                run.send_signal(how)
            _, complaint = run.communicate()
        expected = {undisturbed.returncode, -9 if how == signal.SIGKILL else 130}
        assert run.returncode in expected, complaint
        if how != signal.SIGKILL:
            assert list(field.left()) == []
        with start(field, tool) as again:
            said, complaint = again.communicate()
        assert again.returncode == undisturbed.returncode, complaint
        assert answer(said) == answer(truth)
        assert list(field.left()) == []


def begin(field: Field) -> None:
    """Have the store and the run as they were after the matrix had run, and nothing of a search."""
    field.clear()
    field.fill()
    kept = field.lab.root / "truth-kept"
    if kept.exists():
        remove(field.lab.root / "truth")
        shutil.copytree(kept, field.lab.root / "truth")
    else:
        shutil.copytree(field.lab.root / "truth", kept)

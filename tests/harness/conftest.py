# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the harness's tests."""

from __future__ import annotations

import shutil
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True, scope="session")
def heard() -> Iterator[None]:
    """Let commands hear signals, also where a shell's background ignores SIGINT, or `nohup` SIGHUP."""
    ends = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in ends}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # of pytest too
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def heard_again() -> Iterator[None]:
    """A command that a test runs in this process ignores signals at its end, which the next test's would inherit."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """An empty laboratory, in a directory short enough for UNIX sockets."""
    root = Path(tempfile.mkdtemp(prefix="mm-", dir="/tmp"))
    root.chmod(0o755)
    yield Lab(root)
    shutil.rmtree(root)

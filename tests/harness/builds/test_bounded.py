# SPDX-License-Identifier: Apache-2.0
"""What a hostile program prints is read in bounded time and memory."""

from __future__ import annotations

import contextlib

import psutil
import pytest

from migmatrix.harness.builds import bounded
from migmatrix.harness.builds.bounded import printed
from migmatrix.harness.errors import BuildError


def shell(script: str, *, errors: bool = True) -> str:
    return printed(["sh", "-c", script], "the probe", errors=errors)


def test_all_that_is_printed_is_returned() -> None:
    assert shell("echo out; echo err >&2") == "out\nerr\n"
    assert shell("echo out; echo err >&2", errors=False) == "out\n"
    assert len(shell("head -c 1000000 /dev/zero")) == 1_000_000
    assert shell("printf '\\377'") == "\ufffd"


def test_who_prints_for_ever_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LONGEST", 100_000)

    with pytest.raises(BuildError, match=r"^the probe printed over 100000 bytes$"):
        shell("exec yes")


def test_who_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "SECONDS", 0.2)

    with pytest.raises(BuildError, match=r"^the probe did not end within 0\.2 s$"):
        shell("trap '' TERM; while :; do sleep 60; done")


def test_a_process_that_is_left_holds_nobody_up_and_is_ended() -> None:
    pid = int(shell("sleep 600 & echo $!"))

    with contextlib.suppress(psutil.NoSuchProcess):  # it is gone already, or was nobody's child for a moment
        psutil.Process(pid).wait(10)

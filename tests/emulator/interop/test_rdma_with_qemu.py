# SPDX-License-Identifier: Apache-2.0
"""The emulator over `rdma:` with real QEMU, whose own code runs on a stand-in for a device (`tests/rdma`).

A guest goes from real QEMU to the emulator and on to real QEMU; what the last one has is what the first one had.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from guests import Guest, emulated
from rdma_guests import BOARD, LOADED, RdmaGuest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]

_LINES = {"7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}  # real QEMU, and the emulator's release


@pytest.fixture
def real(rdma_directory: Path) -> Iterator[Any]:
    """Starts real QEMUs that find the emulator on the host's loopback."""
    with ExitStack() as stack:

        def start(release: str, *arguments: str, content: bool = False) -> RdmaGuest:
            guest = RdmaGuest(rdma_directory, release, *arguments, network="host", content=content)
            stack.callback(guest.close)
            return guest

        yield start


def hop(source: Guest, target: Guest, *capabilities: str) -> bool:
    """Migrate; False when the destination dies of a fault of QEMU 11.1 (`test_real_rdma.py`) once it has everything.

    Without a return path it is told of the end before it is through, and dies of that about once in 150 times.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        where = f"rdma:127.0.0.1:{sock.getsockname()[1]}"
    for guest in (source, target):
        guest.enable("events", *capabilities)
    target.command("migrate-incoming", uri=where)
    source.command("migrate", uri=where)
    told = source.status("completed", "failed")
    assert told["status"] == "completed", told
    if isinstance(target, RdmaGuest) and "return-path" not in capabilities and target.dies_of_the_end():
        return False
    told = target.status("completed", "failed")
    assert told["status"] == "completed", told
    return True


@pytest.mark.parametrize(
    ("release", "capabilities"),
    [
        *((release, capabilities) for release in _LINES for capabilities in ((), ("rdma-pin-all",))),
        *((release, ("return-path",)) for release in ("10.0", "11.1")),
    ],
)
def test_a_guest_goes_to_the_emulator_and_back(
    real: Any, rdma_directory: Path, release: str, capabilities: tuple[str, ...]
) -> None:
    first = real(release, content=True)
    with emulated(_LINES[release], *BOARD, "-rdma", "tcp", "-incoming", "defer") as between:
        assert hop(first, between, *capabilities)
        last = real(release, "-incoming", "defer")
        if not hop(between, last, *capabilities):
            return
    memory = last.memory()
    assert memory[LOADED] == (rdma_directory / "content").read_bytes()
    assert memory == first.memory()

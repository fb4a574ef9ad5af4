# SPDX-License-Identifier: Apache-2.0
"""The emulator over `rdma:` with real QEMU, whose own code runs on a stand-in for a device (`tests/rdma`).

A guest goes from real QEMU to the emulator and on to real QEMU; what the last one has is what the first one had.
"""

from __future__ import annotations

import json
import socket
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import rdma_standin
from guests import COMMON, IMAGES, Guest, emulated
from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]

_MIB = 32
_BOARD = ("-M", "pc-q35-7.2", "-m", str(_MIB), "-S")
_LINES = {"7.2": "7.2.22", "10.0": "10.0", "11.1": "11.1"}  # real QEMU, and the emulator's release


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the library and the content of a guest's memory, which containers share."""
    if lacking := rdma_standin.lacks():
        missing(lacking)
    root = tmp_path_factory.mktemp("rdma")
    (root / "content").write_bytes(Random(2).randbytes(9 << 20))
    rdma_standin.build(root / "standin.so")
    return root


class Talkative(Guest):
    """A real QEMU; 7.2 prints the device that it found between the monitor's lines."""

    def _read(self) -> Any:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise EOFError(self.ended()[1])

    def memory(self, path: Path) -> bytes:
        """All of the guest's."""
        self.command("human-monitor-command", command_line=f'pmemsave 0 {_MIB << 20} "{path}"')
        return path.read_bytes()


@pytest.fixture
def real(shared: Path) -> Iterator[Any]:
    """Starts real QEMUs that find the emulator on the host's loopback."""
    started: list[Talkative] = []

    def start(release: str, *arguments: str) -> Talkative:
        docker = ["docker", "run", "--rm", "-i", "--network", "host", "-v", f"{shared}:{shared}"]
        docker += ["-e", f"LD_PRELOAD={shared}/standin.so", f"migmatrix/debian:{IMAGES[release]}"]
        started.append(Talkative([*docker, "qemu-system-x86_64", *COMMON, *_BOARD, *arguments]))
        return started[-1]

    yield start
    for guest in started:
        guest.close()


def dies_of_the_end(target: Guest) -> bool:
    try:
        target.status("completed", "failed")
    except EOFError as end:
        return "receive cm event, cm event is 10" in str(end)
    return False


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
    if "return-path" not in capabilities and dies_of_the_end(target):
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
    real: Any, shared: Path, release: str, capabilities: tuple[str, ...]
) -> None:
    first = real(release, "-device", f"loader,file={shared / 'content'},addr=0x100000,force-raw=on")
    with emulated(_LINES[release], *_BOARD, "-rdma", "tcp", "-incoming", "defer") as between:
        assert hop(first, between, *capabilities)
        last = real(release, "-incoming", "defer")
        if not hop(between, last, *capabilities):
            return
    memory = last.memory(shared / "last")
    assert memory[1 << 20 : 10 << 20] == (shared / "content").read_bytes()
    assert memory == first.memory(shared / "first")

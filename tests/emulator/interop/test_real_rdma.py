# SPDX-License-Identifier: Apache-2.0
"""QEMU's own RDMA code, without a device: `tests/rdma/standin.c` is preloaded and gives it the two libraries' functions."""

from __future__ import annotations

import signal
import subprocess
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import rdma_standin
from guests import IMAGES
from monitor import Client, Process, connect
from needs import missing

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]

_PROFILE = Path(__file__).parents[3] / "harness" / "engines" / "seccomp-postcopy.json"
_MIB = 32
_BOARD = ("-M", "pc-q35-7.2", "-m", str(_MIB), "-nodefaults", "-display", "none", "-S")
_WHERE = "rdma:127.0.0.1:4444"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the library and the content of a guest's memory, which containers share."""
    if lacking := rdma_standin.lacks():
        missing(lacking)
    root = tmp_path_factory.mktemp("rdma")
    (root / "content").write_bytes(Random(1).randbytes(9 << 20))
    rdma_standin.build(root / "standin.so")
    return root


class Real:
    """A real QEMU in a container, in the network of container `beside`, else in one of its own."""

    def __init__(self, shared: Path, release: str, *arguments: str, beside: str = "") -> None:
        self.name = f"migmatrix-test-{uuid.uuid4().hex[:8]}"
        self._shared = shared
        monitor = shared / f"{self.name}.qmp"
        docker = ["docker", "run", "--rm", "--name", self.name, "-v", f"{shared}:{shared}"]
        docker += [
            "--network",
            f"container:{beside}" if beside else "none",
            "-e",
            f"LD_PRELOAD={shared}/standin.so",
        ]
        # what postcopy needs, as the harness gives it
        docker += [
            "--cap-add",
            "SYS_PTRACE",
            "--device",
            "/dev/userfaultfd",
            "--security-opt",
            f"seccomp={_PROFILE}",
        ]
        words = [*_BOARD, "-qmp", f"unix:{monitor},server=on,wait=off", *arguments]
        self.process = Process([*docker, f"migmatrix/debian:{IMAGES[release]}", "qemu-system-x86_64", *words])
        self.client: Client = connect(monitor)
        self.client.ok("qmp_capabilities")

    def enable(self, *capabilities: str) -> None:
        """Switch capabilities on."""
        wanted = [{"capability": name, "state": True} for name in capabilities]
        self.client.ok("migrate-set-capabilities", capabilities=wanted)

    def ends(self) -> dict[str, Any]:
        """What it tells of a migration that has ended."""
        while (found := self.ok("query-migrate")).get("status") not in ("completed", "failed"):
            pass
        return dict(found)

    def ok(self, command: str, **arguments: Any) -> Any:
        """What a command returns; an emulator that ends instead fails the test by its own words."""
        try:
            return self.client.ok(command, **arguments)
        except (EOFError, OSError):
            pytest.fail(f"{self.name} ended: {self.process.end()}")

    def dies_of_the_end(self) -> bool:
        """Whether it ends by SIGSEGV when the source has disconnected: QEMU 11.1's own fault, about once in 150 times.

        Without a return path the source does not wait for it, and so it is told of the end before it is through.
        """
        try:
            while self.client.ok("query-migrate").get("status") != "completed":
                pass
            self.client.ok("query-status")
        except (EOFError, OSError):
            status, words = self.process.end()
            assert status == 128 + signal.SIGSEGV
            assert "receive cm event, cm event is 10" in words
            return True
        return False

    def memory(self) -> bytes:
        """All of the guest's."""
        path = self._shared / self.name
        line = f'pmemsave 0 {_MIB << 20} "{path}"'
        assert self.ok("human-monitor-command", **{"command-line": line}) == ""
        return path.read_bytes()

    def close(self) -> None:
        """End it."""
        self.client.close()
        subprocess.run(["docker", "kill", self.name], check=False, capture_output=True)
        self.process.process.communicate()


_OWN_PATH = ("return-path", "postcopy-ram")
_CASES = [
    *((a, b, c) for a in IMAGES for b in IMAGES if "5.2" not in (a, b) for c in ((), ("rdma-pin-all",))),
    *((a, b, ("return-path",)) for a in ("10.0", "11.1") for b in ("10.0", "11.1")),
    # up to 7.2 the connection for the return path is made for postcopy only; from 10.1 on RDMA refuses postcopy
    *((a, b, _OWN_PATH) for a in ("7.2", "10.0") for b in ("7.2", "10.0")),
]


@contextmanager
def two(shared: Path, here: str, there: str, *capabilities: str) -> Iterator[tuple[Real, Real]]:
    """A source with content, and a destination in the same network."""
    loader = f"loader,file={shared / 'content'},addr=0x100000,force-raw=on"
    with ExitStack() as stack:
        target = Real(shared, there, "-incoming", "defer")
        stack.callback(target.close)
        source = Real(shared, here, "-device", loader, beside=target.name)
        stack.callback(source.close)
        for guest in (source, target):
            guest.enable("events", *capabilities)
        yield source, target


def answer(guest: Real, command: str) -> str:
    """What is said of a command; "" when it is done."""
    return str(guest.client.call(command, uri=_WHERE).get("error", {}).get("desc", ""))


@pytest.mark.parametrize(("here", "there", "capabilities"), _CASES)
def test_a_guest_goes_from_qemu_to_qemu(
    shared: Path, here: str, there: str, capabilities: tuple[str, ...]
) -> None:
    with two(shared, here, there, *capabilities) as (source, target):
        target.ok("migrate-incoming", uri=_WHERE)
        source.ok("migrate", uri=_WHERE)
        assert source.ends()["status"] == "completed"
        if "return-path" not in capabilities and target.dies_of_the_end():
            return
        assert target.ends()["status"] == "completed"
        memory = target.memory()
        assert memory == source.memory()
    assert memory[1 << 20 : 10 << 20] == (shared / "content").read_bytes()


_CHANNELS = "Migration requires multi-channel URIs (e.g. tcp)"


@pytest.mark.parametrize(
    ("release", "capability", "words"),
    [
        ("10.0", "multifd", _CHANNELS),
        ("11.1", "multifd", _CHANNELS),
        ("10.0", "xbzrle", "RDMA and XBZRLE can't be used together"),
        ("11.1", "xbzrle", "RDMA and XBZRLE can't be used together"),
        ("11.1", "postcopy-ram", "RDMA and postcopy-ram can't be used together"),
    ],
)
def test_what_rdma_refuses(shared: Path, release: str, capability: str, words: str) -> None:
    with two(shared, release, release, capability) as (source, target):
        assert answer(target, "migrate-incoming") == words
        # 10.0 looks at XBZRLE on the destination only
        expected = (
            "RDMA ERROR: connecting to destination!" if (release, capability) == ("10.0", "xbzrle") else words
        )
        assert answer(source, "migrate") == expected


@pytest.mark.parametrize(
    ("here", "there", "fits"), [(1, 1, True), (1, 2, True), (2, 1, False), (1, 1024, True)]
)
def test_chunks_of_the_source_fit_into_those_of_the_destination(
    shared: Path, here: int, there: int, fits: bool
) -> None:
    """`x-rdma-chunk-size` of 11.1, in MiB: what the source writes has to lie in what the destination registered."""
    with two(shared, "11.1", "11.1") as (source, target):
        for guest, size in ((source, here), (target, there)):
            guest.ok("migrate-set-parameters", **{"x-rdma-chunk-size": size << 20})
        target.ok("migrate-incoming", uri=_WHERE)
        source.ok("migrate", uri=_WHERE)
        assert source.ends()["status"] == ("completed" if fits else "failed")
        if fits and not target.dies_of_the_end():
            assert target.memory() == source.memory()

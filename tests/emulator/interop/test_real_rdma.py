# SPDX-License-Identifier: Apache-2.0
"""QEMU's own RDMA code, without a device: `tests/rdma/standin.c` is preloaded and gives it the two libraries' functions."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest
from guests import IMAGES, QmpFailed
from rdma_guests import LOADED, RdmaGuest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine")]

_WHERE = "rdma:127.0.0.1:4444"
_OWN_PATH = ("return-path", "postcopy-ram")
_CASES = [
    *((a, b, c) for a in IMAGES for b in IMAGES if "5.2" not in (a, b) for c in ((), ("rdma-pin-all",))),
    *((a, b, ("return-path",)) for a in ("10.0", "11.1") for b in ("10.0", "11.1")),
    # up to 7.2 the connection for the return path is made for postcopy only; from 10.1 on RDMA refuses postcopy
    *((a, b, _OWN_PATH) for a in ("7.2", "10.0") for b in ("7.2", "10.0")),
]


@contextmanager
def two(shared: Path, here: str, there: str, *capabilities: str) -> Iterator[tuple[RdmaGuest, RdmaGuest]]:
    """A source with content, and a destination in the same network."""
    with ExitStack() as stack:
        target = RdmaGuest(shared, there, "-incoming", "defer", network="none")
        stack.callback(target.close)
        source = RdmaGuest(shared, here, network=f"container:{target.name}", content=True)
        stack.callback(source.close)
        for guest in (source, target):
            guest.enable("events", *capabilities)
        yield source, target


def answer(guest: RdmaGuest, command: str) -> str:
    """What is said of a command; "" when it is done."""
    try:
        guest.command(command, uri=_WHERE)
    except QmpFailed as error:
        return error.desc
    return ""


@pytest.mark.parametrize(("here", "there", "capabilities"), _CASES)
def test_a_guest_goes_from_qemu_to_qemu(
    rdma_directory: Path, here: str, there: str, capabilities: tuple[str, ...]
) -> None:
    with two(rdma_directory, here, there, *capabilities) as (source, target):
        target.command("migrate-incoming", uri=_WHERE)
        source.command("migrate", uri=_WHERE)
        assert source.ends()["status"] == "completed"
        if "return-path" not in capabilities and target.dies_of_the_end():
            return
        assert target.ends()["status"] == "completed"
        memory = target.memory()
        assert memory == source.memory()
    assert memory[LOADED] == (rdma_directory / "content").read_bytes()


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
def test_what_rdma_refuses(rdma_directory: Path, release: str, capability: str, words: str) -> None:
    with two(rdma_directory, release, release, capability) as (source, target):
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
    rdma_directory: Path, here: int, there: int, fits: bool
) -> None:
    """`x-rdma-chunk-size` of 11.1, in MiB: what the source writes has to lie in what the destination registered."""
    with two(rdma_directory, "11.1", "11.1") as (source, target):
        for guest, size in ((source, here), (target, there)):
            guest.command("migrate-set-parameters", x_rdma_chunk_size=size << 20)
        target.command("migrate-incoming", uri=_WHERE)
        source.command("migrate", uri=_WHERE)
        assert source.ends()["status"] == ("completed" if fits else "failed")
        if fits and not target.dies_of_the_end():
            assert target.memory() == source.memory()

# SPDX-License-Identifier: Apache-2.0
"""Whole migrations over `rdma:` and the stand-in, and what is said without one, as by real QEMU in a container.

Real 5.2.0, 7.2.22, 10.0.13 and 11.1.3 were asked with each capability; they have no device there.
"""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest
from migration_machines import RELEASES, Box, enable, fill, memory, none, status, target

from migmatrix.emulator.errors import FatalError, QmpError
from migmatrix.emulator.migration.channel import Channel, ChannelError
from migmatrix.emulator.migration.rdma import channel as rdma_channel
from migmatrix.emulator.migration.rdma.messages import Capabilities
from migmatrix.emulator.migration.rdma.verbs import Frames

if TYPE_CHECKING:
    from collections.abc import Sequence

STAND_IN = ("-rdma", "tcp")
NO_SOURCE = "RDMA ERROR: could not create CM channel"
NO_TARGET = "RDMA ERROR: could not create rdma event channel"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def both(release: str, capabilities: Sequence[str] = (), mib: int = 4) -> tuple[Box, Box, str]:
    """A source that runs, a destination that listens, and its address."""
    source, there = none(release, *STAND_IN, mib=mib), target(release, *STAND_IN, mib=mib)
    fill(source)
    for machine in (source, there):
        enable(machine, "events", *capabilities)
    uri = f"rdma:127.0.0.1:{free_port()}"
    there.migration.incoming(uri)
    source.vm_start()
    return source, there, uri


@pytest.mark.parametrize(
    ("release", "capabilities"),
    [
        *((release, capabilities) for release in RELEASES for capabilities in ((), ("rdma-pin-all",))),
        *((release, ("return-path",)) for release in ("10.0", "11.1")),
    ],
)
def test_a_guest_goes_over_rdma(release: str, capabilities: tuple[str, ...]) -> None:
    source, there, uri = both(release, capabilities)
    before = memory(source)
    source.migration.migrate(uri)
    told = status(source)
    assert told["status"] == "completed", source.migration.error
    assert status(there)["status"] == "completed"
    assert memory(there) == before
    assert (there.runstate, source.runstate) == ("running", "postmigrate")
    assert (source.said, there.said) == ([], [])
    assert told["ram"]["transferred"] > told["ram"]["normal-bytes"] > 0


@pytest.mark.parametrize("release", ["5.2", "7.2"])
def test_an_old_release_has_no_way_back(release: str) -> None:
    """Real 7.2.22 fails so too: its second connection is made for postcopy only."""
    source, _, uri = both(release, ("return-path",))
    source.migration.migrate(uri)
    assert status(source)["status"] == "failed"
    assert source.runstate == "running"


def test_both_sides_want_a_way_back_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma_channel, "_PATIENCE", 0.2)
    source, _, uri = both("10.0")
    enable(source, "return-path")
    with pytest.raises(QmpError, match="RDMA ERROR: poll cm event timeout"):
        source.migration.migrate(uri)


def test_a_source_that_leaves_before_its_first_message_does_not_count() -> None:
    source, there, uri = both("10.0")
    stranger, raw = client(uri)
    stranger.connect(Capabilities().pack())
    raw.close()
    source.migration.migrate(uri)
    assert status(source)["status"] == status(there)["status"] == "completed"


def test_zero_chunks_are_told_and_not_sent() -> None:
    source, there = none("10.0", *STAND_IN, mib=4), target("10.0", *STAND_IN, mib=4)
    uri = f"rdma:127.0.0.1:{free_port()}"
    there.migration.incoming(uri)
    source.migration.migrate(uri)
    told = status(source)["ram"]
    assert (told["normal"], told["duplicate"]) == (0, 1024)
    assert told["transferred"] < 1 << 16


def test_what_is_sent_again_arrives() -> None:
    """A guest that writes between passes; a chunk that has a key is written again."""
    source, there, uri = both("10.0")
    source.migration.set_parameters({"max-bandwidth": 1 << 16})
    source.migration.migrate(uri)
    status(source, "active")
    with source.bql:
        source.ram_blocks["ram"].write(4096 * 7, b"later")
    source.migration.set_parameters({"max-bandwidth": 0})
    assert status(source)["status"] == status(there)["status"] == "completed"
    assert memory(there) == memory(source)


def test_the_chunk_is_a_parameter_of_new_releases() -> None:
    source, there, uri = both("11.1", mib=8)
    for machine in (source, there):
        machine.migration.set_parameters({"x-rdma-chunk-size": 4 << 20})
    source.migration.migrate(uri)
    assert status(source)["status"] == "completed"
    assert memory(there) == memory(source)


@pytest.mark.parametrize("release", RELEASES)
def test_without_a_stand_in_it_is_refused(release: str) -> None:
    source = none(release)
    with pytest.raises(QmpError, match=f"^{NO_SOURCE}$"):
        source.migration.migrate("rdma:127.0.0.1:1")
    assert source.migration.query() == {"status": "failed", "error-desc": NO_SOURCE}
    with pytest.raises(QmpError, match=f"^{NO_TARGET}$"):
        target(release).migration.incoming("rdma:127.0.0.1:1")


@pytest.mark.parametrize(
    ("release", "capability", "out", "incoming"),
    [
        ("7.2", "xbzrle", NO_SOURCE, NO_TARGET),
        ("10.0", "xbzrle", NO_SOURCE, "RDMA and XBZRLE can't be used together"),
        ("11.1", "xbzrle", *["RDMA and XBZRLE can't be used together"] * 2),
        ("10.0", "multifd", *["Migration requires multi-channel URIs (e.g. tcp)"] * 2),
        ("11.1", "multifd", *["Migration requires multi-channel URIs (e.g. tcp)"] * 2),
        ("10.0", "postcopy-ram", NO_SOURCE, NO_TARGET),
        ("11.1", "postcopy-ram", *["RDMA and postcopy-ram can't be used together"] * 2),
    ],
)
def test_capabilities_that_do_not_go_with_it(release: str, capability: str, out: str, incoming: str) -> None:
    source, there = none(release), target(release)
    enable(source, capability)
    enable(there, capability)
    with pytest.raises(QmpError) as refused:
        source.migration.migrate("rdma:127.0.0.1:1")
    assert refused.value.desc == out
    with pytest.raises(QmpError) as refused:
        there.migration.incoming("rdma:127.0.0.1:1")
    assert refused.value.desc == incoming


def test_a_postcopy_over_the_stand_in_is_not_done() -> None:
    source = none("10.0", *STAND_IN)
    enable(source, "postcopy-ram")
    with pytest.raises(QmpError, match="RDMA with 'postcopy-ram' is not supported by this emulator"):
        source.migration.migrate("rdma:127.0.0.1:1")


def test_nobody_listens() -> None:
    source = none("10.0", *STAND_IN)
    source.vm_start()
    with pytest.raises(QmpError, match="RDMA ERROR: connecting to destination!"):
        source.migration.migrate(f"rdma:127.0.0.1:{free_port()}")
    assert (source.runstate, source.migration.query()["status"]) == ("running", "failed")


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rdma_channel, "_PATIENCE", 0.05)
    source = none("10.0", *STAND_IN)
    late = pytest.raises(QmpError, match="RDMA ERROR: poll cm event timeout")
    with socket.create_server(("127.0.0.1", 0)) as server, late:
        source.migration.migrate(f"rdma:127.0.0.1:{server.getsockname()[1]}")


def test_a_port_that_is_taken() -> None:
    there = target("10.0", *STAND_IN)
    taken = pytest.raises(QmpError, match="RDMA ERROR: Error: could not rdma_bind_addr!")
    with socket.create_server(("127.0.0.1", 0)) as server, taken:
        there.migration.incoming(f"rdma:127.0.0.1:{server.getsockname()[1]}")


def client(uri: str) -> tuple[Frames, Channel]:
    """A source that a test plays, and its connection."""
    raw = Channel.from_socket(socket.create_connection(("127.0.0.1", int(uri.rpartition(":")[2]))))
    return Frames(raw, raw), raw


def test_a_source_of_another_version_is_told_off_and_the_next_one_is_taken() -> None:
    source, there, uri = both("10.0")
    stranger, raw = client(uri)
    with pytest.raises(ChannelError):
        stranger.connect(Capabilities(version=7).pack())
    raw.close()
    source.migration.migrate(uri)
    assert status(source)["status"] == "completed"
    assert there.said == ["Unknown source RDMA version: 7, bailing..."]


def test_a_destination_that_dies_leaves_the_guest_running() -> None:
    """It dies after the first message."""
    source = none("10.0", *STAND_IN, mib=4)
    fill(source)
    source.vm_start()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def die() -> None:
            raw = Channel.from_socket(server.accept()[0])
            frames = Frames(raw, raw)
            frames.requested()
            frames.accept(Capabilities().pack())
            raw.close()

        thread = threading.Thread(target=die)
        thread.start()
        source.migration.migrate(f"rdma:127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert status(source)["status"] == "failed"
    assert source.runstate == "running"


def test_a_source_that_dies_ends_the_destination() -> None:
    _, there, uri = both("10.0")
    stranger, raw = client(uri)
    stranger.connect(Capabilities().pack())
    stranger.receive()
    stranger.send(bytes.fromhex("00000008 00000003 00000001 00000000 5145564d00000003"))
    stranger.receive()
    raw.close()
    told = status(there, "failed")
    assert told["status"] == "failed"
    assert there.ended == [1]


def test_a_cancel_ends_it() -> None:
    source, _, uri = both("10.0")
    source.migration.set_parameters({"max-bandwidth": 1 << 16})
    source.migration.migrate(uri)
    status(source, "active")
    source.migration.cancel()
    assert status(source)["status"] == "cancelled"
    assert source.runstate == "running"


def test_the_option() -> None:
    with pytest.raises(FatalError, match="-rdma verbs: Invalid parameter 'verbs'"):
        none("10.0", "-rdma", "verbs")

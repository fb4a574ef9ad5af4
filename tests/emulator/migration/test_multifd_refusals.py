# SPDX-License-Identifier: Apache-2.0
"""What multifd refuses: packets of another form, sides that do not fit, and capabilities that exclude each other.

Words: QEMU 7.2.22, 10.0.13 and 11.1.3. Real destinations mostly hang after a wrong packet; here each one ends.
"""

from __future__ import annotations

import socket
import struct
import zlib
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import zstandard
from migration_machines import enable, fill, none, status, target, until
from whole_streams import saved

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.memory import RamBlock
from migmatrix.emulator.migration.multifd import Multifd, PacketError
from migmatrix.emulator.migration.multifd_packets import initial, packet, read_initial
from migmatrix.emulator.migration.multifd_receive import PacketReader
from migmatrix.emulator.migration.streams import BytesChannel, Input
from migmatrix.emulator.migration.traits import Traits

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

BLOCK = RamBlock("ram", 1 << 20)
PAGE = b"page" * 1024
ZERO = "0000-000000000000"


def put(raw: bytes, at: int, form: str, value: Any) -> bytes:
    """The bytes with one number changed."""
    return raw[:at] + struct.pack(form, value) + raw[at + struct.calcsize(form) :]


FIRST = initial(bytes(16), 1)


@pytest.mark.parametrize(
    ("raw", "release", "said"),
    [
        (put(FIRST, 0, ">I", 5), "7.2", "multifd: received packet magic 5 expected 11223344"),
        (put(FIRST, 4, ">I", 2), "7.2", "multifd: received packet version 2 expected 1"),
        (put(FIRST, 8, ">Q", 2), "10.0",
         f"multifd: received uuid '00000000-0000-0002-{ZERO}' and expected uuid '00000000-0000-0000-{ZERO}' for channel 1"),
        (put(FIRST, 24, "B", 200), "7.2", "multifd: received channel version 1 expected 1"),
        (put(FIRST, 24, "B", 200), "10.0", "multifd: received channel id 200 is greater than number of channels 2"),
        (put(FIRST, 24, "B", 2), "11.1", "multifd: received channel id 2 exceeds channel count 2"),
    ],
)  # fmt: skip
def test_a_channel_that_begins_wrong(raw: bytes, release: str, said: str) -> None:
    with pytest.raises(PacketError) as refused:
        read_initial(raw, bytes(16), 2, Traits(release))
    assert str(refused.value) == said


def reader(raw: bytes, release: str, compression: str = "none") -> PacketReader:
    multifd = Multifd(Traits(release), 2, bytes(16), compression, 1, "multifd", per_section=False)
    return PacketReader(Input(BytesChannel(raw)), 1, multifd, {"ram": BLOCK})


GOOD = packet(0, 7, BLOCK, [0, 8192], [4096], length=8192)


@pytest.mark.parametrize(
    ("raw", "old", "new"),
    [
        (put(GOOD, 0, ">I", 5), "packet magic 5 and expected magic 11223344", "packet magic 5, expected 11223344"),
        (put(GOOD, 4, ">I", 2), "packet version 2 and expected version 1", "packet version 2, expected 1"),
        (put(GOOD, 12, ">I", 129), "packet with size 129 and expected a size of 128", "packet with 129 pages, expected 128"),
        (put(GOOD, 16, ">I", 129), "packet with 129 pages and expected maximum pages are 128",
         "packet with 129 non-zero pages, which exceeds maximum expected pages 128"),
        (put(GOOD, 32, ">I", 127), "", "packet with 127 zero pages, expected maximum 126"),
    ],
)  # fmt: skip
def test_a_packet_with_wrong_numbers(raw: bytes, old: str, new: str) -> None:
    for release, said in (("7.2", old), ("10.0", new), ("11.1", new)):
        if not said:  # what says how many pages are zero was unused space
            assert reader(raw + PAGE * 2, release).read() is not None
            continue
        with pytest.raises(PacketError) as refused:
            reader(raw + PAGE * 2, release).read()
        assert str(refused.value) == f"multifd: received {said}"


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (put(GOOD, 64, "4s", b"rom\0"), "multifd: unknown ram block rom"),
        (put(GOOD, 320, ">Q", (1 << 20) - 4095), "multifd: offset too long 1044481 (max 100000)"),
        (put(GOOD, 8, ">I", 2), "multifd 1: flags received 2 flags expected 0"),
        (GOOD[:12], "multifd: unexpected EOF after packet header"),
        (GOOD[:200], "Unexpected end-of-file before all data were read"),
        (GOOD + PAGE, "Unexpected end-of-file before all data were read"),
    ],
)
def test_a_packet_that_is_not_taken(raw: bytes, said: str) -> None:
    with pytest.raises(PacketError) as refused:
        reader(raw, "11.1").read()
    assert str(refused.value) == said


PACKED = {"zlib": 2, "zstd": 4}


@pytest.mark.parametrize(
    ("method", "data", "said"),
    [
        ("zlib", b"nonsense", "multifd 1: inflate returned -3 instead of Z_OK"),
        ("zlib", zlib.compress(PAGE), "multifd 1: inflate generated too few output"),
        ("zstd", b"nonsense", "multifd 1: decompressStream returned Unknown frame descriptor"),
        ("zstd", zstandard.compress(PAGE), "multifd 1: decompressStream buffer too small"),
        ("zstd", b"", "multifd 1: decompressStream buffer too small"),
        ("zlib", zlib.compress(bytes(1 << 20)), "multifd 1: packet size received 8193 size expected 8192"),
        (
            "zstd",
            zstandard.compress(bytes(1 << 20)),
            "multifd 1: packet size received 8193 size expected 8192",
        ),
    ],
)
def test_packed_pages_that_are_not_taken(method: str, data: bytes, said: str) -> None:
    raw = packet(PACKED[method], 7, BLOCK, [0, 4096], length=len(data)) + data
    with pytest.raises(PacketError) as refused:
        reader(raw, "11.1", method).read()
    assert str(refused.value) == said


def test_packed_pages_that_are_too_long_or_not_there() -> None:
    long = packet(2, 7, BLOCK, [0], length=(1 << 20) + 1)
    with pytest.raises(PacketError, match=r"^multifd 1: next_packet_size 1048577 exceeds allocated 1048576$"):
        reader(long, "11.1", "zlib").read()
    with pytest.raises(PacketError, match=r"^multifd 1: expected empty packet$"):
        reader(packet(2, 7, BLOCK, [], [0], length=1), "11.1", "zlib").read()
    with pytest.raises(PacketError, match=r"^multifd 1: flags received 0 flags expected 2$"):
        reader(GOOD, "11.1", "zlib").read()


def test_a_packet_that_is_taken() -> None:
    BLOCK.store(4096, PAGE)
    source = reader(GOOD + PAGE + PAGE[::-1], "10.0")
    assert source.read() is not None
    assert BLOCK.data[: 3 * 4096] == PAGE + bytes(4096) + PAGE[::-1]
    assert source.read() is None


def connect(path: Path, data: bytes) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.connect(str(path))
    peer.sendall(data)
    return peer


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (b"what" * 16, b"", "unknown channel magic: 77686174"),
        (put(FIRST, 4, ">I", 9), b"", "failed to receive packet via multifd channel 0: multifd: received packet version 9 expected 1"),
        (FIRST, put(GOOD, 0, ">I", 5) + PAGE * 2, "multifd: received packet magic 5, expected 11223344"),
        (FIRST, GOOD[:12], "multifd: unexpected EOF after packet header"),
    ],
    ids=["unknown", "version", "magic", "cut"],
)  # fmt: skip
def test_a_destination_ends_with_what_a_channel_found(
    first: bytes, then: bytes, said: str, tmp_path: Path
) -> None:
    there = target("11.1")
    enable(there, "multifd")
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    whole = saved(none("11.1"))
    peers = [connect(tmp_path / "m", whole[: len(whole) // 2]), connect(tmp_path / "m", first + then)]
    if then:
        peers.append(connect(tmp_path / "m", initial(bytes(16), 0)))
        peers[1].shutdown(socket.SHUT_WR)
    until(lambda: there.ended, "the destination's end")
    assert there.said == [said]
    for peer in peers:
        peer.close()


def test_a_channel_that_ends_while_it_is_waited_for(tmp_path: Path) -> None:
    there = target("10.0")
    enable(there, "multifd")
    there.migration.set_parameters({"multifd-channels": 1})
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    whole = saved(none("10.0"))
    eos = whole.index(struct.pack(">Q", 0x10))
    flushed = whole[:eos] + struct.pack(">Q", 0x200) + whole[eos:]
    peers = [connect(tmp_path / "m", flushed), connect(tmp_path / "m", initial(bytes(16), 0))]
    peers[1].close()
    until(lambda: there.ended, "the destination's end")
    assert there.said == ["Unexpected end-of-file before all data were read"]
    peers[0].close()


def test_a_source_whose_destination_has_no_channels(tmp_path: Path) -> None:
    source, there = none("10.0", "-S", mib=8), target("10.0", mib=8)
    fill(source)
    enable(source, "multifd")
    source.migration.set_parameters({"multifd-channels": 8})
    there.migration.incoming(f"unix:{tmp_path / 'm'}")
    source.migration.migrate(f"unix:{tmp_path / 'm'}")
    assert status(source)["status"] == "failed"
    assert source.migration.query()["error-desc"]


@pytest.mark.parametrize("uri", ["exec:cat > /dev/null", "fd:1"])
def test_an_address_without_channels(uri: str) -> None:
    source = none("10.0", "-S")
    enable(source, "multifd")
    with pytest.raises(QmpError, match=r"^Migration requires multi-channel URIs \(e.g. tcp\)$"):
        source.migration.migrate(uri)
    assert source.migration.query() == {}


def test_an_old_source_finds_out_later() -> None:
    source = none("7.2", "-S")
    enable(source, "multifd")
    before = set(psutil.Process().children())
    source.migration.migrate("exec:cat > /dev/null")
    assert set(psutil.Process().children()) <= before, "the command is gone"
    assert source.migration.query() == {"status": "failed"}
    assert source.said == ["multifd is not supported by current protocol"]


@pytest.mark.parametrize(
    ("release", "other", "said"),
    [
        ("7.2", "compress", "Multifd is not compatible with compress"),
        ("10.0", "xbzrle", "Multifd is not compatible with xbzrle"),
        ("10.0", "postcopy-ram", "Postcopy is not yet compatible with multifd"),
    ],
)
def test_capabilities_that_exclude_multifd(release: str, other: str, said: str) -> None:
    machine: Box = none(release)
    enable(machine, "multifd")
    with pytest.raises(QmpError, match=f"^{said}$"):
        enable(machine, other)


def test_a_destination_that_waits_already(tmp_path: Path) -> None:
    for release, refused in (("7.2", False), ("10.0", True)):
        there = target(release)
        there.migration.incoming(f"unix:{tmp_path / release}")
        if not refused:
            enable(there, "multifd")
            continue
        with pytest.raises(QmpError, match=r"^Multifd must be set before incoming starts$"):
            enable(there, "multifd")

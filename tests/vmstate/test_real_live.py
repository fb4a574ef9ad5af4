# SPDX-License-Identifier: Apache-2.0
"""Live migrations of running guests between real QEMUs, all five builds: every byte on every channel is read.

Kinds: multifd (plain, zlib, zstd), postcopy with the return path, postcopy-preempt, a broken and recovered postcopy,
XBZRLE, mapped-ram and TLS. Run with `-s` to see the counts.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import pytest
import zstandard
from busy import BUSY_PAGES, busy_rom
from capture import ARGUMENTS, Sides, Stopped, Wire, sides
from channels import Found, read_broken, read_main, read_multifd, read_preempt, read_return
from hugepages import huge_pages
from real_matrix import Lab, RealMatrix

from migmatrix.harness.engines import Needs, Role
from migmatrix.harness.errors import UserError
from migmatrix.harness.hops.task import Problem
from migmatrix.harness.streams.file import open_stream
from migmatrix.vmstate.view.accounting import account
from migmatrix.vmstate.view.channels import joined, read_channel
from migmatrix.vmstate.view.stream import Stream, read_stream
from migmatrix.vmstate.view.unread import unread
from migmatrix.vmstate.wire.multifd import MultifdFlag, Unpack
from migmatrix.vmstate.wire.ramevents import MappedData, RamBlock

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path


pytestmark = [pytest.mark.qemu, pytest.mark.usefixtures("container_engine"), pytest.mark.timeout(900)]

# memory comes when it is asked for
LATE: Final[dict[str, Any]] = {"max_bandwidth": 1 << 16, "max_postcopy_bandwidth": 1 << 16}
# less than what a busy guest changes
UNENDING: Final[dict[str, Any]] = {"max_bandwidth": 1 << 16, "downtime_limit": 1}
FAST = {"max_bandwidth": 1 << 40, "max_postcopy_bandwidth": 1 << 40}
HUGE_PAGE = 2 << 20
HUGE = (
    *ARGUMENTS,
    "-object",
    "memory-backend-memfd,id=ram,size=64M,hugetlb=on",
    "-machine",
    "memory-backend=ram",
)


@pytest.fixture(scope="module")
def real() -> RealMatrix:
    """The builds of the Debian matrix."""
    return RealMatrix.open()


def each_build(
    real: RealMatrix, capability: str, work: Callable[[Lab, str, Found], Awaitable[None]]
) -> dict[str, Found]:
    """Run `work` for every build that has a capability; what it found, printed."""
    found: dict[str, Found] = {}

    async def run() -> None:
        async with Lab(real) as lab:
            for build, prepared in real.builds.items():
                if capability in prepared.facts.capabilities:
                    found[build] = Found()
                    await work(lab, build, found[build])

    asyncio.run(run())
    print("".join(f"\n{build}: {counts}" for build, counts in found.items()))
    assert found, f"no build has {capability!r}"
    return found


async def start_postcopy(both: Sides) -> Wire:
    """From the first byte to the moment when the guest runs on the destination and has asked for a page."""
    wire = await both.migrate()
    await both.until(both.source, "active")
    await both.command(both.source, "migrate-start-postcopy")
    await both.until(both.source, "postcopy-active")
    await both.resumed()
    await both.asked()
    return wire


async def finish(both: Sides, *wires: Wire) -> None:
    """Both sides have completed, without delay from now on, and hung up."""
    await both.command(both.source, "migrate-set-parameters", **FAST)
    assert await both.until(both.source) == "completed"
    assert await both.until(both.destination) == "completed"
    for wire in wires:
        await wire.close()


def zstd_decoder() -> Unpack:
    """A decoder of one channel; the codec itself has the standard library only."""
    decoder = zstandard.ZstdDecompressor().decompressobj()

    def unpack(data: bytes, _most: int) -> bytes:
        return decoder.decompress(data)

    return unpack


# -- multifd -------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["none", "zlib", "zstd"])
def test_multifd(real: RealMatrix, method: str) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        options: dict[str, Any] = {"multifd_channels": 2, "multifd_compression": method}
        try:
            async with sides(lab, (build, build), ("multifd", "return-path"), **options) as both:
                await both.run()
                wire = await both.migrate()
                await finish(both, wire)
        except Problem as problem:
            if problem.detail != f"Invalid parameter '{method}'":
                raise
            found["built without it"] += 1
            return
        by_magic = {bytes(channel.forth[:4]): channel for channel in wire.channels}
        main = by_magic[b"QEVM"]
        read_main(bytes(main.forth), found)
        read_return(bytes(main.back), found)
        others = [bytes(channel.forth) for channel in wire.channels if channel is not main]
        assert len(others) == 2
        for data in others:
            read_multifd(data, found, zstd_decoder())
        stream = read_stream(bytes(main.forth))
        channels = [read_channel(data, stream, zstd_decoder) for data in (*others, bytes(main.back))]
        assert sorted(channel.kind for channel in channels) == ["multifd 0", "multifd 1", "return path"]
        assert unread(stream)
        assert not unread(joined(stream, channels))

    all_found = each_build(real, "multifd", work).values()
    for counts in [counts for counts in all_found if not counts["built without it"]]:
        packed = {flag for flag in counts.compression if flag}
        assert packed == ({MultifdFlag[method.upper()]} if method != "none" else set())
        assert counts["MultifdPacket"]
        assert counts["unpacked pages"]


# -- postcopy ------------------------------------------------------------------------------------


def test_postcopy_asks_for_pages(real: RealMatrix) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        guest = await Stopped.make(lab, build)
        async with sides(lab, (build, build), ("postcopy-ram", "return-path"), stopped=guest, **LATE) as both:
            wire = await start_postcopy(both)
            await finish(both, wire)
        (channel,) = wire.channels
        read_main(bytes(channel.forth), found, guest.lengths)
        read_return(bytes(channel.back), found)

    for counts in each_build(real, "postcopy-ram", work).values():
        assert counts["Packaged"] == 1
        assert counts["REQ_PAGES_ID"]  # the first request names its block


def test_postcopy_of_huge_pages(real: RealMatrix) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        guest = await Stopped.make(lab, build, HUGE)
        capabilities = ("postcopy-ram", "return-path")
        async with sides(lab, (build, build), capabilities, HUGE, guest, **LATE) as both:
            wire = await start_postcopy(both)
            await finish(both, wire)
        (channel,) = wire.channels
        reader = read_main(bytes(channel.forth), found, guest.lengths)
        read_return(bytes(channel.back), found)
        stream = read_stream(bytes(channel.forth), delimiter=guest.lengths)
        assert reader.ram.page_sizes == HUGE_PAGE | 4096
        blocks = [e for s in stream.sections for e in s.events if isinstance(e, RamBlock)]
        assert [e.page_size for e in blocks if e.page_size is not None] == [HUGE_PAGE]
        found["huge blocks"] += 1

    with huge_pages(2 * 64 << 20, HUGE_PAGE):
        for counts in each_build(real, "postcopy-ram", work).values():
            assert counts["Packaged"] == counts["huge blocks"] == 1


def memory(stream: Stream) -> dict[str, str]:
    return {name: block.digest() for name, block in stream.ram.blocks.items()}


def test_postcopy_preempt(real: RealMatrix) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        guest = await Stopped.make(lab, build)
        capabilities = ("postcopy-ram", "return-path", "postcopy-preempt")
        async with sides(lab, (build, build), capabilities, stopped=guest, **LATE) as both:
            wire = await start_postcopy(both)
            await finish(both, wire)
        main, urgent = sorted(wire.channels, key=lambda channel: channel.forth[:4] != b"QEVM")
        reader = read_main(bytes(main.forth), found, guest.lengths)
        read_return(bytes(main.back), found)
        read_preempt(bytes(urgent.forth), reader.ram, found)
        stream = read_stream(bytes(main.forth), delimiter=guest.lengths)
        whole = joined(stream, [read_channel(bytes(urgent.forth), stream, zstd_decoder)])
        assert memory(whole) == memory(read_stream(guest.stream))  # it was stopped all the time

    found = each_build(real, "postcopy-preempt", work).values()
    assert all(counts["REQ_PAGES_ID"] for counts in found)
    assert any(counts["urgent pages"] for counts in found)  # a request may cross its page on the main channel


def test_recovery(real: RealMatrix) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        guest = await Stopped.make(lab, build)
        async with sides(lab, (build, build), ("postcopy-ram", "return-path"), stopped=guest, **LATE) as both:
            broken = await start_postcopy(both)
            broken.cut()
            again = await recover(both)
            await finish(both, broken, again)
        (before,), (after,) = broken.channels, again.channels
        reader = read_broken(bytes(before.forth), found, guest.lengths)
        read_return(bytes(before.back), found)
        read_main(bytes(after.forth), found, guest.lengths, earlier=reader)
        read_return(bytes(after.back), found)

    for counts in each_build(real, "postcopy-ram", work).values():
        assert counts["POSTCOPY_RESUME"] == 1
        assert counts["ReceivedBitmap"]
        assert counts["RESUME_ACK"] == 1


async def recover(both: Sides) -> Wire:
    """Go on over a new wire when both sides have noticed that the old one broke."""
    for side in (both.source, both.destination):
        await both.until(side, "postcopy-paused")
        side.forget_migration()
    wire = await both.wire()
    there, here = both.uris(wire)
    await both.command(both.destination, "migrate-recover", uri=there)
    wire.back.chmod(0o666)
    await both.command(both.source, "migrate", uri=here, resume=True)
    return wire


# -- precopy -------------------------------------------------------------------------------------


def test_xbzrle(real: RealMatrix) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        rom = lab.links / "busy.rom"
        rom.write_bytes(busy_rom())
        rom.chmod(0o644)
        sandbox = await lab.engine.sandbox(real.builds[build], Role.SOURCE, Needs())
        arguments = ("-nodefaults", "-m", "16", "-bios", sandbox.link(rom))
        async with sides(lab, (build, build), ("xbzrle",), arguments, **UNENDING) as both:
            await both.run()
            wire = await both.migrate()
            await both.compared(BUSY_PAGES)
            await both.command(both.source, "migrate-set-parameters", downtime_limit=2000)
            await finish(both, wire)
        (channel,) = wire.channels
        read_main(bytes(channel.forth), found)
        assert not channel.back

    for counts in each_build(real, "xbzrle", work).values():
        assert counts["RamXbzrle"] >= BUSY_PAGES


@pytest.mark.parametrize("more", [(), ("multifd",)])
def test_mapped_ram(real: RealMatrix, more: tuple[str, ...]) -> None:
    async def work(lab: Lab, build: str, found: Found) -> None:
        async with sides(lab, (build, build), ("mapped-ram", *more)) as both:
            await both.run()
            file = lab.links / f"mapped-{lab.serial()}"
            await both.command(both.source, "migrate", uri=f"file:{both.source.sandbox.link(file)}")
            assert await both.until(both.source) == "completed"
            data = file.read_bytes()
        stream = read_stream(data)
        assert account(stream, data).complete
        found.update(Counter(type(event).__name__ for event in stream.events))
        found["bytes"] += len(data)
        found["pages"] += sum(sum(block.counts.values()) for block in stream.ram.blocks.values())

    for counts in each_build(real, "mapped-ram", work).values():
        assert counts[MappedData.__name__]
        assert counts["pages"]


# -- encrypted -----------------------------------------------------------------------------------


def test_each_channel_of_tls_is_told_as_that(real: RealMatrix, tmp_path: Path) -> None:
    """Captured on the wire, nobody can read it: `show` and `check` say so, of the main channel and of others."""

    async def work(lab: Lab, build: str, found: Found) -> None:
        async with sides(lab, (build, build), ("multifd",), tls=True, multifd_channels=2) as both:
            await both.run()
            wire = await both.migrate()
            await finish(both, wire)
        for channel in wire.channels:
            for data in (channel.forth, channel.back):
                (tmp_path / "captured").write_bytes(data)
                for main in (True, False):
                    with (
                        pytest.raises(UserError, match="is a channel that TLS encrypts"),
                        open_stream(str(tmp_path / "captured"), main=main),
                    ):
                        pass
            found["channels"] += 1

    for counts in each_build(real, "multifd", work).values():
        assert counts["channels"] == 3

# SPDX-License-Identifier: Apache-2.0
"""Postcopy with huge pages: page sizes are told and compared, and a host page is asked for, sent and placed as one.

No such pages of the host are needed. What real QEMU does with them: `tests/emulator/interop/test_hugepages_qemu.py`.
"""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
from migration_machines import Box, enable, make, memory, status
from whole_streams import loaded, saved

from migmatrix.emulator.boards.backends import huge_pages
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.memory import PAGE_SIZE, RamBlock
from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.hostpages import HostPage, size_summary, whole_pages
from migmatrix.emulator.migration.postcopy import Postcopy
from migmatrix.emulator.migration.ram_save import RamSaver
from migmatrix.emulator.migration.returnpath import ReplyPath
from migmatrix.emulator.migration.streams import BytesSink, Output
from migmatrix.emulator.migration.traits import Traits
from migmatrix.vmstate.wire.commands import advise, discard

if TYPE_CHECKING:
    from pathlib import Path

HUGE = 2 << 20
PARTS = HUGE // PAGE_SIZE


def machine(release: str, huge: str = "hugetlb=on", *words: str, board: str = "none") -> Box:
    """8 MiB, in huge pages."""
    backend = f"memory-backend-memfd,id=m,size=8M,{huge}"
    given = ("-M", f"{board},memory-backend=m", "-m", "8", "-nodefaults", "-S", "-object", backend)
    box = make(release, *given, *words)
    enable(box, "postcopy-ram")
    return box


@pytest.mark.parametrize(
    ("huge", "size"),
    [
        ("hugetlb=on", HUGE),
        ("hugetlb=on,hugetlbsize=4M", 4 << 20),
        ("hugetlb=off,hugetlbsize=2M", PAGE_SIZE),
        ("hugetlb=off", PAGE_SIZE),
    ],
)
def test_a_block_has_the_page_size_of_its_backend(huge: str, size: int) -> None:
    assert machine("10.0", huge).ram_blocks["m"].page_size == size


@pytest.mark.parametrize(
    ("huge", "said"),
    [
        ("hugetlb=on,hugetlbsize=3M", "Hugepage size must be a power of 2"),
        ("hugetlb=on,hugetlbsize=16M", "failed to resize memfd to 8388608: Invalid argument"),
    ],
)
def test_a_page_size_that_does_not_fit_is_refused(huge: str, said: str) -> None:
    with pytest.raises(FatalError, match=f"^{said}$"):
        machine("10.0", huge)


MOUNTS = """\
/dev/sda1 / ext4 rw,relatime 0 0
none /dev/hugepages hugetlbfs rw,relatime,pagesize=2M 0 0
none /mnt/big hugetlbfs rw,relatime,pagesize=1024M 0 0
none /mnt/usual hugetlbfs rw,relatime 0 0
tmpfs /dev/hugepages/inner tmpfs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "size"),
    [
        ("/dev/hugepages", HUGE),
        ("/dev/hugepages/guest", HUGE),
        ("/dev/hugepages2", 0),
        ("/dev/hugepages/inner/guest", 0),
        ("/mnt/big/guest", 1 << 30),
        ("/mnt/usual", HUGE),
        ("/home/guest", 0),
    ],
)
def test_a_file_has_the_page_size_of_its_file_system(path: str, size: int) -> None:
    assert huge_pages(path, MOUNTS) == size


def test_memory_in_a_usual_directory_has_usual_pages(tmp_path: Path) -> None:
    backend = f"memory-backend-file,id=m,size=8M,mem-path={tmp_path}"
    made = make("10.0", "-M", "none,memory-backend=m", "-m", "8", "-object", backend)
    assert made.ram_blocks["m"].page_size == PAGE_SIZE
    assert list(tmp_path.iterdir()) == []


def test_the_advice_has_a_bit_for_each_page_size() -> None:
    blocks = [RamBlock("a", 4096), RamBlock("b", HUGE, page_size=HUGE), RamBlock("c", 8192)]
    assert size_summary(blocks) == HUGE | PAGE_SIZE
    assert size_summary(machine("10.0", board="isapc").ram_blocks.values()) == HUGE | PAGE_SIZE


@pytest.mark.parametrize("ours", [HUGE, PAGE_SIZE])
def test_other_page_sizes_are_refused_by_the_advice(ours: int) -> None:
    there = machine("10.0", f"hugetlb={'on' if ours == HUGE else 'off'}", "-incoming", "defer")
    theirs = HUGE + PAGE_SIZE - ours
    with pytest.raises(LoadFault) as refused:
        Postcopy(there, ReplyPath(None), allowed=True).advise(advise(theirs, PAGE_SIZE))
    words = f"Postcopy needs matching RAM page sizes (s={theirs:x} d={ours:x})"
    assert str(refused.value) == words


def listed(blocks: list[RamBlock], *, tells: bool) -> bytes:
    out = Output(sink := BytesSink())
    RamSaver(blocks, lambda _: None, tells_page_sizes=tells).begin(out)
    out.flush()
    return bytes(sink.data)


def test_the_list_of_blocks_tells_page_sizes_that_are_not_usual() -> None:
    blocks = [RamBlock("huge", HUGE, page_size=HUGE), RamBlock("small", 4096)]
    told = listed(blocks, tells=True)
    huge, small = b"\4huge" + struct.pack(">Q", HUGE), b"\5small" + struct.pack(">Q", 4096)
    assert told[8:-8] == huge + struct.pack(">Q", HUGE) + small
    assert listed(blocks, tells=False)[8:-8] == huge + small


def test_a_block_of_another_page_size_is_refused() -> None:
    """The advice cannot tell which block has which: here both sides have both sizes."""
    source = machine("10.0", board="isapc")
    there = machine("10.0", "hugetlb=on", "-incoming", "defer", board="isapc")
    data = bytearray(saved(source))
    at = data.index(b"\1m" + struct.pack(">QQ", 8 << 20, HUGE)) + 2 + 8
    data[at : at + 8] = struct.pack(">Q", 1 << 30)
    code, lines = loaded(there, with_advice(bytes(data)))
    assert (code, lines[0]) == (1, f"Mismatched RAM page size m (local) {HUGE} != {1 << 30}")


def with_advice(stream: bytes) -> bytes:
    """The stream with the advice of a source that may do postcopy, before its first section."""
    at = stream.index(b"\3ram") - 5
    words = struct.pack(">BHH", 8, 3, 16) + advise(HUGE | PAGE_SIZE, PAGE_SIZE)
    return stream[:at] + words + stream[at:]


def test_marks_are_made_whole() -> None:
    wanted = bytearray(12)
    wanted[5] = wanted[11] = 1
    assert whole_pages(wanted, 4) == bytes(4) + b"\1" * 8
    assert whole_pages(bytearray(12), 4) == bytes(12)


def sent(block: RamBlock, *requests: int) -> tuple[list[tuple[str, list[tuple[int, int]]]], list[int]]:
    """Discards, and the pages in the order in which a postcopy sends them, of a guest that wrote to a few."""
    saver = RamSaver([block], lambda _: None)
    out = Output(BytesSink())
    saver.begin(out)
    while not saver.iterate(out):
        pass
    for page in (3, PARTS + 7, 3 * PARTS - 1):
        block.write(page * PAGE_SIZE, b"late")
    saver.sync()
    discards = saver.begin_postcopy()
    for page in requests:
        saver.request("m", page * PAGE_SIZE, block.page_size)
    out = Output(sink := BytesSink())
    saver.complete(out)
    out.flush()
    return discards, pages_of(bytes(sink.data))


def pages_of(data: bytes) -> list[int]:
    found = []
    while (word := int.from_bytes(data[:8])) & 0xFFF != 0x10:
        found.append(word >> 12)
        data = data[8 + (0 if word & 0x20 else 2) + (1 if word & 2 else PAGE_SIZE) :]
    return found


def test_what_was_written_is_discarded_and_sent_by_host_pages() -> None:
    block = RamBlock("m", 4 * HUGE, page_size=HUGE)
    block.store(0, random.Random(1).randbytes(4 * HUGE))
    discards, pages = sent(block, 2 * PARTS)
    assert discards == [("m", [(0, 3 * HUGE)])]
    assert pages == [*range(2 * PARTS, 3 * PARTS), *range(2 * PARTS)]


def test_a_host_page_of_zeros_has_all_its_parts() -> None:
    """More pages than go into one piece of records."""
    _, pages = sent(RamBlock("m", 4 * HUGE, page_size=HUGE))
    assert pages == [*range(3 * PARTS)]


def test_a_host_page_is_placed_when_its_last_part_is_there() -> None:
    there = machine("10.0", "hugetlb=on", "-incoming", "defer")
    block = there.ram_blocks["m"]
    postcopy, comes = Postcopy(there, ReplyPath(None), allowed=True), HostPage(Traits("10.0"))
    postcopy.advise(advise(HUGE, PAGE_SIZE))
    postcopy.discard(discard("m", [(0, HUGE)]))
    came: list[str] = []
    with there.bql:
        postcopy.listen()
        postcopy.missing.when_here(block, PARTS - 1, lambda: came.append("last"))
        postcopy.missing.when_here(block, 5, lambda: came.append("fifth"))
        assert postcopy.missing.requests == 1  # one host page
        for number in reversed(range(PARTS)):
            whole = comes.add(block, number * PAGE_SIZE, number.to_bytes(2) * (PAGE_SIZE // 2))
            assert (whole is None) == (number > 0)
            assert not came
        assert whole is not None
        postcopy.place(block, *whole)
        postcopy.run()
        postcopy.loaded()
        postcopy.end()
    assert sorted(came) == ["fifth", "last"]
    assert block.data[7 * PAGE_SIZE : 7 * PAGE_SIZE + 4] == b"\0\7\0\7"


@pytest.mark.parametrize(
    ("release", "said"),
    [
        ("5.2", "Non-same host page 0x0/0x200000"),
        (
            "7.2",
            (
                "Non-same host page detected on channel 0: Target host page 0x0, received host page 0x200000"
                " (rb m offset 0x201000 target_pages 2)"
            ),
        ),
    ],
)
def test_parts_of_another_host_page_are_refused(release: str, said: str) -> None:
    block, comes = RamBlock("m", 2 * HUGE, page_size=HUGE), HostPage(Traits(release))
    comes.add(block, 0, bytes(PAGE_SIZE))
    with pytest.raises(LoadFault) as refused:
        comes.add(block, HUGE + PAGE_SIZE, bytes(PAGE_SIZE))
    assert refused.value.said == (said,)


@pytest.mark.parametrize(
    ("start", "length", "said"),
    [
        (PAGE_SIZE, HUGE, "ram_block_discard_range: Unaligned start address: 0x1000"),
        (0, PAGE_SIZE, "ram_block_discard_range: Unaligned length: 1000"),
    ],
)
def test_a_part_of_a_host_page_is_not_discarded(start: int, length: int, said: str) -> None:
    there = machine("10.0", "hugetlb=on", "-incoming", "defer")
    postcopy = Postcopy(there, ReplyPath(None), allowed=True)
    postcopy.advise(advise(HUGE, PAGE_SIZE))
    with pytest.raises(LoadFault) as refused:
        postcopy.discard(discard("m", [(start, length)]))
    assert str(refused.value) == said


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_guest_in_huge_pages_moves_by_postcopy(release: str, tmp_path: Path) -> None:
    source, there = machine(release), machine(release, "hugetlb=on", "-incoming", "defer")
    block = source.ram_blocks["m"]
    for page in range(0, block.pages, 3):
        block.write(page * PAGE_SIZE, page.to_bytes(4) * 1024)
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    source.migration.set_parameters({"max-bandwidth": 4096, "downtime-limit": 1})
    source.migration.migrate(f"unix:{tmp_path / 's'}")
    status(source, "active")
    source.migration.start_postcopy()
    status(source, "completed")
    status(there, "completed")
    assert memory(there) == memory(source)

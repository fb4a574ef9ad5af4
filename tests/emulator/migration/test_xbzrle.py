# SPDX-License-Identifier: Apache-2.0
"""XBZRLE on the source: pages as differences, the cache of pages, and real QEMU as the reader."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import needs
import pytest
from guests import IMAGES, contained
from hypothesis import given
from hypothesis import strategies as st
from migration_machines import enable, none, status, target

from migmatrix.emulator.memory import PAGE_SIZE
from migmatrix.emulator.migration.xbzrle import PageCache, decode_page, encode_page
from migmatrix.vmstate.view.ramimage import RamImage
from migmatrix.vmstate.view.stream import read_stream

if TYPE_CHECKING:
    from pathlib import Path

    from migration_machines import Box

ONE, TWO = b"\1" * PAGE_SIZE, b"\2" * PAGE_SIZE
HOT = 64  # pages that the guest writes to again and again
PASSES = 6
patches = st.lists(st.tuples(st.integers(0, PAGE_SIZE - 1), st.binary(min_size=1, max_size=300)), max_size=8)


@given(st.sampled_from([bytes(PAGE_SIZE), ONE, bytes(range(256)) * 16]), patches)
def test_what_is_encoded_is_decoded(old: bytes, changes: list[tuple[int, bytes]]) -> None:
    page = bytearray(old)
    for at, data in changes:
        page[at : at + len(data)] = data[: PAGE_SIZE - at]
    encoded = encode_page(old, bytes(page))
    assert encoded is not None
    assert decode_page(encoded, old) == bytes(page)
    assert (encoded == b"") == (page == old)


def test_a_page_that_changed_all_over_is_sent_whole() -> None:
    assert encode_page(ONE, TWO) is None
    assert encode_page(ONE, ONE[:-1] + b"\7") == b"\xff\x1f\x01\x07"
    assert encode_page(ONE, b"\7" + ONE[1:]) == b"\x00\x01\x07"


def cache(pages: int = 4) -> PageCache:
    return PageCache({"xbzrle-cache-size": pages * PAGE_SIZE})


def test_a_fresh_page_keeps_its_place_and_a_stale_one_does_not() -> None:
    it, there = cache(), 4 * PAGE_SIZE  # the same place as address 0
    assert it.encode(0, ONE, 2, last=False) is None
    assert it.encode(there, TWO, 3, last=False) is None
    assert it.encode(0, ONE, 3, last=False) == b""
    assert it.encode(there, TWO, 5, last=False) is None
    assert it.encode(there, TWO, 5, last=False) == b""
    assert (it.pages, it.misses, it.bytes) == (2, 3, 0)


def test_the_last_stage_keeps_nothing() -> None:
    it = cache()
    it.encode(0, ONE, 2, last=False)
    changed = b"\7" + ONE[1:]
    assert it.encode(0, changed, 3, last=True) == b"\x00\x01\x07"
    assert it.encode(0, changed, 3, last=True) == b"\x00\x01\x07"
    assert it.encode(PAGE_SIZE, ONE, 3, last=True) is None
    assert it.encode(PAGE_SIZE, ONE, 3, last=True) is None
    assert it.bytes == 2 * 6


def test_another_size_empties_the_cache() -> None:
    parameters = {"xbzrle-cache-size": 4 * PAGE_SIZE}
    it = PageCache(parameters)
    it.encode(0, ONE, 2, last=False)
    parameters["xbzrle-cache-size"] *= 2
    assert it.encode(0, ONE, 2, last=False) is None
    assert it.figures()["cache-size"] == 8 * PAGE_SIZE


def test_rates_are_those_of_a_period() -> None:
    it = cache()
    it.encode(0, ONE, 2, last=False)
    it.encode(0, TWO, 2, last=False)
    it.period(4)
    assert (it.miss_rate, it.encoding_rate, it.overflows) == (0.25, 1.0, 1)
    it.period(4)
    assert (it.miss_rate, it.encoding_rate) == (0.0, 0.0)
    it.period(0)
    assert it.figures()["cache-miss-rate"] == 0.0


def sends(source: Box, uri: str) -> dict[str, Any]:
    """Migrate to `uri` while the guest writes to the same pages in each of six passes; query-migrate of the end."""
    enable(source, "xbzrle", "events")
    # so slow that the first pass measures the bandwidth: without a measure, "nothing left" ends it in old releases
    source.migration.set_parameters({"downtime-limit": 1, "max-bandwidth": 4 << 20})
    block = source.ram_blocks["ram"]
    block.write(HOT * PAGE_SIZE, b"\1" * (block.used_length - HOT * PAGE_SIZE))

    def write(_event: str, data: Any) -> None:
        number = (data or {}).get("pass", 1)
        for page in range(HOT if source.running and number <= PASSES else 0):
            block.write(page * PAGE_SIZE + number * 37, bytes((number, page, 9)) * 60)

    source.emit = write
    source.vm_start()
    source.migration.migrate(uri)
    return status(source, "completed")


@pytest.mark.parametrize("release", ["5.2", "7.2", "11.1"])
def test_a_guest_that_writes_arrives_whole(release: str, tmp_path: Path) -> None:
    source, there = none(release), target(release)
    enable(there, "xbzrle")
    there.migration.incoming(f"unix:{tmp_path / 's'}")
    told = sends(source, f"unix:{tmp_path / 's'}")["xbzrle-cache"]
    status(there, "completed")
    assert there.ram_blocks["ram"].data[:] == source.ram_blocks["ram"].data[:]
    assert told["pages"] >= (PASSES - 2) * HOT
    assert told["bytes"] < told["pages"] * 500
    assert told["cache-miss"] == HOT


def test_without_the_capability_nothing_is_told_of_a_cache(tmp_path: Path) -> None:
    source = none("10.0", "-S")
    source.migration.migrate(f"exec:cat > {tmp_path / 'stream'}")
    assert "xbzrle-cache" not in status(source, "completed")
    enable(source, "xbzrle")
    assert source.migration.query()["xbzrle-cache"]["pages"] == 0


@pytest.mark.qemu
@pytest.mark.parametrize("release", list(IMAGES))
def test_real_qemu_reads_encoded_pages(release: str, tmp_path: Path) -> None:
    if shutil.which("docker") is None:
        needs.missing("docker")
    source = none(release)
    with contained(release, tmp_path, "-M", "none", "-m", "1", "-incoming", "defer", "-S") as there:
        there.enable("xbzrle")
        there.command("migrate-incoming", uri=f"unix:{tmp_path / 's'}")
        assert sends(source, f"unix:{tmp_path / 's'}")["xbzrle-cache"]["pages"] >= (PASSES - 2) * HOT
        there.status("completed")
        there.command("cont")  # a guest that came in goes on before it can be sent
        there.command("migrate", uri=f"exec:cat > {tmp_path / 'back'}")
        there.status("completed")
    pages = dict(RamImage(read_stream((tmp_path / "back").read_bytes()).events).blocks["ram"].pages())
    memory = source.ram_blocks["ram"]
    for at in range(0, memory.used_length, PAGE_SIZE):
        assert pages.get(at, bytes(PAGE_SIZE)) == memory.data[at : at + PAGE_SIZE]

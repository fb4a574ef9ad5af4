# SPDX-License-Identifier: Apache-2.0
"""Guest memory out of a stream: overlaps, XBZRLE, compression, digests and differences."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migmatrix.vmstate.errors import StreamError
from migmatrix.vmstate.view.ramimage import Difference, RamImage, differ, xbzrle_decode
from migmatrix.vmstate.wire.ramevents import (
    MappedData,
    MappedHeader,
    RamBlock,
    RamCompressed,
    RamXbzrle,
    page_records,
    zero_records,
)

if TYPE_CHECKING:
    from migmatrix.vmstate.wire.events import Event

ONE, TWO = b"\1" * 4096, b"\2" * 4096
BLOCK = RamBlock("a", 0x10000)


def image(*events: Event) -> RamImage:
    return RamImage([BLOCK, *events])


def contents(*events: Event) -> dict[int, bytes]:
    return dict(image(*events).blocks["a"].pages())


def xbzrle(old: bytes, new: bytes) -> bytes:
    """The encoding as QEMU writes it, from the description in its docs/xbzrle.txt."""
    out, i = bytearray(), 0
    while old[i:] != new[i:]:
        start = next(k for k in range(i, len(old)) if old[k] != new[k])
        end = next((k for k in range(start, len(old)) if old[k] == new[k]), len(old))
        for length in (start - i, end - start):
            out += bytes((length,)) if length < 128 else bytes((length & 127 | 128, length >> 7))
        out += new[start:end]
        i = end
    return bytes(out)


def test_later_pages_replace_earlier_ones() -> None:
    run = page_records("a", 0, [ONE, ONE, ONE])
    assert contents(run, page_records("a", 4096, [TWO])) == {0: ONE, 4096: TWO, 8192: ONE}
    assert contents(run, zero_records("a", 0, 2, 4096)) == {8192: ONE}
    assert contents(zero_records("a", 0, 4, 4096), run) == {0: ONE, 4096: ONE, 8192: ONE}


def test_order_of_disjoint_runs_does_not_matter() -> None:
    a, b = page_records("a", 0, [ONE]), page_records("a", 8192, [TWO, ONE])
    assert image(a, b).blocks["a"].digest() == image(b, a).blocks["a"].digest()


def test_zero_absent_and_written_zero_are_one_content() -> None:
    digests = {
        image(*events).blocks["a"].digest()
        for events in ((), (zero_records("a", 0, 16, 4096),), (page_records("a", 0, [bytes(4096)]),))
    }
    assert len(digests) == 1


def test_xbzrle_over_page_over_zero() -> None:
    middle = ONE[:100] + b"xyz" + ONE[103:]
    last = middle[:4000] + b"end" + middle[4003:]
    first = RamXbzrle("a", 0, True, 1, xbzrle(ONE, middle))
    second = RamXbzrle("a", 0, False, 1, xbzrle(middle, last))
    assert contents(page_records("a", 0, [ONE]), first, second) == {0: last}
    assert contents(RamXbzrle("a", 0, True, 1, xbzrle(bytes(4096), TWO))) == {0: TWO}


@given(
    st.binary(min_size=1, max_size=16).map(lambda seed: (seed * 4096)[:4096]),
    st.lists(st.tuples(st.integers(0, 4095), st.binary(max_size=300))),
)
def test_xbzrle_decodes_what_was_encoded(old: bytes, patches: list[tuple[int, bytes]]) -> None:
    new = bytearray(old)
    for at, patch in patches:
        new[at : at + len(patch)] = patch[: 4096 - at]
    assert xbzrle_decode(old, xbzrle(old, bytes(new))) == bytes(new)


@pytest.mark.parametrize(
    "delta", [b"\0", b"\0\0", b"\0\5abc", b"\xff\x1f\2ab", b"\x80", b"\x80\x80\1a", b"\0\x80"]
)
def test_bad_xbzrle(delta: bytes) -> None:
    with pytest.raises(StreamError, match="xbzrle"):
        xbzrle_decode(bytes(4096), delta)


def test_compressed_page() -> None:
    assert contents(RamCompressed("a", 0, True, zlib.compress(TWO))) == {0: TWO}
    for data, message in ((b"junk", "expected zlib data"), (zlib.compress(TWO * 2), "expected 4096 bytes")):
        with pytest.raises(StreamError, match=message):
            contents(RamCompressed("a", 0, True, data))


def test_mapped_pages_follow_the_bitmap() -> None:
    bitmap = struct.pack("<Q", 0b1101)
    pages = ONE + TWO + TWO + ONE
    found = contents(
        MappedHeader(1, 4096, 0, 0),
        MappedData("a", "bitmap", 0, bitmap),
        MappedData("a", "pages", 0, pages[:8192]),
        MappedData("a", "pages", 8192, pages[8192:]),
    )
    assert found == {0: ONE, 8192: TWO, 12288: ONE}


def test_differences_are_counted_and_placed() -> None:
    a = image(page_records("a", 0, [ONE] * 200)).blocks["a"]
    changed = [ONE] * 200
    changed[70] = changed[150] = TWO
    for b in (
        image(page_records("a", 0, changed)),
        image(page_records("a", 0, changed[:33]), page_records("a", 33 * 4096, changed[33:], named=False)),
    ):
        assert differ(a, b.blocks["a"]) == Difference(2, 70 * 4096)
        assert differ(b.blocks["a"], a) == Difference(2, 70 * 4096)
    assert differ(a, image().blocks["a"]).pages == 200
    assert differ(a, a).pages == 0


def test_memory_is_given_back_behind_the_reading() -> None:
    seen: list[tuple[int, int]] = []
    runs = [page_records("a", i * 4096, [ONE]) for i in range(3)]
    found = RamImage([BLOCK, *runs], lambda start, end: seen.append((start, end)))
    found.blocks["a"].digest()
    assert len(seen) == 3

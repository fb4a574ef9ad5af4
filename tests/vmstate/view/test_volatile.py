# SPDX-License-Identifier: Apache-2.0
"""The CMOS clock runs on in a stopped guest; every bit that does not follow the clock must still be seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.vmstate.view.digest import digest
from migmatrix.vmstate.view.stream import read_stream
from migmatrix.vmstate.view.volatile import mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from migmatrix.vmstate.view.decode import Value

RTC = "mc146818rtc"
TIME = {0x00, 0x02, 0x04, 0x06, 0x07, 0x08, 0x09, 0x32}
UIP, PF, OTHER_FLAGS = 0x80, 0x40, 0xB0


def hidden(period: int) -> dict[int, int]:
    """The bits of each CMOS byte that a change of does not show."""
    found: dict[int, int] = {}
    plain = bytes(128)
    before = masked(plain, period)
    for bit in range(128 * 8):
        changed = bytearray(plain)
        changed[bit // 8] ^= 1 << bit % 8
        if masked(bytes(changed), period) == before:
            found[bit // 8] = found.get(bit // 8, 0) | 1 << bit % 8
    return found


def masked(value: Value, period: int, path: str = "cmos_data") -> Value | str:
    return mask(RTC, path, value, lambda other: period if other == "period" else None)[0]


def test_the_clock_hides_its_own_registers_and_flags_only() -> None:
    clock = dict.fromkeys(TIME, 0xFF)
    assert hidden(period=0) == {**clock, 0x0A: UIP, 0x0C: OTHER_FLAGS}
    assert hidden(period=32) == {**clock, 0x0A: UIP, 0x0C: OTHER_FLAGS | PF}


@pytest.mark.parametrize("path", ["periodic_timer", "next_periodic_time", "irq_coalesced"])
def test_the_periodic_timer_counts_while_it_stands_still(path: str) -> None:
    assert masked(7, 0, path) == 7
    assert masked(7, 32, path) is None


@pytest.mark.parametrize("path", ["cmos_index", "period", "offset"])
def test_the_rest_of_the_clock_counts(path: str) -> None:
    assert masked(7, 32, path) == 7


@pytest.mark.parametrize(
    ("register", "bit", "seen"), [(0x0F, 1, True), (0x0B, 0x40, True), (0x0C, 0x10, False)]
)
def test_digest_of_a_real_clock(
    stream_bytes: Callable[[str], bytes], register: int, bit: int, *, seen: bool
) -> None:
    data = bytearray(stream_bytes("q35-7.2.22"))
    stream = read_stream(bytes(data))
    (payload,) = (s.payload for s in stream.sections if s.key[0] == RTC)
    assert payload is not None
    data[payload.offset + register] ^= bit  # cmos_data comes first
    assert (digest(read_stream(bytes(data))) != digest(stream)) is seen

# SPDX-License-Identifier: Apache-2.0
"""Registers of the header as a guest finds them: base registers that it measures, status bits that it clears."""

from __future__ import annotations

import pytest
from pci_guest import guest_writes, writable

from migmatrix.emulator.devices.pci.config import (
    BRIDGE,
    CONVENTIONAL,
    EXPRESS,
    IO,
    MEM,
    MEM64,
    PREFETCH,
    ConfigSpace,
)

# -- base registers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0x10, 0x40, 0x100])
def test_a_guest_measures_io_registers(size: int) -> None:
    """PCI 3.0 chapter 6.2.5.1: write ones, read the size; the low bits say what it is."""
    space = ConfigSpace()
    space.bar(2, IO, size)
    assert guest_writes(space, 0x18, 4, 0xFFFFFFFF) == (-size & 0xFFFFFFFF) | IO
    assert guest_writes(space, 0x18, 4, 0) == IO


@pytest.mark.parametrize("size", [0x1000, 0x4000, 0x20000, 0x1000000])
@pytest.mark.parametrize("kind", [MEM, PREFETCH])
def test_a_guest_measures_memory_registers(size: int, kind: int) -> None:
    space = ConfigSpace()
    space.bar(0, kind, size)
    assert guest_writes(space, 0x10, 4, 0xFFFFFFFF) == (-size & 0xFFFFFFFF) | kind
    assert guest_writes(space, 0x10, 4, 0xFE000000) == 0xFE000000 & -size | kind


@pytest.mark.parametrize("size", [0x4000, 1 << 28, 1 << 33])
@pytest.mark.parametrize("kind", [MEM64, MEM64 | PREFETCH])
@pytest.mark.parametrize("number", [0, 2, 4])
def test_a_guest_measures_wide_registers(size: int, kind: int, number: int) -> None:
    space = ConfigSpace()
    space.bar(number, kind, size)
    at = 0x10 + 4 * number
    assert guest_writes(space, at, 8, 2**64 - 1) == (-size % 2**64) | kind
    space.base(number, 3 * size)
    assert space.read(at, 8) == 3 * size | kind


@pytest.mark.parametrize(("header", "at"), [(0, 0x30), (BRIDGE, 0x38)])
def test_the_roms_register_has_a_switch(header: int, at: int) -> None:
    space = ConfigSpace(CONVENTIONAL, header)
    space.bar(6, 0, 0x10000)
    assert space.read(at, 4) == 0, "off after reset"
    assert guest_writes(space, at, 4, 0xFFFFFFFF) == 0xFFFF0001


def test_registers_that_are_not_there_hold_nothing() -> None:
    space = ConfigSpace()
    assert [writable(space, 0x10 + 4 * number, 4) for number in range(6)] == [0] * 6


# -- headers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "offset", "size", "bits"),
    [
        (0, 0x00, 4, 0), (0, 0x04, 2, 0x0507), (0, 0x08, 4, 0), (0, 0x0C, 1, 0xFF), (0, 0x0E, 1, 0), (0, 0x2C, 4, 0),
        (0, 0x34, 1, 0), (0, 0x3C, 1, 0xFF), (0, 0x3D, 1, 0), (BRIDGE, 0x18, 4, 0xFFFFFFFF), (BRIDGE, 0x1C, 2, 0xF0F0),
        (BRIDGE, 0x20, 4, 0xFFF0FFF0), (BRIDGE, 0x24, 4, 0xFFF0FFF0), (BRIDGE, 0x28, 8, 2**64 - 1),
        (BRIDGE, 0x3E, 2, 0x0BFF),
    ],
)  # fmt: skip
def test_bits_of_the_header_that_are_the_guests(header: int, offset: int, size: int, bits: int) -> None:
    """Bit 10 of the bridge control is cleared by ones, so writing never sets it."""
    assert writable(ConfigSpace(CONVENTIONAL, header), offset, size) == bits


@pytest.mark.parametrize(("header", "offset"), [(0, 0x06), (BRIDGE, 0x06), (BRIDGE, 0x1E)])
def test_errors_in_a_status_register_are_cleared_by_ones(header: int, offset: int) -> None:
    space = ConfigSpace(CONVENTIONAL, header)
    space.write(offset, 2, 0xF910)
    assert guest_writes(space, offset, 2, 0xFFFF) == 0x0010


@pytest.mark.parametrize(("header", "value"), [(0, 0), (BRIDGE, 0x00010001)])
def test_a_bridges_windows_are_wide(header: int, value: int) -> None:
    assert ConfigSpace(CONVENTIONAL, header).read(0x24, 4) == value


@pytest.mark.parametrize("size", [CONVENTIONAL, EXPRESS])
def test_masks_are_as_long_as_the_space(size: int) -> None:
    space = ConfigSpace(size)
    assert {len(m) for m in (space.data, space.cmask, space.wmask, space.w1cmask)} == {size}
    assert space.read(size - 4, 4) == 0
    assert guest_writes(space, size - 4, 4, 0x12345678) == 0x12345678, (
        "what no capability covers is the guest's"
    )

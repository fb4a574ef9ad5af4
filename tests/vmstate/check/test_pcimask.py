# SPDX-License-Identifier: Apache-2.0
"""Which bits of a config space a loader compares, by capability."""

from __future__ import annotations

import pytest

from migmatrix.vmstate.check.pcimask import checked_bits, first_difference


def space(size: int = 256, header: int = 0, **capability: int) -> bytearray:
    """A space with one capability at 0x40; ``r02=8`` sets the byte at 0x42."""
    raw = bytearray(size)
    raw[0:4] = bytes.fromhex("f41a0110")  # vendor (virtio's), device
    raw[0x06] = 0x10  # status: has capabilities
    raw[0x0E] = header
    raw[0x34] = 0x40
    for name, value in capability.items():
        raw[0x40 + int(name[1:], 16)] = value
    return raw


def checked(raw: bytearray, start: int, end: int) -> bytes:
    return checked_bits(bytes(raw))[start:end]


@pytest.mark.parametrize(("header", "count"), [(0, 6), (1, 2), (2, 0), (0x80, 6)])
def test_base_registers_by_header_type(header: int, count: int) -> None:
    """An endpoint has six, a bridge two; 0x80 marks more functions. Only the type bits are compared."""
    mask = checked(space(header=header), 0x10, 0x28)
    assert [mask[at] for at in range(0, 24, 4)] == [0x0F] * count + [0] * (6 - count)
    assert not any(byte for at, byte in enumerate(mask) if at % 4)


def test_an_io_base_register_has_two_type_bits() -> None:
    raw = space()
    raw[0x14] = 0x01
    assert [checked(raw, at, at + 1)[0] for at in (0x10, 0x14)] == [0x0F, 0x03]


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        # power management, 8 bytes: state, enable and status of PME are the guest's
        ({"r00": 0x01}, "ff ff ff ff fc 7e ff ff 00"),
        # MSI: enable, messages in use; then address and data
        ({"r00": 0x05}, "ff ff 8e ff 00 00 00 00 00"),
        # MSI-X: enable, mask of all
        ({"r00": 0x11}, "ff ff ff 3f ff ff ff ff ff ff ff ff 00"),
        # vendor specific: as long as its third byte says
        ({"r00": 0x09, "r02": 0x05}, "ff ff ff ff ff 00"),
        # virtio common configuration: nothing to write
        ({"r00": 0x09, "r02": 0x10, "r03": 0x01}, "ff " * 16 + "00"),
        # virtio access to BARs: the BAR, then offset, length and data
        ({"r00": 0x09, "r02": 0x14, "r03": 0x05}, "ff ff ff ff 00 ff ff ff" + " 00" * 13),
    ],
)  # fmt: skip
def test_a_capability(capability: dict[str, int], expected: str) -> None:
    wanted = bytes.fromhex(expected)
    assert checked(space(**capability), 0x40, 0x40 + len(wanted)) == wanted


def test_an_extended_capability_keeps_what_the_guest_writes_out() -> None:
    """Access control services: capability bits are compared, control bits are not."""
    raw = space(4096)
    raw[0x100:0x104] = (0x0001000D).to_bytes(4, "little")
    mask = checked(raw, 0x100, 0x108)
    assert (mask[:6], mask[6:8]) == (b"\xff" * 6, b"\0\0")


def test_without_capabilities_only_the_header_counts() -> None:
    raw = space()
    raw[0x06] = 0
    assert not any(checked(raw, 0x40, 256))


def test_the_first_difference_that_counts() -> None:
    ours, theirs = space(r00=0x01), space(r00=0x01)
    ours[0x04] = 7  # command: the guest's
    ours[0x44] = 3  # power state: the guest's
    assert first_difference(bytes(ours), bytes(theirs)) is None
    ours[0x43], ours[0x50] = 1, 1
    assert first_difference(bytes(ours), bytes(theirs)) == 0x43

# SPDX-License-Identifier: Apache-2.0
"""Config space and the rules by which a loader compares it."""

import pytest

from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.check import Rule, refusal
from migmatrix.emulator.devices.pci.config import BRIDGE, EXPRESS, IO, MEM, MEM64, ConfigSpace
from migmatrix.vmstate.view.pci import ConfigSpace as Described


def other(space: ConfigSpace, offset: int, value: int) -> bytes:
    data = bytearray(space.data)
    data[offset] = value
    return bytes(data)


def port(*, masks: bool) -> ConfigSpace:
    space = ConfigSpace(EXPRESS, BRIDGE)
    caps.error_reporting(space, 0x100, root=True, masks=masks)
    return space


def test_the_case_of_the_document() -> None:
    """The message of the regression, byte for byte, and real QEMU's mercy in the other direction."""
    with_register, without = port(masks=True), port(masks=False)
    assert refusal(without, bytes(with_register.data), Rule.MASKED) == (
        "get_pci_config_device: Bad config data: i=0x10a read: 40 device: 0 cmask: ff wmask: 0 w1cmask:0"
    )
    assert not refusal(with_register, bytes(without.data), Rule.MASKED)
    assert "read: 0 device: 40" in refusal(with_register, bytes(without.data), Rule.STRICT)


@pytest.mark.parametrize("rule", Rule)
def test_equal_spaces_are_taken(rule: Rule) -> None:
    space = port(masks=True)
    assert not refusal(space, bytes(space.data), rule)


@pytest.mark.parametrize("rule", Rule)
def test_the_header_is_the_guests(rule: Rule) -> None:
    """Command, base addresses and bus numbers may differ by either rule, identity by none."""
    space = ConfigSpace()
    space.bar(0, MEM, 0x1000)
    space.bar(1, IO, 0x40)
    for offset, value in ((0x04, 0x07), (0x11, 0xF0), (0x14, 0xC1), (0x3C, 0x0B)):
        assert not refusal(space, other(space, offset, value), rule)
    for offset in (0x00, 0x02, 0x08, 0x0A, 0x0E):
        assert f"i=0x{offset:x}" in refusal(space, other(space, offset, 0x55), rule)


def test_a_smaller_register_shows_in_its_address() -> None:
    """Rows 9 and 28: what the source programmed is no address of the destination's larger register."""
    space = ConfigSpace()
    space.bar(0, IO, 0x40)
    assert refusal(space, other(space, 0x10, 0xA1), Rule.MASKED).endswith(
        "i=0x10 read: a1 device: 1 cmask: ff wmask: c0 w1cmask:0"
    )
    assert not refusal(space, other(space, 0x10, 0xC1), Rule.MASKED)


def test_bits_that_the_guest_clears_are_never_compared() -> None:
    space = port(masks=False)
    assert not refusal(space, other(space, 0x104, 0x10), Rule.STRICT)


def test_lists_lead_to_each_capability() -> None:
    space = ConfigSpace(EXPRESS)
    caps.express(space, caps.Port.ENDPOINT)
    caps.power_management(space, 3)
    caps.msi(space, 4, wide=True, maskable=True)
    caps.error_reporting(space)
    caps.access_control(space, 0x148)
    caps.address_translation(space, 0x150, aligned=True)
    read = Described(bytes(space.data))
    assert [c.name for c in read.capabilities] == [
        "MSI",
        "Power Management",
        "PCI Express",
        "AER",
        "ACS",
        "ATS",
    ]
    assert not read.problems


def test_capabilities_do_not_overlap() -> None:
    space = ConfigSpace()
    first = caps.power_management(space, 3)
    second = caps.msix(space, 3, (1, 0), (1, 0x800))
    third = caps.vendor(space, bytes(13))
    assert [first, second, third] == [0x40, 0x48, 0x54]


def test_a_wide_register_takes_two() -> None:
    space = ConfigSpace()
    space.bar(0, MEM64, 1 << 33)
    space.base(0, 5 << 33)
    assert space.read(0x10, 8) == (5 << 33) | MEM64
    assert not refusal(space, bytes(ConfigSpace().data[:0x10]) + bytes(space.data[0x10:]), Rule.MASKED)

# SPDX-License-Identifier: Apache-2.0
"""Config spaces of PCI functions after power-on, byte by byte those of real QEMU, on thirteen machine types of four builds.

Identity, header, base registers, the chain of capabilities and every register's value are all in those bytes. What may
differ is in `KNOWN`: registers that the guest writes, or that no loader compares.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from real_devices import EVERY_MACHINE, emulated, recorded

from migmatrix.emulator.devices.pci.check import Rule, refusal
from migmatrix.emulator.devices.pci.device import PCIDevice
from migmatrix.emulator.devices.virtio.device import VirtIODevice
from migmatrix.vmstate.view.pci import ConfigSpace as Read

if TYPE_CHECKING:
    from collections.abc import Iterator

_SERIAL = 0x144  # last byte of the card's address in its serial number
# section: offsets that may differ, and why
KNOWN: dict[str, dict[int, str]] = {
    "pcie-root-port": {
        # x-speed and x-width: tests/emulator/core/unmodelled.txt
        **dict.fromkeys((0x60, 0x61, 0x62, 0x80, 0x84), "link of machine types before 4.0"),
        0x67: "active link of machine types before 2.12, which is not compared",
        0x6D: "8.0 and later start with the power indicator off; the guest writes it",
    },
    "e1000e": {_SERIAL: "QEMU counts addresses up"},
}


def _spaces(build: str, machine: str) -> Iterator[tuple[str, PCIDevice, bytes]]:
    registry = emulated(build, machine).registry
    for name, row in recorded(build)["machines"][machine]["sections"].items():
        if name.endswith("-early"):  # no PCI part
            continue
        state: Any = registry.find(name, 0).state
        function = state.proxy if isinstance(state, VirtIODevice) else state
        assert isinstance(function, PCIDevice)
        size = len(function.space.data)
        yield name, function, bytes.fromhex(row["payload"])[4 : 4 + size]


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_every_byte_is_the_real_one(build: str, machine: str) -> None:
    for name, function, real in _spaces(build, machine):
        known = KNOWN.get(name.rpartition("/")[2], {})
        differing = {
            hex(at): (hex(ours), hex(theirs))
            for at, (ours, theirs) in enumerate(zip(function.space.data, real, strict=True))
            if ours != theirs and at not in known
        }
        assert not differing, name


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_a_real_space_is_taken(build: str, machine: str) -> None:
    """By the masked rule, so every difference above is one that no loader sees, but for the link of old ports."""
    for name, function, real in _spaces(build, machine):
        old_link = name.endswith("pcie-root-port") and function.space.data[0x60] != real[0x60]
        if name.endswith("e1000e"):  # whose serial number has the card's address
            real = real[:_SERIAL] + function.space.data[_SERIAL : _SERIAL + 1] + real[_SERIAL + 1 :]  # noqa: PLW2901
        assert bool(refusal(function.space, real, Rule.MASKED)) == old_link, name


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_one_wrong_byte_of_the_identity_is_refused(build: str, machine: str) -> None:
    """Vendor, device, revision, class, header, and the head of the list; also each capability's own number."""
    for name, function, real in _spaces(build, machine):
        if name.endswith("pcie-root-port"):
            continue
        numbers = [c.offset for c in Read(real).capabilities if not c.extended]
        for at in (0x00, 0x01, 0x02, 0x03, 0x08, 0x09, 0x0A, 0x0B, 0x0E, 0x34, *numbers):
            changed = bytearray(real)
            changed[at] ^= 0x01
            assert f"i=0x{at:x} " in refusal(function.space, bytes(changed), Rule.MASKED), (name, hex(at))


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_what_the_guest_writes_is_taken(build: str, machine: str) -> None:
    """Every bit of `wmask` and `w1cmask` may come in as anything."""
    for name, function, _ in _spaces(build, machine):
        space = function.space
        masks = zip(space.data, space.wmask, space.w1cmask, strict=True)
        turned = bytes(value ^ (writable | clearable) for value, writable, clearable in masks)
        assert not refusal(space, turned, Rule.MASKED), name


def _chain(real: bytes) -> list[tuple[int, int]]:
    """(offset, number) by the pointers alone, as the specification says to walk them."""
    found, at = [], real[0x34]
    while at:
        found.append((at, real[at]))
        at = real[at + 1]
    return found


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_the_chain_leads_through_the_real_capabilities(build: str, machine: str) -> None:
    for name, function, real in _spaces(build, machine):
        read = Read(bytes(function.space.data))
        assert [(c.offset, c.id) for c in read.capabilities if not c.extended] == _chain(real), name
        assert not read.problems, name
        assert bool(real[0x06] & 0x10) == bool(_chain(real)), name


PIN = 0x3D


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_interrupt_pins(build: str, machine: str) -> None:
    """INTA or none; whoever has a pin can change its line, which is the guest's business."""
    for name, function, real in _spaces(build, machine):
        assert function.space.data[PIN] == real[PIN] <= 1, name
        assert function.space.wmask[PIN - 1] == 0xFF, name


BARS = range(6)


@pytest.mark.parametrize(("build", "machine"), EVERY_MACHINE)
def test_base_registers_are_of_the_real_kind_and_decode_their_size(build: str, machine: str) -> None:
    """Unprogrammed, a register shows its kind; all ones written give the size back (PCI 3.0, 6.2.5.1)."""
    for name, function, real in _spaces(build, machine):
        space = function.space
        for number, (kind, size) in space.bars.items():
            if number not in BARS:
                continue
            at, width = 0x10 + 4 * number, 8 if kind & 0x4 and not kind & 0x1 else 4
            assert int.from_bytes(real[at : at + width], "little") == kind, (name, number)
            writable = int.from_bytes(space.wmask[at : at + width], "little")
            assert (~writable + 1) % (1 << 8 * width) == size, (name, number)
            assert size & (size - 1) == 0, (name, number)

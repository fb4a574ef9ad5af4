# SPDX-License-Identifier: Apache-2.0
"""The capabilities that devices put into their config space, each a function that returns where it put it.

Layouts are those of `vmstate.view.pciregs` (PCI 3.0, PCI Express Base 5.0); values and writable bits were read off
real config spaces and refusals of QEMU 5.2 to 11.1. What changed between releases is a parameter here and a
property of the device: nothing below knows a release.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.config import ConfigSpace

__all__ = [
    "Link", "Port", "access_control", "address_translation", "error_reporting", "express", "hotplug_controller",
    "msi", "msix", "power_management", "sata", "serial_number", "slot", "slot_id", "subsystem", "vendor",
]  # fmt: skip

_ERRORS: Final = 0x03FFF030  # uncorrectable errors that can be reported
_SEVERE: Final = 0x00462030
_MASKED: Final = 0x02400000  # what 8.0 masks by default
_CORRECTABLE: Final = 0x0000F1C1
_ADVISORY: Final = 0x0000E000
_EXPRESS_SIZE: Final = (0x14, 0x3C)  # version 1, version 2


class Port:
    """Type field of a PCI Express capability."""

    ENDPOINT: Final = 0x0
    ROOT: Final = 0x4
    TO_PCI: Final = 0x7
    INTEGRATED: Final = 0x9


def power_management(space: ConfigSpace, value: int, offset: int = 0) -> int:
    """Power management; `value` is its capabilities register. The power state is the guest's."""
    at = space.capability(0x01, 8, offset)
    space.write(at + 2, 2, value)
    space.writable(at + 4, 2, 0x8103)
    return at


def msi(space: ConfigSpace, vectors: int, offset: int = 0, *, wide: bool, maskable: bool) -> int:
    """Message signalled interrupts: 1 to 32 vectors, 64 bit addresses, a mask per vector."""
    size = 0x0A + 4 * wide + 10 * maskable
    at = space.capability(0x05, size, offset)
    space.write(at + 2, 2, vectors.bit_length() - 1 << 1 | wide << 7 | maskable << 8)
    space.writable(at + 2, 2, 0x0071)
    space.writable(at + 4, 4, -4)
    if wide:
        space.writable(at + 8, 4, -1)
    space.writable(at + 8 + 4 * wide, 2, -1)
    if maskable:
        space.writable(at + 12 + 4 * wide, 4, (1 << vectors) - 1)
    return at


def msix(
    space: ConfigSpace, vectors: int, table: tuple[int, int], pending: tuple[int, int], offset: int = 0
) -> int:
    """MSI-X; `table` and `pending` are (base register, offset in it)."""
    at = space.capability(0x11, 12, offset)
    space.write(at + 2, 2, vectors - 1)
    space.write(at + 4, 4, table[1] | table[0])
    space.write(at + 8, 4, pending[1] | pending[0])
    space.writable(at + 2, 2, 0xC000)
    return at


class Link:
    """What a port says of its link and slot; the defaults are an endpoint's: 2.5 GT/s, one lane."""

    __slots__ = ("active", "capabilities", "speeds", "target")

    def __init__(
        self, capabilities: int = 0x411, speeds: int = 0, target: int = 0, *, active: bool = False
    ) -> None:
        self.capabilities, self.speeds, self.target, self.active = capabilities, speeds, target, active


def express(
    space: ConfigSpace, kind: int, offset: int = 0, *, version: int = 2, link: Link | None = None,
    reports: bool = False, flr: bool = False, forwards: bool = False, tags: bool = False,
) -> int:  # fmt: skip
    """PCI Express. `reports` errors; `flr`: can be reset alone; `forwards`: a port or bridge; `tags`: extended ones."""
    link = Link() if link is None else link
    at = space.capability(0x10, _EXPRESS_SIZE[version - 1], offset)
    space.write(at + 2, 2, version | kind << 4)
    space.write(at + 4, 4, 0x8000 | flr << 28 | tags << 5)
    space.writable(at + 8, 2, (0x000F if reports else 0) | flr << 15)
    space.clearable(at + 0x0A, 2, 0x000F if reports else 0)
    space.write(at + 0x0C, 4, link.capabilities)
    space.writable(at + 0x10, 2, 0x00C3 if forwards else 0)
    space.write(at + 0x12, 2, 0x0011 | link.active << 13)
    space.unchecked(at + 0x12, 2, 0x2000)
    if version > 1:
        space.write(at + 0x24, 4, 0x00300000 | forwards << 5)
        space.writable(at + 0x28, 2, 0x8020 if forwards else 0x8000)
        space.write(at + 0x2C, 4, link.speeds)
        space.write(at + 0x30, 2, link.target)
    return at


def slot(space: ConfigSpace, at: int, number: int, *, presence_checked: bool, hotplug: bool = True) -> None:
    """The slot of a port whose express capability is at `at`; `hotplug`: devices may come and go.

    `presence_checked`: loading compares the bit that says whether something is plugged, although the guest
    may have cleared it; QEMU did so until 8.0.
    """
    space.write(at + 2, 2, space.read(at + 2, 2) | 0x100)
    space.write(at + 0x14, 4, number << 19 | (0x2007B if hotplug else 0x2001B))
    space.write(at + 0x18, 2, 0x01C0)
    space.writable(at + 0x18, 2, 0x17FF)
    space.clearable(at + 0x1A, 2, 0x0019)
    if not presence_checked:
        space.unchecked(at + 0x1A, 2, 0x0040)
    space.writable(at + 0x1C, 2, 0x0007)
    space.clearable(at + 0x22, 2, 0x0001)


def subsystem(space: ConfigSpace, vendor_id: int, device_id: int, offset: int) -> int:
    """Subsystem identity of a bridge."""
    at = space.capability(0x0D, 8, offset)
    space.write(at + 4, 4, device_id << 16 | vendor_id)
    return at


def slot_id(space: ConfigSpace, chassis: int, offset: int = 0) -> int:
    """Slot numbering of a bridge."""
    at = space.capability(0x04, 4, offset)
    space.write(at + 2, 2, chassis << 8 | 0x20)
    space.writable(at + 3, 1, 0xFF)
    return at


def hotplug_controller(space: ConfigSpace, offset: int = 0) -> int:
    """Standard hotplug controller of a bridge."""
    at = space.capability(0x0C, 8, offset)
    space.writable(at + 2, 1, 0xFF)
    space.writable(at + 4, 4, -1)
    return at


def sata(space: ConfigSpace, offset: int) -> int:
    """Serial ATA: where the index and data registers are."""
    at = space.capability(0x12, 8, offset)
    space.write(at + 2, 2, 0x0010)
    space.write(at + 4, 4, 0x00000048)
    return at


def vendor(space: ConfigSpace, body: bytes, *, guests: tuple[tuple[int, int], ...] = ()) -> int:
    """A vendor's capability; `body` follows its length byte, `guests` are (offset, size) the guest may write."""
    at = space.capability(0x09, 3 + len(body))
    space.data[at + 2 : at + 3 + len(body)] = bytes([3 + len(body)]) + body
    for offset, size in guests:
        space.writable(at + offset, size, -1)
    return at


def error_reporting(
    space: ConfigSpace, offset: int = 0, *, version: int = 2, root: bool = False, masks: bool = False
) -> int:  # fmt: skip
    """Advanced error reporting. `masks`: the register that hides uncorrectable errors exists."""
    at = space.extend(0x0001, version, 0x48, offset)
    space.clearable(at + 0x04, 4, _ERRORS)
    if masks:
        space.write(at + 0x08, 4, _MASKED)
        space.writable(at + 0x08, 4, _ERRORS)
    space.write(at + 0x0C, 4, _SEVERE)
    space.writable(at + 0x0C, 4, _ERRORS)
    space.clearable(at + 0x10, 4, _CORRECTABLE)
    space.write(at + 0x14, 4, _ADVISORY)
    space.writable(at + 0x14, 4, _CORRECTABLE)
    space.write(at + 0x18, 4, 0x2A0 if root else 0xA0)
    space.writable(at + 0x18, 4, 0x540)
    if root:
        space.writable(at + 0x2C, 4, 0x7)
        space.clearable(at + 0x30, 4, 0x7F)
    return at


def serial_number(space: ConfigSpace, number: int, offset: int) -> int:
    """A device's 64 bit serial number."""
    at = space.extend(0x0003, 1, 12, offset)
    space.write(at + 4, 8, number)
    return at


def access_control(space: ConfigSpace, offset: int) -> int:
    """Access control services of a root port."""
    at = space.extend(0x000D, 1, 8, offset)
    space.write(at + 4, 2, 0x5F)
    space.writable(at + 6, 2, 0x5F)
    return at


def address_translation(space: ConfigSpace, offset: int, *, aligned: bool) -> int:
    """Address translation services; `aligned`: untranslated addresses are page aligned."""
    at = space.extend(0x000F, 1, 8, offset)
    space.write(at + 4, 2, 0x20 if aligned else 0)
    space.writable(at + 6, 2, 0x8000)
    return at

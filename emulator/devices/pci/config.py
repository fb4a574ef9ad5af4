# SPDX-License-Identifier: Apache-2.0
"""A PCI function's configuration space: its bytes and the three masks that say who may change them.

1. `cmask`: bits that a loader compares. `wmask`: bits that the guest writes. `w1cmask`: bits that it clears.
2. What a capability covers is compared and read-only unless the capability says otherwise; the rest behind the
   header is free for the guest.
3. Registers are little-endian; all offsets are bytes from the start of the space.

Source of the rules: PCI Local Bus 3.0 chapter 6, PCI-to-PCI bridge 1.2 chapter 3; which bits are compared was
checked against the masks that QEMU 5.2 to 11.1 print. Nothing here knows a device or a machine.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BRIDGE", "CONVENTIONAL", "EXPRESS", "IO", "MEM", "MEM64", "PREFETCH", "ConfigSpace"]

CONVENTIONAL: Final = 256  # bytes of a space
EXPRESS: Final = 4096
BRIDGE: Final = 1  # header type

# kinds of base registers: the low bits that the register shows
IO: Final = 0x1
MEM: Final = 0x0
MEM64: Final = 0x4
PREFETCH: Final = 0x8

_HEADER: Final = 0x40
_STATUS: Final = 0x06
_HAS_LIST: Final = 0x10
_FIRST: Final = 0x34
_ROM: Final = {0: 0x30, BRIDGE: 0x38}
_IDENTITY: Final = ((0x00, 4, -1), (_STATUS, 2, _HAS_LIST), (0x08, 4, -1), (0x0E, 1, -1), (_FIRST, 1, -1))
_WRITABLE: Final = ((0x04, 2, 0x0507), (0x0C, 1, -1), (0x3C, 1, -1))
_BRIDGE_WRITABLE: Final = (
    (0x18, 4, -1), (0x1C, 2, 0xF0F0), (0x20, 4, 0xFFF0FFF0), (0x24, 4, 0xFFF0FFF0), (0x28, 8, -1),
    (0x3E, 2, 0x0FFF),
)  # fmt: skip
_BRIDGE_COMPARED: Final = ((0x1C, 2, 0x0F0F), (0x24, 4, 0x000F000F))


class ConfigSpace:
    """`data`, `cmask`, `wmask`, `w1cmask`: bytearrays of the same length, 256 or 4096.

    `bars` has (kind, size) by register number; `extended` is where the last extended capability begins.
    """

    __slots__ = ("bars", "cmask", "data", "extended", "free", "header", "w1cmask", "wmask")

    def __init__(self, size: int = CONVENTIONAL, header: int = 0) -> None:
        self.data, self.cmask = bytearray(size), bytearray(size)
        self.wmask, self.w1cmask = bytearray(size), bytearray(size)
        self.header = header
        self.bars: dict[int, tuple[int, int]] = {}
        self.free = _HEADER
        self.extended = 0
        self.wmask[_HEADER:] = b"\xff" * (size - _HEADER)
        self._mask(self.cmask, _IDENTITY)
        self._mask(self.wmask, _WRITABLE)
        self._mask(self.w1cmask, ((_STATUS, 2, 0xF900),))
        self.write(0x0E, 1, header)
        if header == BRIDGE:
            self._bridge()

    def _bridge(self) -> None:
        self._mask(self.wmask, _BRIDGE_WRITABLE)
        self._mask(self.cmask, _BRIDGE_COMPARED)
        self._mask(self.w1cmask, ((0x1E, 2, 0xF900), (0x3E, 2, 0x0400)))
        self.write(0x24, 4, 0x00010001)  # both limits are 64 bits wide

    @staticmethod
    def _mask(mask: bytearray, rows: tuple[tuple[int, int, int], ...]) -> None:
        for offset, size, value in rows:
            _put(mask, offset, size, value)

    def read(self, offset: int, size: int) -> int:
        """The register at `offset`."""
        return int.from_bytes(self.data[offset : offset + size], "little")

    def write(self, offset: int, size: int, value: int) -> None:
        """Set the register at `offset`, as the device does: masks do not matter."""
        _put(self.data, offset, size, value)

    def writable(self, offset: int, size: int, mask: int) -> None:
        """Let the guest write these bits."""
        _put(self.wmask, offset, size, mask)

    def clearable(self, offset: int, size: int, mask: int) -> None:
        """Let the guest clear these bits by writing ones."""
        _put(self.w1cmask, offset, size, mask)

    def unchecked(self, offset: int, size: int, mask: int) -> None:
        """Do not compare these bits."""
        _put(self.cmask, offset, size, int.from_bytes(self.cmask[offset : offset + size], "little") & ~mask)

    def bar(self, number: int, kind: int, size: int) -> None:
        """Add base register `number`; `size` in bytes is a power of two; 6 is the ROM's."""
        rom = number == 6  # noqa: PLR2004 - one behind the six base registers
        offset = _ROM[self.header] if rom else 0x10 + 4 * number
        width = 8 if kind & MEM64 else 4
        self.bars[number] = (kind, size)
        self.write(offset, width, kind)
        self.writable(offset, width, (-size | 1) if rom else -size)
        _put(self.cmask, offset, width, -1)

    def base(self, number: int, address: int) -> None:
        """Program a base register as firmware does."""
        kind, size = self.bars[number]
        self.write(0x10 + 4 * number, 8 if kind & MEM64 else 4, (address & -size) | kind)

    def capability(self, number: int, size: int, offset: int = 0) -> int:
        """Put a capability at the head of the list, at `offset` or at the first free place; where it is."""
        at = offset or self.free
        self.free = max(self.free, _align(at + size))
        self.write(at, 2, self.data[_FIRST] << 8 | number)
        self.write(_FIRST, 1, at)
        self.write(_STATUS, 2, self.read(_STATUS, 2) | _HAS_LIST)
        self._cover(at, size)
        return at

    def extend(self, number: int, version: int, size: int, offset: int = 0) -> int:
        """Append an extended capability at `offset`, or behind the last one; where it is."""
        last, at = self.extended, offset or CONVENTIONAL
        if last:
            head = self.read(last, 4)
            self.write(last, 4, (head & 0x000FFFFF) | at << 20)
        self.write(at, 4, version << 16 | number)
        self._cover(at, size)
        self.extended = at
        return at

    def _cover(self, at: int, size: int) -> None:
        for mask, value in ((self.wmask, 0), (self.cmask, 0xFF)):
            mask[at : at + size] = bytes([value]) * size


def _put(into: bytearray, offset: int, size: int, value: int) -> None:
    into[offset : offset + size] = (value % (1 << 8 * size)).to_bytes(size, "little")


def _align(offset: int) -> int:
    return (offset + 3) & ~3

# SPDX-License-Identifier: Apache-2.0
"""A guest at the config space of a PCI function: it writes registers and finds out which bits are its own.

The rule is that of PCI 3.0 chapter 6.2: writable bits take the value, clearable ones become 0 where a 1 is written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.config import ConfigSpace

__all__ = ["guest_writes", "writable"]


def guest_writes(space: ConfigSpace, offset: int, size: int, value: int) -> int:
    """Write a register as a guest does; what it reads back."""
    for at, byte in enumerate(value.to_bytes(size, "little"), offset):
        writable, clearable = space.wmask[at], space.w1cmask[at]
        kept = space.data[at] & ~writable | byte & writable
        space.data[at] = kept & ~(byte & clearable)
    return space.read(offset, size)


def writable(space: ConfigSpace, offset: int, size: int) -> int:
    """Bits of a register that change between a write of ones and one of zeros."""
    ones = guest_writes(space, offset, size, (1 << 8 * size) - 1)
    return ones ^ guest_writes(space, offset, size, 0)

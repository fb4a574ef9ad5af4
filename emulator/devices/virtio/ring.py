# SPDX-License-Identifier: Apache-2.0
"""A virtqueue as migration sees it: sizes, addresses and indices, no memory and no requests.

Source: Virtio 1.2 chapter 2.7; which of it is sent, and in which form, is QEMU's (see `stream`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.emulator.memory import RamBlock

__all__ = ["MAX_QUEUES", "MAX_QUEUE_SIZE", "NO_VECTOR", "Ring"]

MAX_QUEUE_SIZE: Final = 1024
MAX_QUEUES: Final = 1024  # as many as a transport has room for, whatever the device uses
NO_VECTOR: Final = 0xFFFF

_LOW: Final = 0x80000000  # memory below has its offset as its address, on every board
_MODERN: Final = struct.Struct(">HxB6I")  # size, enabled, three addresses as (low, high)


class Ring:
    """One queue; `size` is what the guest chose, `most` what the device offers (0: the queue does not exist)."""

    __slots__ = ("avail", "desc", "enabled", "last_avail", "most", "size", "used", "vector")

    def __init__(self, size: int) -> None:
        self.most = size
        self.reset()

    def reset(self) -> None:
        """Forget what the guest said."""
        self.size, self.vector, self.enabled = self.most, NO_VECTOR, False
        self.desc = self.avail = self.used = self.last_avail = 0

    def place(self, address: int, vector: int) -> None:
        """Do what a guest's driver does first: give the queue its memory, from `address` on, and its interrupt."""
        self.desc = address
        self.avail = address + 16 * self.size
        self.used = (self.avail + 6 + 2 * self.size + 0xFFF) & ~0xFFF
        self.vector, self.enabled = vector, True

    @property
    def parts(self) -> tuple[int, int]:
        """Addresses of what the guest and what the device writes; an old driver names only the first of all three."""
        avail = self.avail or self.desc + 16 * self.size
        return avail, self.used or (avail + 6 + 2 * self.size + 0xFFF) & ~0xFFF

    def indices(self, memory: RamBlock | None) -> tuple[int, int] | None:
        """The guest's and the device's index in memory; None where the ring is not in the first part of it."""
        avail, used = self.parts
        end = min(memory.used_length, _LOW) if memory is not None else 0
        if memory is None or max(avail, used) + 4 > end:
            return None
        head, tail = (int.from_bytes(memory.read(at + 2, 2), "little") for at in (avail, used))
        return head, tail

    def modern(self) -> bytes:
        """The 28 bytes that the PCI transport sends of a queue's modern registers; zeros while it is not set up."""
        if not self.enabled:
            return bytes(_MODERN.size)
        halves = [half for address in (self.desc, self.avail, self.used) for half in _halves(address)]
        return _MODERN.pack(self.size, 1, *halves)

    def set_modern(self, raw: bytes) -> None:
        """Inverse of `modern`; the addresses come with the ring itself."""
        self.enabled = bool(_MODERN.unpack(raw)[1])


def _halves(address: int) -> tuple[int, int]:
    return address & 0xFFFFFFFF, address >> 32

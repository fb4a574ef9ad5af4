# SPDX-License-Identifier: Apache-2.0
"""Which bits of a PCI config space a loader compares: QEMU's cmask without wmask and w1cmask.

No stream holds the masks; they follow from the registers. In the header a loader compares a few identifying
ones, and the low bits of base registers; behind it only what a capability covers and the guest cannot write.
Sources: masks that QEMU 5.2 to 11.1 print in refusals, and its rule for capabilities: checked and read-only
unless a device makes a register writable. The table names the writable registers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.view.pci import ConfigSpace

if TYPE_CHECKING:
    from migmatrix.vmstate.view.pci import Capability

__all__ = ["checked_bits", "first_difference"]

Bits = tuple[int, int, int]  # offset, size in bytes, mask (little-endian)

_HEADER: Final[tuple[Bits, ...]] = (
    (0x00, 4, 0xFFFFFFFF),  # vendor and device
    (0x06, 2, 0x0010),  # status: has capabilities
    (0x08, 4, 0xFFFFFFFF),  # revision and class
    (0x0E, 1, 0xFF),
    (0x34, 1, 0xFF),
)
_BASES: Final = {0: 6, 1: 2}  # number of base registers by header type
_BAR_IO: Final = 0x3
_BAR_MEMORY: Final = 0xF

# what the guest or the link may change, by capability
_WRITABLE: Final[dict[int, tuple[Bits, ...]]] = {
    0x01: ((4, 2, 0x8103),),
    0x05: ((2, 2, 0x0071), (4, 255, -1)),  # all behind the control word: address, data, masks
    0x11: ((2, 2, 0xC000),),
    0x10: (
        (8, 4, 0x000FFFFF), (0x10, 4, 0xFFFFFFFF), (0x18, 4, 0xFFFFFFFF), (0x1C, 2, 0xFFFF),
        (0x20, 4, 0xFFFFFFFF), (0x28, 4, 0xFFFFFFFF), (0x30, 2, 0xFFFF), (0x38, 2, 0xFFFF),
    ),
}  # fmt: skip
_WRITABLE_EXTENDED: Final[dict[int, tuple[Bits, ...]]] = {
    0x01: ((4, 4, 0xFFFFFFFF), (8, 4, 0xFFFFFFFF), (12, 4, 0xFFFFFFFF), (0x10, 8, -1), (0x18, 4, 0x140),
           (0x1C, 16, -1), (0x2C, 4, 0x7), (0x30, 4, 0x7F), (0x38, 16, -1)),
    0x0D: ((6, 2, 0xFFFF),),
    0x0F: ((6, 2, 0x801F),),
    0x10: ((8, 2, 0x1F), (0x10, 2, 0xFFFF), (0x20, 32, -1)),
}  # fmt: skip
_VIRTIO_CONFIG: Final = 5  # the virtio capability through which the guest reads and writes BARs
_PM_LENGTH: Final = 8


def checked_bits(local: bytes) -> bytes:
    """The bits that must be equal, for each byte of the destination's space."""
    return _checked(bytes(local))


@lru_cache(maxsize=256)
def _checked(local: bytes) -> bytes:
    space = ConfigSpace(local)
    mask = bytearray(len(local))
    for bits in _HEADER:
        _set(mask, bits, 0)
    _bases(space, mask)
    for capability in space.capabilities:
        _capability(space, capability, mask)
    return bytes(mask)


def _set(mask: bytearray, bits: Bits, base: int, *, clear: bool = False) -> None:
    offset, size, value = bits
    for at, byte in enumerate((value % (1 << 8 * size)).to_bytes(size, "little"), base + offset):
        if at < len(mask):
            mask[at] = mask[at] & ~byte if clear else mask[at] | byte


def _bases(space: ConfigSpace, mask: bytearray) -> None:
    """Type bits of base registers; the guest writes the address."""
    for number in range(_BASES.get(space.read(0x0E, 1) & 0x7F, 0)):
        offset = 0x10 + 4 * number
        _set(mask, (offset, 1, _BAR_IO if space.read(offset, 1) & 1 else _BAR_MEMORY), 0)


def _capability(space: ConfigSpace, capability: Capability, mask: bytearray) -> None:
    start, length = capability.offset, max(capability.length, _length(space, capability))
    _set(mask, (0, length, -1), start)
    table = _WRITABLE_EXTENDED if capability.extended else _WRITABLE
    for offset, size, value in table.get(capability.id, ()):
        _set(mask, (offset, max(0, min(size, length - offset)), value), start, clear=True)
    if capability.name.startswith("Virtio") and space.read(start + 3, 1) == _VIRTIO_CONFIG:
        _set(mask, (4, 1, -1), start, clear=True)
        _set(mask, (8, 12, -1), start, clear=True)


def _length(space: ConfigSpace, capability: Capability) -> int:
    """Length by the bytes of a vendor capability, by definition of power management; 0 for others."""
    if capability.extended:
        return 0
    if capability.id == 0x09:  # noqa: PLR2004 - vendor specific: its third byte is the length
        return space.read(capability.offset + 2, 1)
    return _PM_LENGTH if capability.id == 1 else 0


def first_difference(incoming: bytes, local: bytes) -> int | None:
    """Offset of the first byte that a loader would refuse, or None."""
    mask = checked_bits(local)
    for at, (ours, theirs, bits) in enumerate(zip(incoming, local, mask, strict=False)):
        if (ours ^ theirs) & bits:
            return at
    return None

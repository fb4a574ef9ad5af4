# SPDX-License-Identifier: Apache-2.0
"""Whether an incoming config space fits: QEMU's rule, and the one of its migration document.

`masked` is what QEMU does: a bit that the guest may write or clear need not be equal. `strict` is what
`docs/devel/migration` says of the AER case ("fails when the PCI space configuration is different"): behind the header
also writable bits must be equal. Real 8.0.0 is masked, and so takes 7.2's stream although the document says that it
does not; see `docs/track-record.md`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.config import ConfigSpace

__all__ = ["Rule", "refusal"]

_HEADER: Final = 0x40  # the guest's own registers, such as base addresses, are below


class Rule(StrEnum):
    """Which bits are compared."""

    MASKED = "masked"
    STRICT = "strict"


def refusal(space: ConfigSpace, incoming: bytes, rule: Rule) -> str:
    """What QEMU prints of the first byte that does not fit, or "" when all do."""
    for at, (read, local) in enumerate(zip(incoming, space.data, strict=True)):
        if (read ^ local) & _compared(space, at, rule):
            return (
                f"get_pci_config_device: Bad config data: i=0x{at:x} read: {read:x} device: {local:x} "
                f"cmask: {space.cmask[at]:x} wmask: {space.wmask[at]:x} w1cmask:{space.w1cmask[at]:x}"
            )
    return ""


def _compared(space: ConfigSpace, at: int, rule: Rule) -> int:
    guests = space.w1cmask[at]
    if rule is Rule.MASKED or at < _HEADER:
        guests |= space.wmask[at]
    return space.cmask[at] & ~guests

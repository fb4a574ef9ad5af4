# SPDX-License-Identifier: Apache-2.0
"""The NE2000 network card on the ISA bus. QEMU: `hw/net/ne2000.c`, `hw/net/ne2000-isa.c`.

Its address is readable in the card's own memory: each byte twice, then twice 0x57.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.properties import MAC, STRING, UINT32, Property
from migmatrix.emulator.references import card_address
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import buffer, struct, uint8, uint16, uint32, unused

__all__ = ["VMSTATE_NE2000", "Ne2000Isa"]

_MEMORY_BYTES: Final = 48 * 1024
_ISR_RESET: Final = 0x80
_MAGIC: Final = b"\x57\x57"
_MAGIC_AT: Final = 14
_USUAL_MAC: Final = bytes.fromhex("525400123456")


def _old_receive(state: Any, version: int) -> None:
    if version < 2:  # noqa: PLR2004 - the first version with the receive configuration
        state.rxcr = 0x0C


VMSTATE_NE2000 = VMState(
    "ne2000",
    (
        uint8("rxcr", version=2),
        uint8("cmd"),
        uint32("start"),
        uint32("stop"),
        uint8("boundary"),
        uint8("tsr"),
        uint8("tpsr"),
        uint16("tcnt"),
        uint16("rcnt"),
        uint32("rsar"),
        uint8("rsr"),
        uint8("isr"),
        uint8("dcfg"),
        uint8("imr"),
        buffer("phys", 6),
        uint8("curpag"),
        buffer("mult", 8),
        unused(4),
        buffer("mem", _MEMORY_BYTES),
    ),
    version_id=2,
    minimum_version_id=0,
    post_load=_old_receive,
)

VMSTATE_NE2000_ISA = VMState("ne2000", (struct("ne2000", VMSTATE_NE2000),), 2, 0)


class Ne2000Isa(IsaDevice):
    """The card."""

    type_name = "ne2k_isa"
    properties = (
        Property("iobase", UINT32, 0x300),
        Property("irq", UINT32, 9),
        Property("mac", MAC),
        Property("netdev", STRING),
    )
    vmstate = VMSTATE_NE2000_ISA

    def realize(self) -> None:
        """The address is in its memory."""
        card_address(self)
        super().realize()

    def reset(self) -> None:
        """Stopped, with the address in the first 32 bytes of its memory."""
        super().reset()
        card = self.state.ne2000
        card.isr = _ISR_RESET
        card.mem = bytearray(_MEMORY_BYTES)
        prom = self.props["mac"].ljust(_MAGIC_AT, b"\0") + _MAGIC
        card.mem[: 2 * len(prom)] = bytes(byte for byte in prom for _ in range(2))

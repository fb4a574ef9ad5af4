# SPDX-License-Identifier: Apache-2.0
"""The two DMA controllers (i8257): the first for 8-bit, the second for 16-bit channels. QEMU: `hw/dma/i8257.c`."""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.properties import INT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, struct, uint8, uint16

__all__ = ["VMSTATE_DMA", "Dma"]

_ALL_MASKED: Final = 0xFF

VMSTATE_REGISTERS = VMState(
    "dma_regs",
    (
        int32("now", count=2),
        uint16("base", count=2),
        uint8("mode"),
        uint8("page"),
        uint8("pageh"),
        uint8("dack"),
        uint8("eop"),
    ),
    version_id=1,
    minimum_version_id=1,
)

VMSTATE_DMA = VMState(
    "dma",
    (
        uint8("command"),
        uint8("mask"),
        uint8("flip_flop"),
        int32("dshift"),
        struct("regs", VMSTATE_REGISTERS, count=4, version=1),
    ),
    version_id=1,
    minimum_version_id=1,
)


class Dma(IsaDevice):
    """One i8257. `dshift` is 1 for 16-bit channels: addresses and counts are in words."""

    type_name = "i8257"
    user_creatable = False
    properties = (Property("dshift", INT32, 0),)
    vmstate = VMSTATE_DMA

    def reset(self) -> None:
        """All channels masked."""
        super().reset()
        self.state.mask = _ALL_MASKED
        self.state.dshift = self.props["dshift"]

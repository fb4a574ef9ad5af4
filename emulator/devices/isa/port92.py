# SPDX-License-Identifier: Apache-2.0
"""The fast A20 gate and reset (port 92). QEMU: `hw/i386/port92.c`."""

from __future__ import annotations

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8

__all__ = ["VMSTATE_PORT92", "Port92"]

VMSTATE_PORT92 = VMState("port92", (uint8("outport"),), 1, 1)


class Port92(IsaDevice):
    """The A20 gate and reset of port 0x92."""

    type_name = "port92"
    user_creatable = False
    vmstate = VMSTATE_PORT92

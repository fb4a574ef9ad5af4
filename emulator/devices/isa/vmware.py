# SPDX-License-Identifier: Apache-2.0
"""VMware's back door: the port that guest drivers call, and the mouse behind it. QEMU: `hw/i386/vmport.c`, `vmmouse.c`."""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32_equal, uint8, uint16, uint32

__all__ = ["VMSTATE_VMMOUSE", "VmMouse", "VmPort"]

_QUEUE: Final = 1024
_STATUS_OFF: Final = 0xFFFF

VMSTATE_VMMOUSE = VMState(
    "vmmouse",
    (
        int32_equal("queue_size"),
        uint32("queue", count=_QUEUE),
        uint16("nb_queue"),
        uint16("status"),
        uint8("absolute"),
    ),
)


class VmPort(IsaDevice):
    """The port; it has no state."""

    type_name = "vmport"
    user_creatable = False


class VmMouse(IsaDevice):
    """VMware's absolute mouse, switched off until a guest driver asks for it."""

    type_name = "vmmouse"
    user_creatable = False
    vmstate = VMSTATE_VMMOUSE

    def reset(self) -> None:
        """Off, the queue empty."""
        super().reset()
        self.state.queue_size = _QUEUE
        self.state.status = _STATUS_OFF

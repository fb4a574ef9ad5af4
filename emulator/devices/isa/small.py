"""Small ISA devices: the fast A20 gate (port 92), VMware's mouse and port. QEMU: `hw/i386/port92.c`, `vmmouse.c`."""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32_equal, uint8, uint16, uint32

__all__ = ["VMSTATE_PORT92", "VMSTATE_VMMOUSE", "Port92", "VmMouse", "VmPort"]

_QUEUE: Final = 1024
_STATUS_OFF: Final = 0xFFFF

VMSTATE_PORT92 = VMState("port92", (uint8("outport"),), 1, 1)

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


class Port92(IsaDevice):
    """The A20 gate and reset of port 0x92."""

    type_name = "port92"
    user_creatable = False
    vmstate = VMSTATE_PORT92


class VmPort(IsaDevice):
    """VMware's back door port: it has no state."""

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

# SPDX-License-Identifier: Apache-2.0
"""The parallel port. QEMU: `hw/char/parallel.c`, `hw/char/parallel-isa.c`."""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.properties import STRING, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, uint8

__all__ = ["VMSTATE_PARALLEL", "Parallel"]

_DATA: Final = 0xFF
_STATUS: Final = 0xD9  # selected, not busy, no error; bit 0 is the time-out of EPP
_CONTROL: Final = 0xCC

VMSTATE_PARALLEL = VMState(
    "parallel_isa",
    (
        uint8("state.dataw"),
        uint8("state.datar"),
        uint8("state.status"),
        uint8("state.control"),
        int32("state.irq_pending"),
        int32("state.epp_timeout"),
    ),
    version_id=1,
    minimum_version_id=1,
)


class Parallel(IsaDevice):
    """A parallel port with nothing at its other end."""

    type_name = "isa-parallel"
    properties = (
        Property("index", UINT32, 2**32 - 1),
        Property("iobase", UINT32, 2**32 - 1),
        Property("irq", UINT32, 7),
        Property("chardev", STRING),
    )
    vmstate = VMSTATE_PARALLEL

    def reset(self) -> None:
        """All data lines up, ready."""
        super().reset()
        port = self.state.state
        port.dataw = port.datar = _DATA
        port.status = _STATUS
        port.control = _CONTROL

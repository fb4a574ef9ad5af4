# SPDX-License-Identifier: Apache-2.0
"""The two interrupt controllers of a PC (i8259): master, then slave. QEMU: `hw/intc/i8259_common.c`."""

from __future__ import annotations

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.state import any_set
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import uint8

__all__ = ["VMSTATE_PIC", "Pic"]

VMSTATE_PIC = VMState(
    "i8259",
    (
        uint8("last_irr"),
        uint8("irr"),
        uint8("imr"),
        uint8("isr"),
        uint8("priority_add"),
        uint8("irq_base"),
        uint8("read_reg_select"),
        uint8("poll"),
        uint8("special_mask"),
        uint8("init_state"),
        uint8("auto_eoi"),
        uint8("rotate_on_auto_eoi"),
        uint8("special_fully_nested_mode"),
        uint8("init4"),
        uint8("single_mode"),
        uint8("elcr"),
    ),
    version_id=1,
    minimum_version_id=1,
    subsections=(
        # level triggered mode of all lines (LTIM); in 10.0.2 and not in 7.2.22
        VMState("i8259/ltim", (uint8("ltim"),), 1, 1, needed=any_set("ltim"), since="8.0"),
    ),
)


class Pic(IsaDevice):
    """One i8259."""

    type_name = "isa-i8259"
    user_creatable = False
    vmstate = VMSTATE_PIC

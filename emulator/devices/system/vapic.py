# SPDX-License-Identifier: Apache-2.0
"""`kvmvapic`, section ``kvm-tpr-opt``: serves guests that set their task priority by memory accesses.

QEMU makes it with the first local APIC, under TCG too; it is all zero until a guest's option ROM has run.

Source: section ``kvm-tpr-opt`` in the VM descriptions of QEMU 5.2 to 11.1.
"""

from __future__ import annotations

from typing import Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import struct, uint32, unused

__all__ = ["Vapic"]

_HANDLERS: Final = VMState(
    "kvmvapic-handlers",
    (uint32("set_tpr"), uint32("set_tpr_eax"), uint32("get_tpr", count=8), uint32("get_tpr_stack")),
    version_id=1,
    minimum_version_id=1,
)
_SIGNATURE: Final = 8
_ROM: Final = VMState(
    "kvmvapic-guest-rom",
    (
        unused(_SIGNATURE),
        *map(
            uint32,
            (
                "vaddr",
                "fixup_start",
                "fixup_end",
                "vapic_vaddr",
                "vapic_size",
                "vcpu_shift",
                "real_tpr_addr",
            ),
        ),
        struct("up", _HANDLERS),
        struct("mp", _HANDLERS),
    ),
    version_id=1,
    minimum_version_id=1,
)


class Vapic(StatefulDevice):
    """The helper; off."""

    type_name = "kvmvapic"
    user_creatable = False
    vmstate = VMState(
        "kvm-tpr-opt",
        (
            struct("rom_state", _ROM),
            *map(uint32, ("state", "real_tpr_addr", "rom_state_vaddr", "vapic_paddr", "rom_state_paddr")),
        ),
        version_id=1,
        minimum_version_id=1,
    )

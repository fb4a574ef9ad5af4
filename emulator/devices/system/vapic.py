# SPDX-License-Identifier: Apache-2.0
"""`kvmvapic`, section ``kvm-tpr-opt``: serves guests that set their task priority by memory accesses.

QEMU makes it with the first local APIC, under TCG too; it is all zero until a guest's option ROM has run.

Source: section ``kvm-tpr-opt`` in the VM descriptions of QEMU 5.2 to 11.1.
"""

from __future__ import annotations

import errno
from typing import Any, Final

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import struct, uint32, unused

__all__ = ["Vapic"]

_HANDLERS: Final = VMState(
    "kvmvapic-handlers",
    (uint32("set_tpr"), uint32("set_tpr_eax"), uint32("get_tpr", count=8), uint32("get_tpr_stack")),
    version_id=1,
    minimum_version_id=1,
)
_SIGNATURE: Final = 8
_INACTIVE: Final = 0
_ROM_BLOCK: Final = 512
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


def _find_rom(state: Any, _version: int) -> None:
    """A helper that is on, or whose ROM is known, needs the ROM in guest memory, which tells its own size."""
    if state.state == _INACTIVE and not state.rom_state_paddr:
        return
    at, ram = (state.rom_state_paddr & -_ROM_BLOCK) + 2, state.machine.main_ram
    if at >= ram.used_length or not ram.read(at, 1)[0]:
        raise HookError("", errno.EPERM)


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
        post_load=_find_rom,
    )

    def realize(self) -> None:
        """The state knows the machine, for its memory."""
        self.state.machine = self.machine
        super().realize()

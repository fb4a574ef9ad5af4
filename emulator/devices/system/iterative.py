# SPDX-License-Identifier: Apache-2.0
"""Registers the iterative sections (RAM and its like) where a board lists this device.

QEMU registers them after its clocks and user networking and before the processors. A board that lists this device
elsewhere gets other section ids than QEMU has.
"""

from __future__ import annotations

from migmatrix.emulator.device import Device
from migmatrix.emulator.migration.sections import register_first

__all__ = ["IterativeSections"]


class IterativeSections(Device):
    """Registers the sections that `emulator.migration` sends in parts."""

    type_name = "iterative-sections"
    user_creatable = False
    in_tree = False
    description = "RAM and other sections that are sent in parts"

    def realize(self) -> None:
        """Register them now."""
        super().realize()
        machine = self.machine
        register_first(machine.registry, machine.ram_blocks, machine.release.name)

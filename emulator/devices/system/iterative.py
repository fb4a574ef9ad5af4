"""The place of the iterative sections (RAM and its like) among those of a machine; boards list it.

QEMU registers them after its clocks and user networking and before the processors: only with this in its place are
the section ids of a stream QEMU's own.
"""

from __future__ import annotations

from migmatrix.emulator.device import Device
from migmatrix.emulator.migration.sections import register_first

__all__ = ["IterativeSections"]


class IterativeSections(Device):
    """Registers what `emulator.migration` sends in parts."""

    type_name = "iterative-sections"
    user_creatable = False
    in_tree = False
    description = "RAM and other sections that are sent in parts"

    def realize(self) -> None:
        """Take the place."""
        super().realize()
        machine = self.machine
        register_first(machine.registry, machine.ram_blocks, machine.release.name)

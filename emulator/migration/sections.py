# SPDX-License-Identifier: Apache-2.0
"""The sections of migration itself, and functions that register them among those of devices.

QEMU registers block migration (up to 9.0), RAM and dirty bitmaps when it starts, right after its clocks, and the
global state last of all; so the section ids of a machine are QEMU's own. Those that are not modelled are registered
all the same and are never sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from migmatrix.emulator.migration.faults import LoadFault
from migmatrix.emulator.migration.globalstate import VMSTATE_GLOBALSTATE, GlobalState
from migmatrix.emulator.migration.handlers import IterativeDevice, register_iterative
from migmatrix.emulator.migration.ram import RamSection
from migmatrix.emulator.migration.traits import Span, Traits

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.emulator.memory import RamBlock
    from migmatrix.emulator.migration.streams import Input
    from migmatrix.vmstate.device.registry import Registry

__all__ = ["complete_sections", "find_state", "register_first", "register_last"]

_T = TypeVar("_T")
_BLOCK: Final = Span(until="9.1")


class _Absent(IterativeDevice):
    """A section that only takes its number, and is never sent."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_active(self) -> bool:
        """It is never sent."""
        return False

    def load_state(self, source: Input, version: int) -> None:
        """Nothing of it is read."""
        del source, version
        raise LoadFault(f"section '{self.name}' is not supported by this emulator")


def register_first(registry: Registry, blocks: Mapping[str, RamBlock], release: str) -> None:
    """The iterative sections, before those of devices; blocks may be added later."""
    if _BLOCK.covers(release):
        register_iterative(registry, _Absent("block"))
    register_iterative(registry, RamSection(blocks, Traits(release)))
    register_iterative(registry, _Absent("dirty-bitmap"))


def register_last(registry: Registry, release: str) -> None:
    """The global state, after the devices of the command line."""
    registry.register(VMSTATE_GLOBALSTATE[Traits(release).suspended_state], GlobalState(), instance_id=0)


def complete_sections(registry: Registry, blocks: Mapping[str, RamBlock], release: str) -> None:
    """Register what the board has not; the section ids then differ from QEMU's, which loading allows."""
    states = [entry.state for entry in registry]
    if not any(isinstance(state, RamSection) for state in states):
        register_first(registry, blocks, release)
    if not any(isinstance(state, GlobalState) for state in states):
        register_last(registry, release)


def find_state(registry: Registry, kind: type[_T]) -> _T:
    """The state of the only section whose state is of this kind."""
    return next(entry.state for entry in registry if isinstance(entry.state, kind))

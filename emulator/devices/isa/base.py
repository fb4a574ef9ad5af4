# SPDX-License-Identifier: Apache-2.0
"""What ISA devices share: state in an object of its own, all zero at first.

The state is apart from the device so that its attributes can be named as QEMU's fields are (``bus``, ``id``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.state import Part, clear
from migmatrix.vmstate.device.description import VMState

if TYPE_CHECKING:
    from migmatrix.vmstate.device.registry import Entry, LegacyHandlers

__all__ = ["IsaBridge", "IsaDevice", "StatefulDevice"]


class StatefulDevice(Device):
    """A device whose section's state is `self.state`. A class says in `reset` what is not zero then."""

    abstract = True

    def __init__(self, machine: Any, id: str = "") -> None:  # noqa: A002 - QEMU's word
        self.state = Part()
        super().__init__(machine, id)

    def describe(self) -> VMState | LegacyHandlers | None:
        """What is sent; a class whose description changed as a whole has no `vmstate` and answers by release."""
        return self.vmstate

    def realize(self) -> None:
        """Reset, then register the section."""
        self.reset()
        described = self.describe()
        if self.vmstate is None and described is not None:
            self.register(described, instance_id=self.instance_id)
        super().realize()

    def reset(self) -> None:
        """All of the described state to zero."""
        super().reset()
        described = self.describe()
        if isinstance(described, VMState):
            clear(described, self.state)

    def register(
        self,
        vmsd: VMState | LegacyHandlers,
        state: Any = None,
        *,
        path: str | None = None,
        instance_id: int | None = None,
    ) -> Entry:
        """Register a section whose state is `state`, or this device's."""
        return super().register(
            vmsd, self.state if state is None else state, path=path, instance_id=instance_id
        )


class IsaDevice(StatefulDevice):
    """A device on the ISA bus. The bus has no addresses in section names: devices of a kind are counted."""

    type_name = "isa-device"
    abstract = True
    bus = "ISA"


class IsaBridge(Device):
    """What the ISA bus of a board without PCI hangs on."""

    type_name = "isabus-bridge"
    user_creatable = False

    def init(self) -> None:
        """Offer the bus."""
        super().init()
        self.add_bus(Bus("isa.0", self, kind="ISA"))

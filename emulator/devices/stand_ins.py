# SPDX-License-Identifier: Apache-2.0
"""Devices of other architectures that the track record needs, alone: `pl011`, `arm-gicv3-its`, `s390-css`.

Their boards are not modelled. The compat tables are the same for all architectures, so a versioned pc machine
gives them the property values that their own machine of that version would. On real x86 QEMU they do not exist.
"""

from __future__ import annotations

from typing import ClassVar

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.state import clear
from migmatrix.emulator.properties import BOOL, Property
from migmatrix.vmstate.device.description import Bump, VMState
from migmatrix.vmstate.device.fields import boolean, uint32, uint64

__all__ = ["PL011", "S390CSS", "GICv3ITS"]


class StandIn(Device):
    """A device without a bus."""

    type_name = "emulator-stand-in"
    abstract = True
    vmstate: ClassVar[VMState]

    def init(self) -> None:
        """All registers are zero."""
        clear(self.vmstate, self)


class PL011(StandIn):
    """Arm's serial port. 5.2 sent its clock; the property to say no came with 6.0."""

    type_name = "pl011"
    properties = (Property("migrate-clk", BOOL, True, since="5.2.50"),)
    vmstate = VMState(
        "pl011",
        tuple(
            map(
                uint32,
                ("readbuff", "flags", "lcr", "cr", "dmacr", "int_enabled", "int_level", "ibrd", "fbrd"),
            )
        ),
        version_id=2,
        minimum_version_id=2,
        subsections=(
            VMState(
                "pl011/clock",
                (uint64("period"),),
                version_id=1,
                minimum_version_id=1,
                needed=lambda port: port.props.get("migrate-clk", True),
                since="5.1.50",
            ),
        ),
    )


class GICv3ITS(StandIn):
    """Arm's interrupt translation service. Development of 6.2 raised its version for a table that can be rebuilt."""

    type_name = "arm-gicv3-its"
    vmstate = VMState(
        "arm_gicv3_its",
        (
            *map(uint32, ("ctlr", "iidr")),
            *map(uint64, ("cbaser", "cwriter", "creadr")),
            uint64("baser", count=8),
        ),
        bumps=(Bump("6.1.50", 1, 0), Bump("6.1.91", 0, 0)),
    )


class S390CSS(StandIn):
    """The channel subsystem. From 9.1 until 10.0 a machine of 9.0 or older forgot to register it."""

    type_name = "s390-css"
    vmstate = VMState(
        "s390_css", (boolean("pending_crws"), uint32("max_cssid")), version_id=1, minimum_version_id=1
    )
    registered: ClassVar[Property] = Property(
        "registered", BOOL, True, changes=(("9.0.50", False), ("9.2.50", True))
    )

    def realize(self) -> None:
        """Register the section where the release does."""
        if self.registered.default_in(self.machine.release.name):
            super().realize()
        self.realized = True

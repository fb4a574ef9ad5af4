# SPDX-License-Identifier: Apache-2.0
"""Devices that show what the migration document explains and no common device has; for tests and for reading.

| type | shows |
|---|---|
| ``example-versioned`` | a field that came with version 2 of the description, as `ip_id` of slirp did |
| ``example-legacy`` | the legacy way: two functions over raw bytes, one of which is told the version |
| ``example-unmigratable`` | a device that blocks migration |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.devices.isa.base import StatefulDevice
from migmatrix.emulator.properties import UINT16, UINT32, Property
from migmatrix.vmstate.device.description import Bump, VMState
from migmatrix.vmstate.device.fields import uint16, uint32
from migmatrix.vmstate.device.registry import LegacyHandlers

if TYPE_CHECKING:
    from migmatrix.vmstate.device.protocols import Reading, Writing

__all__ = ["ExampleLegacy", "ExampleUnmigratable", "ExampleVersioned"]


class ExampleVersioned(StatefulDevice):
    """A counter since ever, and an id that version 2 added in release 7.0: new releases read old streams, not back."""

    type_name = "example-versioned"
    description = "example: a field with a version"
    properties = (Property("counter", UINT32, 0), Property("ip-id", UINT16, 0, since="7.0"))
    vmstate = VMState(
        "example-versioned",
        (uint32("counter"), uint16("ip_id", version=2, since="7.0")),
        version_id=1,
        minimum_version_id=1,
        bumps=(Bump("7.0", 2, 1),),
    )

    def reset(self) -> None:
        """What the command line says."""
        super().reset()
        self.state.counter = self.props["counter"]
        self.state.ip_id = self.props.get("ip-id", 0)


def _save(writing: Writing, state: Any) -> None:
    writing.number(state.level, 4)
    writing.number(state.limit, 4)


def _load(reading: Reading, state: Any, version: int) -> None:
    """Version 1 had no limit."""
    state.level = reading.number(4)
    state.limit = reading.number(4) if version > 1 else state.level


class ExampleLegacy(StatefulDevice):
    """A level and its limit; the functions are all there is."""

    type_name = "example-legacy"
    description = "example: a device without a description of its state"
    properties = (Property("level", UINT32, 0), Property("limit", UINT32, 100))
    vmstate = LegacyHandlers("example-legacy", 2, _save, _load)

    def reset(self) -> None:
        """What the command line says."""
        super().reset()
        self.state.level = self.props["level"]
        self.state.limit = self.props["limit"]


class ExampleUnmigratable(StatefulDevice):
    """A device that cannot be migrated: the source refuses before it sends a byte."""

    type_name = "example-unmigratable"
    description = "example: a device that blocks migration"
    vmstate = VMState("example-unmigratable", unmigratable="example-unmigratable")

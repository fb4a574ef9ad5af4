# SPDX-License-Identifier: Apache-2.0
"""Properties of the `migration` object, by which machine types and ``-global`` set capabilities and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.errors import DeviceError, FatalError, QmpError
from migmatrix.emulator.migration.savestate import Framing
from migmatrix.emulator.migration.settings import Settings
from migmatrix.vmstate.device.interpret import style_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.migration.traits import Traits

__all__ = ["OBJECT", "check_properties", "framing_of", "settings_of"]

# a device type: a release finds its class by this name, as it does for any device
OBJECT: Final = "migration"


def check_properties(machine: Machine) -> None:
    """FatalError for properties of the `migration` object that are unknown or do not go together, as at QEMU's start."""
    try:
        settings_of(machine.new(OBJECT))
    except (DeviceError, QmpError) as why:
        raise FatalError(str(why)) from why


def settings_of(says: Device) -> Settings:
    """Capabilities and parameters as compat entries and `-global` set them on the `migration` object; QmpError."""
    settings = Settings(says.machine.release)
    settings.dirty_ring = says.machine.options.ring_size > 0
    switched = _values(says, settings.capabilities)
    settings.set_capabilities([{"capability": name, "state": state} for name, state in switched.items()])
    given = _values(says, settings.parameters)
    settings.set_parameters({name: v for name, v in given.items() if v != settings.parameters[name]})
    return settings


def _values(says: Device, names: Iterable[str]) -> dict[str, Any]:
    """Values by capability or parameter name: the property has this name, or ``x-`` before it."""
    found = {name: says.props.get(name, says.props.get(f"x-{name}")) for name in names}
    return {name: value for name, value in found.items() if value is not None}


def framing_of(says: Device, traits: Traits) -> Framing:
    """How streams of this release and machine type are framed."""
    properties, said = says.props, says.machine.props
    return Framing(
        style=style_of(traits.release),
        configuration=properties["send-configuration"],
        footers=properties["send-section-footer"],
        switchover_start=properties.get("send-switchover-start", False),
        description=said is None or not said.suppress_vmdesc,
        describes_configuration=traits.described_configuration,
        spaced=traits.spaced_description,
    )

# SPDX-License-Identifier: Apache-2.0
"""`info qtree`: buses, devices and properties as QEMU prints them, without what this emulator does not model.

That is wires (gpio), addresses in memory (mmio, bar) and devices without a bus. Form: real 7.2.22, 10.0.13 and 11.1.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.device import declared
from migmatrix.emulator.devices.pci.device import PCIDevice
from migmatrix.emulator.properties import PCI_DEVFN
from migmatrix.emulator.qmp.words import size_words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from migmatrix.emulator.bus import Bus
    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.properties import Property

__all__ = ["device_tree"]

_CLASSES: Final = {
    0x0100: "SCSI controller", 0x0101: "IDE controller", 0x0106: "SATA controller", 0x0108: "NVMe controller",
    0x0200: "Ethernet controller", 0x0300: "VGA controller", 0x0380: "Display controller",
    0x0403: "Audio controller", 0x0500: "RAM controller", 0x0600: "Host bridge", 0x0601: "ISA bridge",
    0x0604: "PCI bridge", 0x0680: "Bridge", 0x0780: "Communication controller", 0x0C03: "USB controller",
    0x0C05: "SMBus",
}  # fmt: skip


def device_tree(machine: Machine) -> list[str]:
    """Lines of `info qtree`."""
    roots = [
        d for d in machine.devices if d.parent_bus is None and d.in_tree and not d.type_name.endswith("-cpu")
    ]
    return list(_bus(machine.buses[0], reversed(roots), 0))


def _bus(bus: Bus, devices: Iterable[Device], indent: int) -> Iterator[str]:
    """The newest device comes first."""
    yield f"{' ' * indent}bus: {bus.name}"
    yield f"{' ' * indent}  type {bus.type}"
    for device in devices:
        yield from _device(device, indent + 2)


def _device(device: Device, indent: int) -> Iterator[str]:
    yield f'{" " * indent}dev: {device.type_name}, id "{device.id}"'
    inner = " " * (indent + 2)
    for name, prop in _ordered(device):
        yield f"{inner}{name} = {_value(prop, device.props[name])}"
    if isinstance(device, PCIDevice):
        yield f"{inner}{_pci(device)}"
    for bus in device.buses:
        yield from _bus(bus, reversed(bus.devices), indent + 2)


def _ordered(device: Device) -> Iterator[tuple[str, Property]]:
    """Properties of the class itself first, then those of its parents."""
    known = declared(type(device), device.machine)
    seen: set[str] = set()
    for base in type(device).__mro__:
        for prop in base.__dict__.get("properties", ()):
            shown = prop.name in device.props and not prop.help.startswith("emulator only")
            if shown and prop.name in known and prop.name not in seen:
                seen.add(prop.name)
                yield prop.name, known[prop.name]


def _value(prop: Property, value: Any) -> str:
    shown = prop.kind.show(value)
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if isinstance(shown, int):
        return f"{shown} ({size_words(shown) if prop.kind.name == 'size' else hex(shown % 2**64)})"
    return str(shown) if prop.name == "addr" else f'"{shown or ""}"'


def _pci(device: PCIDevice) -> str:
    space = device.space
    number = space.read(0x0A, 2)
    kind = _CLASSES.get(number, f"Class {number:04x}")
    slot = PCI_DEVFN.show(device.props["addr"])
    ids = f"{space.read(0, 2):04x}:{space.read(2, 2):04x}"
    header = space.read(0x0E, 1) & 0x7F  # a bridge has no subsystem there
    sub = (0, 0) if header else (space.read(0x2C, 2), space.read(0x2E, 2))
    return f"class {kind}, addr 00:{slot}, pci id {ids} (sub {sub[0]:04x}:{sub[1]:04x})"

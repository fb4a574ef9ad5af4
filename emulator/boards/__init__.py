# SPDX-License-Identifier: Apache-2.0
"""Boards: make the parts of a machine type from data (``machines/boards.yaml``), in the order of the data.

`populate` makes memory and the board's own devices. `complete` makes what needs all devices: ACPI tables and similar
RAM blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.errors import DeviceError, FatalError

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine

__all__ = ["complete", "cpu_type", "populate"]


def populate(machine: Machine) -> None:
    """RAM blocks and devices of the board; FatalError."""
    board = machine.release.boards[machine.type.board]
    _blocks(machine, board["ram"])
    try:
        _devices(machine, board["devices"])
    except DeviceError as why:
        raise FatalError(str(why)) from why


def complete(machine: Machine) -> None:
    """Make the RAM blocks that firmware reads; their size depends on the finished machine."""
    board = machine.release.boards[machine.type.board]
    _blocks(machine, board["firmware"])
    sizes = tuple(entry.get("told", entry["size"]) for entry in board["firmware"])
    for device in machine.devices:
        device.machine_done(sizes)
    _devices(machine, board.get("last", []))


def _blocks(machine: Machine, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        size = machine.options.memory_bytes if entry["size"] == "memory" else entry["size"]
        if size:
            machine.add_ram(entry["name"], size, max_size=entry.get("max"))


def _wanted(machine: Machine, entry: dict[str, Any]) -> bool:
    """Optional parts are there without `-nodefaults`; the network also not when the user says something of networks."""
    part = entry.get("part", "")
    return not part or (_default_network(machine) if part == "net" else not machine.options.nodefaults)


def _default_network(machine: Machine) -> bool:
    options = machine.options
    return options.nic and not options.nodefaults and not options.of("netdev")


def _count(machine: Machine, entry: dict[str, Any]) -> int:
    """The number of devices that an entry makes: fixed, one for each processor, or one for each user network."""
    count = entry.get("count", 1)
    if count == "cpus":
        return machine.smp.cpus
    if count == "networks":
        given = sum(backend.kind == "user" for backend in machine.options.of("netdev"))
        return given + _default_network(machine)
    return int(count)


def _devices(machine: Machine, entries: list[dict[str, Any]], outer: Device | None = None) -> None:
    for entry in entries:
        if _wanted(machine, entry):
            for _ in range(_count(machine, entry)):
                _make(machine, entry, outer)
                _devices(machine, entry.get("then", []))


def _make(machine: Machine, entry: dict[str, Any], outer: Device | None) -> None:
    """Make one device. Parts `inside` it register their sections before it, as parts made in QEMU's `realize` do."""
    device = machine.new(_type(machine, entry), entry.get("id", ""))
    device.tree_path = _tree_path(entry.get("qom", ""), outer)
    for name, value in entry.get("props", {}).items():
        device.set(name, value)
    if "offers" in entry:
        device.add_bus(Bus(entry["offers"]["name"], device, kind=entry["offers"]["kind"]))
    machine.attach(device, entry.get("bus", ""), entry.get("addr", ""))
    machine.number(device)
    _devices(machine, entry.get("inside", []), device)
    machine.realize(device)


def _tree_path(name: str, outer: Device | None) -> str:
    """The path in the object tree that an entry names: a whole one, or a name below the device it is inside."""
    return name if outer is None or not name or name[0] == "/" else f"{outer.qom_path}/{name}"


def _type(machine: Machine, entry: dict[str, Any]) -> str:
    """The type of an entry; ``cpu`` stands for the type that `cpu_type` finds."""
    name: str = entry["type"]
    return cpu_type(machine) if name == "cpu" else name


def cpu_type(machine: Machine) -> str:
    """The CPU's type by `-cpu` or the machine type; FatalError if the release has no such type."""
    model = machine.options.cpu.partition(",")[0]
    name = f"{model}-x86_64-cpu" if model else machine.type.default_cpu
    if machine.release.device_class(name) is None:
        raise FatalError(f"unable to find CPU model '{model}'")
    return name

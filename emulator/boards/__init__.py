"""Boards: what a machine type consists of, made from data (``machines/boards.yaml``) in the order of the data.

`populate` makes memory and the board's own devices, `complete` what exists only when all devices do: the ACPI tables
and their like, which are RAM blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emulator.bus import Bus
from emulator.errors import DeviceError, FatalError

if TYPE_CHECKING:
    from emulator.machine import Machine

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
    """The blocks that firmware reads, whose size depends on what the machine has."""
    _blocks(machine, machine.release.boards[machine.type.board]["firmware"])


def _blocks(machine: Machine, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        size = machine.options.memory_bytes if entry["size"] == "memory" else entry["size"]
        if size:
            machine.add_ram(entry["name"], size, max_size=entry.get("max"))


def _wanted(machine: Machine, entry: dict[str, Any]) -> bool:
    """Optional parts are there without `-nodefaults`."""
    return "part" not in entry or not machine.options.nodefaults


def _count(machine: Machine, entry: dict[str, Any]) -> int:
    return max(machine.options.smp.cpus, 1) if entry.get("count") == "cpus" else 1


def _devices(machine: Machine, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        if _wanted(machine, entry):
            for _ in range(_count(machine, entry)):
                _make(machine, entry)
                _devices(machine, entry.get("then", []))


def _make(machine: Machine, entry: dict[str, Any]) -> None:
    """One device; what is `inside` it comes before its own section, as parts made in QEMU's `realize` do."""
    device = machine.new(_type(machine, entry), entry.get("id", ""))
    for name, value in entry.get("props", {}).items():
        device.set(name, value)
    if "offers" in entry:
        device.add_bus(Bus(entry["offers"]["name"], device, kind=entry["offers"]["kind"]))
    machine.place(device, entry.get("bus", ""), entry.get("addr", ""))
    _devices(machine, entry.get("inside", []))
    machine.realize(device)


def _type(machine: Machine, entry: dict[str, Any]) -> str:
    """The type of an entry; ``cpu`` stands for the one that was asked for."""
    name: str = entry["type"]
    return cpu_type(machine) if name == "cpu" else name


def cpu_type(machine: Machine) -> str:
    """The CPU's type by `-cpu` or the machine type; FatalError when there is none such."""
    model = machine.options.cpu.partition(",")[0]
    name = f"{model}-x86_64-cpu" if model else machine.type.default_cpu
    if machine.release.device_class(name) is None:
        raise FatalError(f"unable to find CPU model '{model}'")
    return name

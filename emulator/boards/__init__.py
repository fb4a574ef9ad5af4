# SPDX-License-Identifier: Apache-2.0
"""Boards: make the parts of a machine type from data (``machines/boards.yaml``), in the order of the data.

`populate` makes memory and the board's own devices. `complete` makes what needs all devices: ACPI tables and similar
RAM blocks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.errors import DeviceError, FatalError
from migmatrix.emulator.firmware import bios_size, fill_bios
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock

__all__ = ["complete", "cpu_type", "early_warnings", "populate"]

_BIOS = "pc.bios"
_LINES = ("serial", "parallel")  # ports that `-serial` and `-parallel` ask for
_MOST_PORTS = 4  # QEMU's PCs make no more serial ports, and say nothing; a fourth parallel port is refused


def early_warnings(machine: Machine) -> Iterator[str]:
    """The warnings that QEMU prints before it makes the board."""
    release = machine.release.name
    if machine.options.smp.zero and lives("6.2", "", release):
        yield "warning: Deprecated CPU topology (considered invalid): CPU topology parameters must be greater than zero"
    if machine.options.vga not in ("", "none") and machine.type.board == "none" and lives("7.0", "", release):
        yield (  # (by 7.2)
            "warning: A -vga option was passed but this machine type does not use that option; "
            "No VGA device has been created"
        )
    if machine.type.deprecated:
        yield text(release, "machine-deprecated", name=machine.type.name, reason=machine.type.deprecated)


def populate(machine: Machine) -> None:
    """RAM blocks and devices of the board; FatalError."""
    _check_credentials(machine)
    board = machine.release.boards[machine.type.board]
    _blocks(machine, board["ram"])
    _check_vga(machine, board["devices"])
    try:
        _devices(machine, board["devices"])
    except DeviceError as why:
        raise FatalError(str(why)) from why


def _check_credentials(machine: Machine) -> None:
    """FatalError for TLS credentials, and for who may connect, that cannot be; few machines have some."""
    objects = machine.options.of("object")
    if any(each.kind.startswith(("tls-creds-", "authz-")) for each in objects):
        from migmatrix.emulator.migration.credentials import check_credentials  # noqa: PLC0415 - as few starts as may be

        check_credentials(objects, machine.release.name)


def _check_vga(machine: Machine, entries: list[dict[str, Any]]) -> None:
    """A board without a card of its own takes no notice of `-vga`; FatalError for a card that the emulator does not have."""
    wanted = machine.options.vga
    if wanted in ("", "none"):
        return
    cards = [entry["type"] for entry in entries if entry.get("part") == "vga"]
    if cards and (wanted != "std" or "VGA" not in cards):
        raise FatalError(
            f"-vga {wanted}: the emulator's {machine.type.name} has no such card of its own; use -device"
        )


def complete(machine: Machine) -> None:
    """Make the RAM blocks that firmware reads; their size depends on the finished machine."""
    board = machine.release.boards[machine.type.board]
    tables = [entry for entry in board["firmware"] if _switched_on(machine, entry)]
    _blocks(machine, tables)
    sizes = tuple(entry.get("told", entry["size"]) for entry in tables)
    for device in machine.devices:
        device.machine_done(sizes)
    _devices(machine, board.get("last", []))


def _blocks(machine: Machine, entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        name, size, page_size = entry["name"], entry["size"], 0
        if size == "memory":
            name, size, page_size = _main_memory(machine, name)
        if name == _BIOS:
            fill_bios(machine, machine.add_ram(name, bios_size(machine, size)))
        elif size:
            block = machine.add_ram(name, size, max_size=entry.get("max"), page_size=page_size)
            if entry["size"] == "memory":
                _map_file(machine, block)


def _map_file(machine: Machine, block: RamBlock) -> None:
    """Memory in a file, if the user has a backend with one."""
    if machine.props is not None and machine.props.memory_backend:
        from migmatrix.emulator.boards.backends import map_file  # noqa: PLC0415 - few starts have one

        map_file(machine, machine.props.memory_backend, block)


def _main_memory(machine: Machine, name: str) -> tuple[str, int, int]:
    """Name and size of the guest's memory, and of its pages; a backend of the user's gives its block another name."""
    size = machine.memory_bytes
    if machine.props is None or not machine.props.memory_backend:
        return name, size, 0
    from migmatrix.emulator.boards.backends import memory_backend  # noqa: PLC0415 - few starts have one

    name, page_size = memory_backend(machine, machine.props.memory_backend, size)
    return name, size, page_size


def _switched_on(machine: Machine, entry: dict[str, Any]) -> bool:
    """Whether no property of the machine leaves this part out."""
    off = machine.props.off if machine.props is not None else ()
    return not off or not any(name in off for name in entry.get("switch", ()))


def _wanted(machine: Machine, entry: dict[str, Any]) -> bool:
    """Optional parts are there without `-nodefaults`; the network also not when the user says something of networks."""
    if not _switched_on(machine, entry):
        return False
    part = entry.get("part", "")
    if part in _LINES and getattr(machine.options, part):
        return True  # as many as were given, see `_count`
    if part == "vga" and machine.options.vga:
        return machine.options.vga == "std"
    return not part or (_default_network(machine) if part == "net" else not machine.options.nodefaults)


def _default_network(machine: Machine) -> bool:
    options = machine.options
    return options.nic and not options.nodefaults and not options.of("netdev")


def _count(machine: Machine, entry: dict[str, Any]) -> int:
    """The number of devices that an entry makes: fixed, one for each processor, user network, or `-serial`."""
    count = entry.get("count", 1)
    if entry.get("part") in _LINES and (given := getattr(machine.options, entry["part"])):
        return min(sum(map(bool, given)), _MOST_PORTS)
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

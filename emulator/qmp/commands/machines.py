# SPDX-License-Identifier: Apache-2.0
"""What the release offers (machine types, processors) and what this machine has (processors, memory, disks)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from migmatrix.emulator.errors import QmpError
from migmatrix.emulator.options.keyvalue import size
from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import ANY, BOOL, STR, Enum, Member, Struct, generic
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.release import MachineType, Release

__all__: list[str] = []

_MODEL = Struct("CpuModelInfo", Member("name", STR), Member("props", ANY, optional=True))
_EXPANSION = Enum("CpuModelExpansionType", "static", "full")


@command("query-machines", Member("compat-props", BOOL, optional=True, since="9.1"))
def query_machines(call: Call, arguments: Arguments) -> Any:
    """All machine types; with `compat-props` the entries that apply to each, first applied first."""
    release = call.machine.release
    rows = []
    for machine in release.machine_types.values():
        row = _machine_row(machine, call.release)
        if arguments.get("compat-props"):
            row["compat-props"] = _compat_rows(release, machine)
        rows.append(row)
    return rows


def _machine_row(machine: MachineType, release: str) -> dict[str, Any]:
    row: dict[str, Any] = {
        "hotpluggable-cpus": machine.hotpluggable_cpus,
        "name": machine.name,
        "numa-mem-supported": machine.numa_mem_supported,
        "cpu-max": machine.max_cpus,
        "deprecated": bool(machine.deprecated),
    }
    if machine.default_cpu:
        row["default-cpu-type"] = machine.default_cpu
    if machine.default_ram_id:
        row["default-ram-id"] = machine.default_ram_id
    if lives("8.2", "", release):
        row["acpi"] = machine.acpi
    if machine.alias:
        row["alias"] = machine.alias
    if machine.default:
        row["is-default"] = True
    return row


def _compat_rows(release: Release, machine: MachineType) -> list[dict[str, str]]:
    entries = release.compat_entries(machine)
    return [{"qom-type": e.device, "property": e.property, "value": e.value} for e in entries]


@command("query-cpu-definitions")
def query_cpu_definitions(call: Call, _: Arguments) -> Any:
    """The processor models."""
    suffix = "-x86_64-cpu"
    types = [name for name in call.machine.release.devices if name.endswith(suffix)]
    return [
        {
            "name": name.removesuffix(suffix),
            "typename": name,
            "unavailable-features": [],
            "static": False,
            "migration-safe": True,
            "deprecated": False,
        }
        for name in types
    ]


@command("query-cpu-model-expansion", Member("type", _EXPANSION), Member("model", _MODEL))
def query_cpu_model_expansion(call: Call, arguments: Arguments) -> Any:
    """The properties of a processor model as this machine would make it."""
    from migmatrix.emulator.errors import DeviceError  # noqa: PLC0415 - with the machine, which is there

    name = arguments["model"]["name"]
    try:
        cpu = call.machine.new(f"{name}-x86_64-cpu")
    except DeviceError as err:
        raise generic(f"The CPU definition '{name}' is unknown") from err
    wanted = arguments["model"].get("props", {})
    props = {prop: cpu.get(prop) for prop in cpu.props}
    return {"model": {"name": name, "props": {**props, **wanted}}}


def _cpus(call: Call) -> list[Any]:
    return [device for device in call.machine.walk() if device.type_name.endswith("-x86_64-cpu")]


@command("query-cpus-fast")
def query_cpus_fast(call: Call, _: Arguments) -> Any:
    """The processors; all of them are this one thread."""
    rows = []
    for index, cpu in enumerate(_cpus(call)):
        row = {
            **({"arch": "x86"} if lives("", "6.0", call.release) else {}),
            "thread-id": os.getpid(),
            **({"qom-type": cpu.type_name} if lives("10.1", "", call.release) else {}),
            "props": _place_of(index, call),
            "qom-path": cpu.qom_path,
            "cpu-index": index,
            "target": "x86_64",
        }
        rows.append(row)
    return rows


def _place_of(index: int, call: Call) -> dict[str, int]:
    cores, threads = call.machine.smp.cores, call.machine.smp.threads
    return {
        "core-id": index // threads % cores,
        "thread-id": index % threads,
        "socket-id": index // (cores * threads),
    }


@command("query-hotpluggable-cpus")
def query_hotpluggable_cpus(call: Call, _: Arguments) -> Any:
    """The processors that are there; none can be added."""
    if not call.machine.type.hotpluggable_cpus and not _cpus(call):
        raise generic("machine does not support hot-plugging CPUs")
    return [
        {"props": _place_of(n, call), "vcpus-count": 1, "qom-path": cpu.qom_path, "type": cpu.type_name}
        for n, cpu in enumerate(_cpus(call))
    ]


@command("query-memory-size-summary")
def query_memory_size_summary(call: Call, _: Arguments) -> Any:
    """Guest RAM in bytes."""
    return {"base-memory": call.machine.memory_bytes, "plugged-memory": 0}


@command("query-memory-devices")
def query_memory_devices(_: Call, __: Arguments) -> Any:
    """None."""
    return []


@command("query-memdev")
def query_memdev(call: Call, _: Arguments) -> Any:
    """Memory backends: the board's own RAM, and those of -object."""
    machine = call.machine
    named = {
        b.id: dict(b.props).get("size", "0") for b in machine.options.of("object") if "memory-" in b.kind
    }
    own = {machine.type.default_ram_id: machine.memory_bytes} if machine.ram_blocks else {}
    rows = {**own, **{name: size("size", given) for name, given in named.items()}}
    extra = {"share": False, "reserve": True} if lives("6.1", "", call.release) else {}
    fixed = {"prealloc": False, "host-nodes": [], "merge": True, "dump": True, "policy": "default"}
    return [{**extra, **fixed, "size": amount, "id": name} for name, amount in rows.items()]


@command("query-balloon")
def query_balloon(call: Call, _: Arguments) -> Any:
    """How much memory the guest has left, if it has a balloon."""
    if not any(device.type_name.startswith("virtio-balloon") for device in call.machine.walk()):
        raise QmpError("DeviceNotActive", "No balloon device has been activated")
    return {"actual": call.machine.memory_bytes}


@command("query-rx-filter", Member("name", STR, optional=True))
def query_rx_filter(_: Call, __: Arguments) -> Any:
    """No network card here filters."""
    return []


@command("query-block", Member("flat", BOOL, optional=True, since="11.1"))
def query_block(_: Call, __: Arguments) -> Any:
    """The emulator has no disk images."""
    return []


@command("query-iothreads")
def query_iothreads(_: Call, __: Arguments) -> Any:
    """None."""
    return []


@command("query-pci")
def query_pci(call: Call, _: Arguments) -> Any:
    """Functions on PCI buses, read from their configuration space."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for device in call.machine.walk():
        config = getattr(device, "config", None)
        found = _location(device.path)
        if config is not None and found is not None:
            rows.setdefault(found[0], []).append(_function_row(device.id, found, bytes(config)))
    return [{"bus": bus, "devices": devices} for bus, devices in rows.items()]


def _location(path: str) -> tuple[int, int, int] | None:
    """(bus, slot, function) of ``0000:00:03.0``."""
    parts = path.rpartition("/")[2].replace(".", ":").split(":")
    if len(parts) != 4:  # noqa: PLR2004 - domain, bus, slot, function
        return None
    return int(parts[1], 16), int(parts[2], 16), int(parts[3], 16)


def _function_row(name: str, address: tuple[int, int, int], config: bytes) -> dict[str, Any]:
    def word(at: int) -> int:
        return int.from_bytes(config[at : at + 2], "little")

    return {
        "irq_pin": config[0x3D],
        "bus": address[0],
        "qdev_id": name,
        "slot": address[1],
        "class_info": {"class": word(0x0A)},
        "id": {
            "device": word(2),
            "vendor": word(0),
            "subsystem": word(0x2E),
            "subsystem-vendor": word(0x2C),
        },
        "function": address[2],
        "regions": [],
    }

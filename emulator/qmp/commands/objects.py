# SPDX-License-Identifier: Apache-2.0
"""The object tree and devices: qom-*, device-*, device_add, device_del."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.emulator.device import Device, ancestors, listed
from migmatrix.emulator.errors import DeviceError, PropertyError, QmpError
from migmatrix.emulator.options.keyvalue import json_items
from migmatrix.emulator.options.memorytypes import memory_backends, memory_properties
from migmatrix.emulator.options.records import DeviceOption
from migmatrix.emulator.properties import Form
from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import ANY, BOOL, STR, Member, generic
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.properties import Property

__all__ = ["plug"]

_CONTAINERS = ("/machine/peripheral", "/machine/peripheral-anon", "/machine/unattached")


def _not_found(what: str) -> QmpError:
    return QmpError("DeviceNotFound", f"Device '{what}' not found")


def _type(machine: Machine, name: str) -> type[Device] | None:
    """A type by its name, abstract ones too: those are the ancestors of types that the release has."""
    if (found := machine.release.device_class(name)) is not None:
        return found
    for cls in _all_types(machine):
        for base in cls.__mro__:
            if base.__dict__.get("type_name") == name and issubclass(base, Device):
                return base
    return None


def _all_types(machine: Machine) -> list[type[Device]]:
    found = [machine.release.device_class(name) for name in machine.release.devices]
    return [cls for cls in found if cls is not None]


@command("qom-list-types", Member("implements", STR, optional=True), Member("abstract", BOOL, optional=True))
def qom_list_types(call: Call, arguments: Arguments) -> Any:
    """Types of devices, those that derive from `implements`; abstract ones if wanted. Of other objects a few."""
    wanted = arguments.get("implements", "device")
    found: dict[str, type[Device]] = {}
    for cls in _all_types(call.machine):
        bases = cls.__mro__ if arguments.get("abstract") else (cls,)
        for base in bases:
            if base.__dict__.get("abstract") and not arguments.get("abstract"):
                continue
            if issubclass(base, Device) and wanted in ancestors(base) | {"object"}:
                found[base.type_name] = base
    others = [] if "implements" in arguments and wanted != "object" else _other_types(call.release)
    return [_type_row(name, cls) for name, cls in found.items()] + others


def _other_types(release: str) -> list[dict[str, Any]]:
    """By these a client knows that it need not have KVM, and what memory may come from."""
    backends = [{"name": name, "parent": "memory-backend"} for name in memory_backends(release)]
    return [{"name": "tcg-accel", "parent": "accel"}, *backends]


def _type_row(name: str, cls: type[Device]) -> dict[str, Any]:
    parents = [base.__dict__["type_name"] for base in cls.__mro__[1:] if "type_name" in base.__dict__]
    row: dict[str, Any] = {"name": name, **({"parent": parents[0]} if parents else {})}
    return {**row, "abstract": True} if cls.abstract else row


@command("device-list-properties", Member("typename", STR))
def device_list_properties(call: Call, arguments: Arguments) -> Any:
    """Properties of a device type with the type's own defaults."""
    name = arguments["typename"]
    cls = _type(call.machine, name)
    if cls is None:
        machine_type = name.removesuffix("-machine")
        if call.machine.release.machine_type(machine_type) is not None:
            raise generic(text(call.release, "not-device"))
        raise _not_found(name)
    if cls.abstract:
        raise generic(text(call.release, "abstract"))
    return [_property_row(prop, call.release) for prop in listed(cls, call.machine).values()]


@command("qom-list-properties", Member("typename", STR))
def qom_list_properties(call: Call, arguments: Arguments) -> Any:
    """As device-list-properties, of any type, with what every device has; also of machine types and memory backends."""
    name = arguments["typename"].removesuffix("-machine")
    if name != arguments["typename"] and name in call.machine.release.machine_types:
        from migmatrix.emulator.options.machineprops import machine_properties  # noqa: PLC0415 - few clients ask

        return machine_properties(name, call.release)
    if (backend := memory_properties(arguments["typename"], call.release)) is not None:
        return backend
    cls = _type(call.machine, arguments["typename"])
    if cls is None:
        raise QmpError("DeviceNotFound", f"Class '{arguments['typename']}' not found")
    own = [_property_row(prop, call.release) for prop in listed(cls, call.machine).values()]
    return [{"name": "type", "type": "string"}, {"name": "realized", "type": "bool"}, *own]


def _property_row(prop: Property, release: str) -> dict[str, Any]:
    row: dict[str, Any] = {"name": prop.name, "type": prop.kind.name}
    default = prop.default_in(release)
    if default is not None:
        row["default-value"] = prop.kind.show(default)
    return {**row, "description": prop.help} if prop.help else row


@command("qom-list", Member("path", STR))
def qom_list(call: Call, arguments: Arguments) -> Any:
    """List what is below a path: the root, the machine, its containers, or a device."""
    path = arguments["path"].rstrip("/") or "/"
    rows = _containers(call.machine).get(path)
    if rows is None:
        device = call.machine.find(path)
        if device is None:
            raise _not_found(arguments["path"])
        rows = [(name, owner.kind.name) for name, owner in listed(type(device), call.machine).items()]
        rows += [(c.id or c.type_name, f"child<{c.type_name}>") for c in device.children]
    return [{"name": "type", "type": "string"}, *({"name": n, "type": kind} for n, kind in rows)]


def _containers(machine: Machine) -> dict[str, list[tuple[str, str]]]:
    """Paths that are no devices, with what they hold."""
    box = "child<container>"
    held: dict[str, list[tuple[str, str]]] = {path: [] for path in _CONTAINERS}
    for device in machine.walk():
        parent, _, name = device.qom_path.rpartition("/")
        if parent in held:
            held[parent].append((name, f"child<{device.type_name}>"))
    kinds = [(path.rpartition("/")[2], box) for path in _CONTAINERS]
    props = [(name, "string") for name, _ in machine.options.machine_props]
    return {
        "/": [("objects", box), ("machine", f"child<{machine.type.name}-machine>"), ("chardevs", box)],
        "/machine": [*props, *kinds],
        "/objects": [(b.id, f"child<{b.kind}>") for b in machine.options.of("object")],
        "/chardevs": [(c.id, f"child<chardev-{c.kind}>") for c in machine.options.chardevs],
        **held,
    }


@command("qom-get", Member("path", STR), Member("property", STR))
def qom_get(call: Call, arguments: Arguments) -> Any:
    """The value of a property of a device, or what the machine says of itself."""
    path, name = arguments["path"], arguments["property"]
    if path in ("/machine", "machine"):
        return _machine_property(call.machine, name)
    device = call.machine.find(path)
    if device is None:
        raise _not_found(path)
    if name == "type":
        return device.type_name
    if name == "realized":
        return device.realized
    try:
        return device.get(name)
    except PropertyError as err:
        raise generic(str(err)) from err


def _machine_property(machine: Machine, name: str) -> Any:
    kind = f"{machine.type.name}-machine"
    if name == "type":
        return kind
    given = dict(machine.options.machine_props)
    if name not in given:
        raise generic(f"Property '{kind}.{name}' not found")
    return given[name]


@command("qom-set", Member("path", STR), Member("property", STR), Member("value", ANY))
def qom_set(call: Call, arguments: Arguments) -> Any:
    """Set a property; of a device that is realized this fails, as in QEMU."""
    path, name = arguments["path"], arguments["property"]
    device = call.machine.find(path)
    if device is None and path not in ("/machine", "machine"):
        raise _not_found(path)
    if device is None:
        raise generic(f"Property '{call.machine.type.name}-machine.{name}' not found")
    try:
        device.set(name, arguments["value"], Form.JSON)
    except PropertyError as err:
        raise generic(str(err)) from err
    return {}


@command(
    "device_add",
    Member("driver", ANY, optional=True),
    Member("bus", ANY, optional=True),
    Member("id", ANY, optional=True),
    open_=True,
)
def device_add(call: Call, arguments: Arguments) -> Any:
    """Plug a device; further arguments are its properties: typed since 9.2, until then as on the command line."""
    typed = lives("9.2", "", call.release)
    given = dict(arguments) if typed else dict(json_items(arguments))
    plug(call.machine, given, Form.JSON if typed else Form.of_device_option(call.release))
    return {}


def plug(machine: Machine, given: dict[str, Any], form: Form) -> None:
    """`device_add` of QMP and of HMP: `given` is the driver and properties, as `form` has them; QmpError."""
    driver = given.pop("driver", None)
    if not isinstance(driver, str):
        raise generic("Parameter 'driver' is missing")
    name, bus, addr = given.pop("id", ""), given.pop("bus", ""), str(given.pop("addr", ""))
    if machine.migrating:
        raise generic("device_add not allowed while migrating")
    try:
        machine.add(DeviceOption(driver, name, bus, addr, tuple(given.items())), form)
    except DeviceError as err:
        raise generic(str(err)) from err  # also for what `device_del` would call DeviceNotFound


@command("device_del", Member("id", STR))
def device_del(call: Call, arguments: Arguments) -> Any:
    """Unplug a device: at once, as no guest program here has to agree."""
    name = arguments["id"]
    device = call.machine.find(name)
    if device is None:
        raise _not_found(name)
    if device.parent_bus is not None:
        try:
            call.machine.check_hotplug(device.parent_bus)
        except DeviceError as err:
            raise generic(str(err)) from err
    if not device.hotpluggable:
        raise generic(f"Device '{device.type_name}' does not support hotplugging")
    if call.machine.migrating:
        raise generic("device_del not allowed while migrating")
    path, known = device.qom_path, device.id
    call.machine.remove(device)
    call.server.emit("DEVICE_DELETED", {**({"device": known} if known else {}), "path": path})
    return {}

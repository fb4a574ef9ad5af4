# SPDX-License-Identifier: Apache-2.0
"""`Device`: a class of the type tree with properties, a bus, and a section of the stream.

    class Kbd(Device):
        type_name = "i8042"
        bus = "ISA"
        properties = (Property("extended-state", BOOL, True, since="3.1"),)
        vmstate = VMSTATE_KBD

1. The type tree is the class tree: a compat entry or a `-global` for a type reaches all that derive from it.
2. Making one: properties get the type's defaults, `init()` makes children, compat entries and globals are applied
   (oldest machine type last, then `-global`), then the caller's properties, then `realize()`.
3. State is plain attributes, named as the fields of `vmstate` say. `realize` registers the section.
4. What differs between releases is a property or a life-time, never a comparison in a device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.errors import DeviceError, PropertyError
from migmatrix.emulator.properties import Form, Property
from migmatrix.emulator.references import NAMING, check_reference
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.lifetime import lives, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.machine import Machine
    from migmatrix.vmstate.device.registry import Entry, LegacyHandlers

__all__ = ["Bus", "Device", "DeviceError", "PropertyError", "ancestors", "declared", "listed"]


class Device:
    """Base of all device types; see the rules above."""

    type_name: ClassVar[str] = "device"
    abstract: ClassVar[bool] = True
    user_creatable: ClassVar[bool] = True
    aliases: ClassVar[tuple[str, ...]] = ()
    since: ClassVar[str] = ""
    until: ClassVar[str] = ""
    bus: ClassVar[str] = ""
    properties: ClassVar[tuple[Property, ...]] = ()
    vmstate: ClassVar[VMState | LegacyHandlers | None] = None
    description: ClassVar[str] = ""
    hotpluggable: ClassVar[bool] = True
    in_tree: ClassVar[bool] = True  # False: in QEMU it is no object, only a section
    backend_type: ClassVar[str] = ""  # a child's type, whose properties a device of this type has as well
    # how old streams name the section; see `vmstate.device.registry.Registry.register`
    instance_id: int | None = None
    alias_id: int = -1
    required_for_version: int = 0

    def __init_subclass__(cls) -> None:
        """A type is concrete unless it says otherwise itself."""
        super().__init_subclass__()
        if "abstract" not in cls.__dict__:
            cls.abstract = False

    def __init__(self, machine: Machine, id: str = "") -> None:  # noqa: A002 - QEMU's word
        self.machine = machine
        self.id = id
        self.props: dict[str, Any] = {
            name: prop.default_in(machine.release.name)
            for name, prop in declared(type(self), machine).items()
        }
        self.explicit: set[str] = set()  # names set by -device or device_add
        self.children: list[Device] = []
        self.buses: list[Bus] = []
        self.parent: Device | None = None
        self.tree_path = ""  # path in the object tree, once it has one
        self.parent_bus: Bus | None = None
        self.realized = False
        self.entries: list[Entry] = []
        self.init()
        machine.apply_defaults(self)

    def init(self) -> None:
        """Make children and initial state; properties have their type's defaults only."""

    def realize(self) -> None:
        """Begin to work with the properties as set. A class calls `super().realize()` to register its section.

        DeviceError with ``-only-migratable`` when the device blocks migration.
        """
        self._check_migratable()
        if self.vmstate is not None:
            self.register(self.vmstate, instance_id=self.instance_id)
        self.realized = True

    def _check_migratable(self) -> None:
        blocks = isinstance(self.vmstate, VMState) and self.vmstate.unmigratable
        if blocks and self.machine.options.only_migratable:
            raise DeviceError(
                f"Device {self.type_name} is not migratable, but --only-migratable was specified"
            )

    def plugged(self, device: Device) -> None:
        """Called when a device on one of this device's buses was realized."""

    def machine_done(self, tables: tuple[int, ...]) -> None:
        """Called when the machine is complete, with the sizes of its ACPI tables (none on boards without)."""

    def unrealize(self) -> None:
        """Unregister the section and leave the bus; children first."""
        for child in [*self.children]:
            child.unrealize()
        for entry in self.entries:
            self.machine.registry.unregister(entry.vmsd, entry.state)
        self.entries.clear()
        if self.parent_bus is not None:
            self.parent_bus.unplug(self)
        self.realized = False

    def reset(self) -> None:
        """Go to the state after power-on. Children and devices on own buses are reset by the machine."""

    def register(
        self,
        vmsd: VMState | LegacyHandlers,
        state: Any = None,
        *,
        path: str | None = None,
        instance_id: int | None = None,
    ) -> Entry:
        """Register a section with `state` (default: the device) under the device's path, or `path`."""
        if isinstance(vmsd, VMState):
            vmsd = resolve(vmsd, self.machine.release.name)
        entry = self.machine.registry.register(
            vmsd, self if state is None else state,
            path=self.path if path is None else path, instance_id=instance_id,
            alias_id=self.alias_id, required_for_version=self.required_for_version,
        )  # fmt: skip
        self.entries.append(entry)
        return entry

    @property
    def path(self) -> str:
        """The part before ``/`` in the section's name, which the bus gives; "" on most buses."""
        return "" if self.parent_bus is None else self.parent_bus.path_of(self)

    @property
    def qom_path(self) -> str:
        """The path in QEMU's object tree, "" for a device outside of it; the machine numbers devices without an id."""
        if self.parent is not None:
            return f"{self.parent.qom_path}/{self.id or self.type_name}"
        return f"/machine/peripheral/{self.id}" if self.id else self.tree_path

    def add_child(self, child: Device, name: str = "") -> Device:
        """Own a device that lives and dies with this one; `name` is its name in the object tree."""
        child.parent = self
        child.id = name or child.id
        self.children.append(child)
        return child

    def add_bus(self, bus: Bus) -> Bus:
        """Offer a bus to other devices; DeviceError when it is called as a property, whose name is then taken."""
        if bus.name in declared(type(self), self.machine):
            whose = f"object (type '{self.type_name}')"
            raise DeviceError(f"attempt to add duplicate property '{bus.name}' to {whose}")
        self.buses.append(bus)
        return bus

    def find_property(self, name: str) -> tuple[Device, Property] | None:
        """Whose property `name` is: the device's own, or, where a class forwards to a child, the child's."""
        prop = declared(type(self), self.machine).get(name)
        return None if prop is None else (self, prop)

    def set(self, name: str, value: Any, form: Form = Form.TEXT) -> None:
        """Set a property from text or JSON; PropertyError in the release's words."""
        found = self.find_property(name)
        if found is None:
            raise PropertyError(f"Property '{self.type_name}.{name}' not found")
        owner, prop = found
        if owner.realized:
            raise PropertyError(_too_late(owner, name))
        read = prop.read(value, form, owner.type_name, self.machine.release.name)
        if name in NAMING and prop.kind.zero == "":
            check_reference(owner, name, read)
        owner.props[name] = read

    def get(self, name: str) -> Any:
        """A property as `qom-get` prints it; PropertyError."""
        found = self.find_property(name)
        if found is None:
            raise PropertyError(f"Property '{self.type_name}.{name}' not found")
        owner, prop = found
        return prop.kind.show(owner.props[name])

    def walk(self) -> Iterator[Device]:
        """This device and everything below it: children, then what sits on its buses."""
        yield self
        for child in self.children:
            yield from child.walk()
        for bus in self.buses:
            for device in bus.devices:
                yield from device.walk()

    def __repr__(self) -> str:
        return f"<{self.type_name} {self.id or self.path or 'anonymous'}>"


def _too_late(device: Device, name: str) -> str:
    if device.id:
        return (
            f"Attempt to set property '{name}' on device '{device.id}' "
            f"(type '{device.type_name}') after it was realized"
        )
    return f"Attempt to set property '{name}' on anonymous device (type '{device.type_name}') after it was realized"


_declared: dict[tuple[type[Device], str], dict[str, Property]] = {}
_ancestors: dict[type[Device], frozenset[str]] = {}


def declared(cls: type[Device], machine: Machine) -> dict[str, Property]:
    """All properties of a type in the machine's release: parents' first, a class's own replace theirs."""
    release = machine.release.name
    found = _declared.get((cls, release))
    if found is None:
        own = (prop for base in reversed(cls.__mro__) for prop in base.__dict__.get("properties", ()))
        found = {prop.name: prop for prop in own if lives(prop.since, prop.until, release)}
        _declared[cls, release] = found
    return found


def listed(cls: type[Device], machine: Machine) -> dict[str, Property]:
    """All properties that a device of a type can be given: its own, and those that it forwards to its child."""
    own = declared(cls, machine)
    behind = machine.release.device_class(cls.backend_type)
    return own if behind is None else {**declared(behind, machine), **own}


def ancestors(cls: type[Device]) -> frozenset[str]:
    """Names of the type and of all it derives from: what a compat entry or a `-global` may say."""
    found = _ancestors.get(cls)
    if found is None:
        found = frozenset(base.__dict__["type_name"] for base in cls.__mro__ if "type_name" in base.__dict__)
        _ancestors[cls] = found
    return found

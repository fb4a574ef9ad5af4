# SPDX-License-Identifier: Apache-2.0
"""The machine: release, memory, devices, sections, run state. Every other part of the emulator works on it.

1. Hold `bql` to read or change anything that a guest or a migration can see.
2. The stream has sections in the order in which their devices were made; boards are data in that order.
3. A property's value comes from, later ones winning: the type, compat tables from the newest to the oldest,
   `-global` in the order given, `-device`.
4. Only `set_runstate` changes the run state. The clock runs while the guest runs, and at no other time.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.clock import Clock
from migmatrix.emulator.device import Device, ancestors
from migmatrix.emulator.errors import DeviceError, FatalError, PropertyError
from migmatrix.emulator.options.records import Smp
from migmatrix.emulator.properties import Form
from migmatrix.emulator.texts import text
from migmatrix.vmstate.device.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from migmatrix.emulator.chardev import Backend
    from migmatrix.emulator.dirtylimit import DirtyLimit
    from migmatrix.emulator.memory import RamBlock, Sharer
    from migmatrix.emulator.migration import Migration
    from migmatrix.emulator.options.machineprops import MachineProps
    from migmatrix.emulator.options.records import DeviceOption, Options
    from migmatrix.emulator.release import CompatEntry, MachineType, Release

__all__ = ["Machine", "build_machine"]

_RUNNING: Final = "running"
_COLD: Final = ("ISA", "IDE", "i2c-bus")  # kinds of buses whose devices are there from the start
_NOT_GIVEN: Final = Smp()
_ONE_CPU: Final = Smp(1, 1, 1, 1, 1, 1, 1)


class Machine:
    """One emulated machine; `build_machine` makes a complete one, this an empty one of its type."""

    def __init__(self, release: Release, type_: MachineType, options: Options) -> None:
        self.release = release
        self.type = type_
        self.options = options
        self.props = _properties(release, type_, options)
        self.smp = _topology(release, type_, options.smp)
        self.bql = threading.RLock()
        self.clock = Clock()
        self.registry = Registry()
        self.ram_blocks: dict[str, RamBlock] = {}
        self.devices: list[Device] = []  # roots: what hangs on no bus, in order of creation
        self.buses: list[Bus] = [Bus("main-system-bus")]
        self.globals = [*options.globals, *_cpu_globals(options.cpu or type_.default_cpu)]
        self.used_globals: set[int] = set()
        self.compat: list[CompatEntry] = release.compat_entries(type_)
        self.unmodelled: set[tuple[str, str]] = set()  # (type, property) of compat entries that no class has
        self._runstate = "prelaunch" if options.incoming is None else "inmigrate"
        self.autostart = not options.stopped  # whether a guest that comes in goes on by itself
        self.fdsets = options.fdsets()
        self.throttle = 0  # percent of the guest's time that a migration takes away
        self.ready = False  # all of the command line is done: what is made from now on is hotplugged
        self.emit: Callable[[str, dict[str, Any] | None], None] = lambda _event, _data: None
        self._listeners: list[Callable[[bool, str], None]] = []
        self.chardevs: Mapping[str, Backend] = {}
        self.sharers: list[Sharer] = []  # processes that map the guest's memory
        self.container = "/machine/unattached"  # of devices without an id: the board's; later those of users
        self._numbered: dict[str, int] = {}  # containers, and how many they were given
        self._migration: Migration | None = None
        self._dirty_limit: DirtyLimit | None = None

    @property
    def migration(self) -> Migration:
        """The machine's migration; the first access loads its code."""
        if self._migration is None:
            from migmatrix.emulator.migration import Migration  # noqa: PLC0415 - not needed to start

            self._migration = Migration(self)
        return self._migration

    @property
    def dirty_limit(self) -> DirtyLimit | None:
        """The limits of its processors' dirty rates; None when the accelerator has no dirty rings."""
        if self._dirty_limit is None and self.options.ring_size:
            from migmatrix.emulator.dirtylimit import DirtyLimit  # noqa: PLC0415 - few accelerators have rings

            self._dirty_limit = DirtyLimit(self, self.options.ring_size)
        return self._dirty_limit

    @property
    def memory_bytes(self) -> int:
        """The guest's memory: `-m`, else what the machine type has."""
        return self.options.memory_bytes or int(self.release.boards[self.type.board]["memory"])

    @property
    def migrating(self) -> bool:
        """Whether the guest is being sent."""
        found = self._migration
        return found is not None and found.outgoing is not None and found.progress.running

    # --- run state ----------------------------------------------------------------------------------------------

    @property
    def runstate(self) -> str:
        """QMP's `RunState`; it has no setter, see rule 4."""
        return self._runstate

    @property
    def running(self) -> bool:
        """Whether the guest runs."""
        return self._runstate == _RUNNING

    def on_change(self, listener: Callable[[bool, str], None]) -> None:
        """Call `listener(running, state)` after each change between running and not, in order of registration."""
        self._listeners.append(listener)

    def set_runstate(self, state: str) -> None:
        """Go to `state` without an event; start or stop the clock and call the listeners if the guest did so."""
        with self.bql:
            before, self._runstate = self.running, state
            if self.running == before:
                return
            if self.running:
                self.clock.start()
            else:
                self.clock.stop()
            for listener in [*self._listeners]:
                listener(self.running, state)

    def vm_start(self) -> None:
        """Let the guest run: event RESUME, then the state, then the listeners."""
        with self.bql:
            if not self.running:
                self.emit("RESUME", None)
                self.set_runstate(_RUNNING)

    def vm_stop(self, state: str = "paused") -> None:
        """Stop the guest and go to `state`; event STOP only if it ran."""
        with self.bql:
            before = self.running
            self.set_runstate(state)
            if before:
                self.emit("STOP", None)

    def reset(self) -> None:
        """Reset every device, in order of creation; the run state stays."""
        with self.bql:
            for device in self.walk():
                device.reset()

    # --- memory -------------------------------------------------------------------------------------------------

    def add_ram(self, name: str, size: int, *, max_size: int | None = None, page_size: int = 0) -> RamBlock:
        """A RAM block, zero; with `max_size` it may be resized up to that. ValueError for a name that is taken."""
        from migmatrix.emulator.memory import PAGE_SIZE, RamBlock  # noqa: PLC0415 - a device module may come here first

        if name in self.ram_blocks:
            raise ValueError(f"RAM block {name!r} exists")
        resizable = max_size is not None
        block = RamBlock(name, size, max_size=max_size, resizable=resizable, page_size=page_size or PAGE_SIZE)
        self.ram_blocks[name] = block
        return block

    @property
    def main_ram(self) -> RamBlock | None:
        """The block that begins at the guest's address 0, whatever its name; boards make it first."""
        return next(iter(self.ram_blocks.values()), None)

    # --- devices ------------------------------------------------------------------------------------------------

    def walk(self) -> Iterator[Device]:
        """All devices, parents before what they hold."""
        for device in self.devices:
            yield from device.walk()

    def find(self, id_or_path: str) -> Device | None:
        """The device with this id or QOM path."""
        return next((d for d in self.walk() if id_or_path in (d.id or None, d.qom_path or None)), None)

    def all_buses(self) -> Iterator[Bus]:
        """All buses, in the order in which QEMU looks through them."""
        yield from self.buses
        for device in self.walk():
            yield from device.buses

    def find_bus(self, name: str) -> Bus:
        """The bus `name`; DeviceError."""
        for bus in self.all_buses():
            if bus.name == name:
                return bus
        raise DeviceError(f"Bus '{name}' not found")

    def new(self, type_name: str, id: str = "") -> Device:  # noqa: A002 - QEMU's word
        """A device with defaults, compat entries and globals applied, not realized; DeviceError."""
        cls = self.release.device_class(type_name)
        if cls is None:
            raise DeviceError(f"'{type_name}' is not a valid device model name", "DeviceNotFound")
        return cls(self, id)

    def create(
        self,
        type_name: str,
        props: Iterable[tuple[str, Any]] = (),
        id: str = "",  # noqa: A002 - QEMU's word
        bus: str | Bus = "",
        addr: str = "",
        form: Form = Form.TEXT,
        *,
        hotplug: bool = False,
    ) -> Device:
        """Make, set, plug and realize a device; DeviceError. `bus` is a bus or a name, "" for the first that fits."""
        device = self.new(type_name, id)
        for name, value in props:
            device.set(name, value, form)
            device.explicit.add(name)
        self.attach(device, bus, addr, hotplug=hotplug)
        return self.realize(device)

    def attach(self, device: Device, bus: str | Bus = "", addr: str = "", *, hotplug: bool = False) -> None:
        """Plug a device made by `new` into its bus, or make it a root when its type needs none; DeviceError."""
        chosen = self._bus_for(device, bus)
        if chosen is not None:
            if hotplug:
                self.check_hotplug(chosen)
            chosen.plug(device, addr)
        if chosen is None or chosen.parent is None:
            self.devices.append(device)

    def check_hotplug(self, bus: Bus) -> None:
        """DeviceError when devices of this bus neither come nor go while the machine exists."""
        if bus.type in _COLD or bus.name == "pcie.0":
            raise DeviceError(f"Bus '{bus.name}' does not support hotplugging")

    def realize(self, device: Device) -> Device:
        """Realize an attached device; remove it again if that fails. DeviceError."""
        self.number(device)
        try:
            device.realize()
        except DeviceError:
            self.remove(device)
            raise
        if device.parent_bus is not None and device.parent_bus.parent is not None:
            device.parent_bus.parent.plugged(device)
        return device

    def number(self, device: Device) -> None:
        """Give a device without id and path a path in the object tree, before the devices that it makes get theirs."""
        if device.in_tree and not (device.id or device.tree_path):
            number = self._numbered[self.container] = self._numbered.get(self.container, -1) + 1
            device.tree_path = f"{self.container}/device[{number}]"

    def add(self, option: DeviceOption, form: Form | None = None) -> Device:
        """Do what `-device` and `device_add` do; DeviceError if the type is not for users, or anything fails."""
        cls = self.release.device_class(option.driver)
        if cls is not None:
            self._check_creatable(option.driver, cls)
        if option.id and self.find(option.id) is not None:
            raise DeviceError(f"Duplicate device ID '{option.id}'")
        used = form or Form.of_device_option(self.release.name)
        return self.create(
            option.driver, option.props, option.id, option.bus, option.addr, used, hotplug=self.ready
        )

    def _check_creatable(self, name: str, cls: type[Device]) -> None:
        if cls.abstract:
            raise DeviceError(text(self.release.name, "driver-abstract"))
        if not cls.user_creatable:
            raise DeviceError("Parameter 'driver' expects a pluggable device type")
        if self.ready and not cls.hotpluggable:
            raise DeviceError(f"Device '{name}' does not support hotplugging")

    def remove(self, device: Device) -> None:
        """Unrealize and forget a device and all that it holds."""
        device.unrealize()
        if device in self.devices:
            self.devices.remove(device)

    def _bus_for(self, device: Device, bus: str | Bus) -> Bus | None:
        kind = device.bus
        if isinstance(bus, str) and bus:
            bus = self.find_bus(bus)
        if isinstance(bus, Bus):
            if not bus.takes(kind):
                raise DeviceError(f"Device '{device.type_name}' can't go on {bus.type} bus")
            return bus
        return self._free_bus(device.type_name, kind) if kind else None

    def _free_bus(self, type_name: str, kind: str) -> Bus:
        """The first bus of this kind that has room."""
        fitting = [bus for bus in self.all_buses() if bus.takes(kind)]
        for bus in fitting:
            if not bus.full:
                return bus
        raise DeviceError(
            f"Bus '{fitting[0].name}' is full"
            if fitting
            else f"No '{kind}' bus found for device '{type_name}'"
        )

    # --- defaults, compat entries, globals ----------------------------------------------------------------------

    def apply_defaults(self, device: Device) -> None:
        """Apply what the machine type and the user say of all devices of a type; called while it is made.

        A compat entry for a property that the emulator does not model is noted, not applied.
        """
        names = ancestors(type(device))
        for entry in self.compat:
            if entry.device not in names:
                continue
            if device.find_property(entry.property) is None:
                self.unmodelled.add((entry.device, entry.property))
            else:
                device.set(entry.property, entry.value)
        self._apply_globals(device, names)

    def _apply_globals(self, device: Device, names: frozenset[str]) -> None:
        for n, (driver, name, value) in enumerate(self.globals):
            if driver in names:
                self.used_globals.add(n)
                try:
                    device.set(name, value)
                except PropertyError as why:
                    raise PropertyError(f"can't apply global {driver}.{name}={value}: {why}") from why

    def global_warnings(self) -> list[str]:
        """QEMU's warnings about globals that reached no device; call it when the machine is complete."""
        found = []
        for n, (driver, name, value) in enumerate(self.globals):
            cls = self.release.device_class(driver)
            if n in self.used_globals or (cls is not None and cls.hotpluggable):
                continue
            if cls is None:
                found.append(f"warning: global {driver}.{name} has invalid class name")
            else:
                found.append(f"warning: global {driver}.{name}={value} not used")
        return found


def _cpu_globals(cpu: str) -> Iterator[tuple[str, str, str]]:
    """`-cpu MODEL,flag=off,+flag,-flag` is, as in QEMU, globals for the model's type."""
    model, *flags = cpu.split(",")
    for flag in flags:
        name, _, value = flag.partition("=")
        if name[:1] in ("+", "-"):
            name, value = name[1:], "on" if name[0] == "+" else "off"
        yield f"{model}-x86_64-cpu", name, value or "on"


def _properties(release: Release, type_: MachineType, options: Options) -> MachineProps | None:
    """What `-machine` says beside type and accelerator, None for nothing; FatalError."""
    if not options.machine_props:
        return None
    from migmatrix.emulator.options.machineprops import read_machine_props  # noqa: PLC0415 - few starts have some

    return read_machine_props(options.machine_props, type_.name, release.name)


def _topology(release: Release, type_: MachineType, given: Smp) -> Smp:
    """All numbers of `-smp`; FatalError."""
    if given == _NOT_GIVEN:
        return _ONE_CPU
    from migmatrix.emulator.topology import check_limit, resolve_smp  # noqa: PLC0415 - few starts have more than one

    full = resolve_smp(given, release.name, prefer_sockets=type_.prefer_sockets)
    check_limit(full, type_.name, type_.max_cpus)
    return full


def build_machine(
    release: Release,
    options: Options,
    warn: Callable[[str], object] = lambda _: None,
    chardevs: Mapping[str, Backend] | None = None,
) -> Machine:
    """Build the machine of a command line, stopped; FatalError with QEMU's text, and `warn` gets its warnings.

    `chardevs` are those that are open.
    """
    from migmatrix.emulator.boards import complete, early_warnings, populate  # noqa: PLC0415 - boards import this module

    machine = Machine(release, _machine_type(release, options.machine), options)
    machine.chardevs = chardevs or {}
    for line in early_warnings(machine):
        warn(line)
    with machine.bql:
        _check_migration(machine)
        populate(machine)
        machine.container = "/machine/peripheral-anon"
        for option in options.devices:
            _add_device(machine, option)
        complete(machine)
        machine.ready = True
    for line in machine.global_warnings():
        warn(line)
    return machine


def _machine_type(release: Release, name: str) -> MachineType:
    found = release.machine_type(name) if name else release.default_machine
    if found is None:
        raise FatalError(text(release.name, "machine", name=name))
    return found


def _check_migration(machine: Machine) -> None:
    """FatalError for a ``-global migration.NAME=`` that cannot be; without one the object can wait."""
    if any(driver == "migration" for driver, _, _ in machine.globals):
        from migmatrix.emulator.migration.properties import check_properties  # noqa: PLC0415 - as few starts as may be

        check_properties(machine)


def _add_device(machine: Machine, option: DeviceOption) -> None:
    try:
        machine.add(option)
    except DeviceError as why:
        raise FatalError(f"{option.where}: {why}" if option.where else str(why)) from why

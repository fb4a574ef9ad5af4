# SPDX-License-Identifier: Apache-2.0
"""Every entry of a compat table that reaches a device of the emulator does what it says.

1. The device has the entry's value on machine types of the entry's version and older, and the type's default on newer ones.
2. Where the value changes what is sent, the change shows when it is taken away again by `-global`.
3. With the tables of an old version, the newest release that has it sends what that old release loads.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from real_devices import device_classes, release, small_machine

from migmatrix.emulator.device import ancestors, declared
from migmatrix.emulator.devices.pci.device import PCIDevice
from migmatrix.emulator.properties import Form
from migmatrix.vmstate.device.errors import Kind, VMStateError
from migmatrix.vmstate.device.lifetime import release_key
from migmatrix.vmstate.device.source import BytesSource

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.machine import Machine

NEWEST = ("10.0", "11.1")  # 10.0 still has the tables down to 2.4
WORDS = {
    "vhost-vsock-pci": "guest-cid=3", "virtio-mem-pci": "memdev=m0", "pci-bridge": "chassis_nr=9", "nvme": "serial=s",
    "pcie-root-port": "chassis=9,slot=9", "ioh3420": "chassis=8,slot=8",
}  # fmt: skip
MEMORY = ("-object", "memory-backend-ram,id=m0,size=64M")


@cache
def entries(name: str) -> tuple[tuple[str, str, str, str], ...]:
    """(version of the table, device, property, value) of a release's entries that reach a device users can add."""
    known = release(name)
    found = []
    for table, rows in known.compat.items():
        if not table.startswith("hw_compat"):
            continue
        version = table.removeprefix("hw_compat_").replace("_", ".")
        if f"pc-q35-{version}" not in known.machine_types:
            continue
        for row in rows:
            found += [(version, row[0], row[1], row[2])] if any(_reached(name, row[0], row[1])) else []
    return tuple(found)


def _reached(name: str, device: str, prop: str) -> Iterator[str]:
    """Types that users can add on q35, which the entry reaches and which have its property."""
    for type_name, cls in device_classes(name):
        creatable = not cls.abstract and cls.user_creatable and issubclass(cls, PCIDevice)
        if creatable and type_name != "cirrus-vga" and device in _names(cls) and _has(cls, name, prop):
            yield type_name


def _names(cls: type[Device]) -> frozenset[str]:
    """Whom an entry may name to reach a type: its ancestors, and those of the device behind a proxy."""
    behind = getattr(cls, "backend_type", "")
    backend = release("11.1").device_class(behind) if behind else None
    return ancestors(cls) | (ancestors(backend) if backend else frozenset())


def _has(cls: type[Any], name: str, prop: str) -> bool:
    class Asked:
        """What `declared` asks of a machine."""

        release = release(name)

    asked: Any = Asked
    behind = release(name).device_class(getattr(cls, "backend_type", ""))
    return any(prop in declared(each, asked) for each in (cls, behind) if each is not None)


def with_device(name: str, version: str, type_name: str, *words: str) -> Machine:
    """A machine of a version with one device of a type, id ``d``."""
    given = f",{WORDS[type_name]}" if type_name in WORDS else ""
    return small_machine(name, f"pc-q35-{version}", *MEMORY, *words, "-device", f"{type_name},id=d{given}")


def value(machine: Machine, prop: str) -> Any:
    """The property of ``d``, as the device sees it."""
    found: Any = machine.find("d")
    owner, _ = found.find_property(prop)
    return owner.props[prop]


CASES = [(name, *entry) for name in NEWEST for entry in entries(name)]


def test_there_are_entries_to_test() -> None:
    assert len(CASES) > 60
    assert {case[1] for case in CASES} >= {"2.4", "2.8", "3.1", "4.2", "5.1", "6.0", "7.2", "8.0", "9.2"}


@pytest.mark.parametrize(("name", "version", "device", "prop", "text"), CASES)
def test_the_value_is_the_entrys(name: str, version: str, device: str, prop: str, text: str) -> None:
    """On a machine of the table's version, unless an older table has the last word there: those do not apply yet."""
    type_name = next(_reached(name, device, prop))
    made = with_device(name, version, type_name)
    found: Any = made.find("d")
    owner, declared_prop = found.find_property(prop)
    values = [e.value for e in made.compat if e.device in _names(type(found)) and e.property == prop]
    expected = declared_prop.read(values[-1], Form.TEXT, owner.type_name, name)
    if not (prop == "unplugged-inaccessible" and values[-1] == "auto"):  # which the device settles
        assert value(made, prop) == expected
    assert text in values


@pytest.mark.parametrize(("name", "version", "device", "prop", "text"), CASES)
def test_newer_machine_types_have_the_default(
    name: str, version: str, device: str, prop: str, text: str
) -> None:
    type_name = next(_reached(name, device, prop))
    newest = release(name).name
    made = with_device(name, newest, type_name)
    assert not [e for e in made.compat if e.device == device and e.property == prop]
    assert release_key(version) < release_key(newest)
    found: Any = made.find("d")
    owner, declared_prop = found.find_property(prop)
    given = declared_prop.read(text, Form.TEXT, owner.type_name, name)
    assert value(made, prop) != given or prop in SAME or _default_is_open(declared_prop, name)


def _default_is_open(prop: Any, name: str) -> bool:
    """Whether the default stands for what the device chooses, as a number of queues does."""
    return prop.default_in(name) in {0xFFFF, 0xFFFFFFFF, "auto"}


# entries that say what is the default anyway: QEMU's tables have them, one to take an entry of a newer table back
SAME = {"shpc", "qemu-4-0-config-size"}
# (release, version of the machine type, device, what takes the entry away)
SHOWS = [
    ("10.0", "2.4", "virtio-rng-pci", "virtio-pci.migrate-extra=on"),
    ("10.0", "2.4", "e1000", "e1000.extra_mac_registers=on"),
    ("10.0", "2.11", "e1000", "e1000.migrate_tso_props=on"),
    ("10.0", "4.0", "virtio-rng-pci", "virtio-device.use-started=on"),
    ("10.0", "4.2", "virtio-blk-pci", "virtio-blk-device.queue-size=256"),
    ("10.0", "4.2", "virtio-scsi-pci", "virtio-scsi-device.virtqueue_size=256"),
    ("10.0", "3.1", "virtio-blk-pci", "virtio-blk-device.discard=on"),
    ("10.0", "3.1", "pcie-root-port", "pcie-root-port-base.disable-acs=off"),
    ("10.0", "4.0", "virtio-balloon-pci", "virtio-balloon-device.qemu-4-0-config-size=off"),
    ("10.0", "7.1", "virtio-rng-pci", "virtio-rng-pci.vectors=2"),
    ("10.0", "7.2", "e1000e", "e1000e.migrate-timadj=on"),
    ("10.0", "7.2", "pcie-root-port", "pci-device.x-pcie-err-unc-mask=on"),
    ("10.0", "7.2", "virtio-mem-pci", "virtio-mem.x-early-migration=on"),
    ("10.0", "8.2", "virtio-gpu-pci", "virtio-gpu-device.x-scanout-vmstate-version=2"),
    ("10.0", "9.2", "virtio-balloon-pci", "virtio-balloon-pci.vectors=2"),
    ("10.0", "9.1", "pcie-root-port", "pci-device.x-pcie-ext-tag=on"),
    ("10.0", "5.2", "virtio-net-pci", "virtio-net-pci-base.vectors=4"),
    ("11.1", "7.1", "virtio-rng-pci", "virtio-rng-pci.vectors=2"),
    ("11.1", "9.1", "pcie-root-port", "pci-device.x-pcie-ext-tag=on"),
    ("11.1", "8.2", "virtio-gpu-pci", "virtio-gpu-device.x-scanout-vmstate-version=2"),
]  # fmt: skip


def sent(machine: Machine) -> dict[str, bytes]:
    """The sections of ``d`` by name."""
    found: Any = machine.find("d")
    return {e.idstr: e.save().data for e in machine.registry if e.idstr.startswith(f"{found.path}/")}


@pytest.mark.parametrize(("name", "version", "type_name", "undone"), SHOWS)
def test_without_the_entry_another_section_is_sent(
    name: str, version: str, type_name: str, undone: str
) -> None:
    kept = sent(with_device(name, version, type_name))
    changed = sent(with_device(name, version, type_name, *_running(type_name), "-global", undone))
    assert kept != changed or type_name == "virtio-rng-pci"
    if type_name == "virtio-rng-pci":  # one of whose entries only a started device shows
        assert sent(with_device(name, version, type_name, *_running(type_name))) != changed


def _running(type_name: str) -> tuple[str, ...]:
    return ("-global", f"{type_name}.x-guest=driver") if type_name == "virtio-rng-pci" else ()


# (version of the machine type, device): the release of that version has the device
LOADS = [
    (version, type_name)
    for version in ("5.1", "5.2", "6.0", "6.1", "6.2", "7.0", "7.1", "7.2", "8.0", "8.1", "8.2", "9.0", "9.1", "9.2")
    for type_name in (
        "e1000", "e1000e", "pcie-root-port", "ioh3420", "pci-bridge", "VGA", "qemu-xhci", "nec-usb-xhci", "ahci",
        "virtio-blk-pci", "virtio-scsi-pci", "virtio-rng-pci", "virtio-balloon-pci", "virtio-serial-pci",
        "virtio-gpu-pci", "virtio-mem-pci", "vhost-vsock-pci", "virtio-blk-pci-non-transitional",
        "virtio-rng-pci-transitional",
    )
]  # fmt: skip


@pytest.mark.parametrize(("version", "type_name"), LOADS)
def test_the_old_release_loads_what_the_new_one_sends_for_its_machine_type(
    version: str, type_name: str
) -> None:
    """From 10.0, with all tables, to the release of the machine type."""
    source, destination = (with_device(name, version, type_name) for name in ("10.0", version))
    data = sent(source)
    assert data.keys() == sent(destination).keys()
    for idstr, raw in data.items():
        entry = destination.registry.find(idstr, 0)
        incoming = BytesSource(raw)
        entry.load(incoming, source.registry.find(idstr, 0).version_id)
        assert not incoming.left


# (version, device, what takes the entry away): what the old release says of what it then gets
REFUSES = [
    ("7.2", "e1000e", "e1000e.migrate-timadj=on", "bytes are left"),
    ("7.1", "virtio-rng-pci-non-transitional", "virtio-rng-pci-non-transitional.vectors=2", "Bad config data: i=0x34"),
    ("6.2", "virtio-rng-pci-non-transitional", "virtio-rng-pci-non-transitional.vectors=2", "Bad config data: i=0x34"),
    ("7.2", "pcie-root-port", "pci-device.x-pcie-err-unc-mask=on", "Bad config data: i=0x10a"),
    ("8.2", "virtio-gpu-pci", "virtio-gpu-device.x-scanout-vmstate-version=2", "bytes are left"),
    ("9.2", "virtio-balloon-pci", "virtio-balloon-pci.vectors=2", "Bad config data: i=0x34"),
    ("9.1", "e1000e", "pci-device.x-pcie-ext-tag=on", "Bad config data: i=0xe4"),
    ("5.1", "virtio-blk-pci", "virtio-blk-device.num-queues=4", "Bad config data: i=0x9a"),
]  # fmt: skip


@pytest.mark.parametrize(("version", "type_name", "undone", "why"), REFUSES)
def test_without_the_entry_the_old_release_refuses(
    version: str, type_name: str, undone: str, why: str
) -> None:
    source = with_device("10.0", version, type_name, "-global", undone)
    destination = with_device(version, version, type_name)
    idstr, raw = next(iter(sent(source).items()))
    with pytest.raises(VMStateError, match=why):
        load_whole(destination, idstr, raw, source.registry.find(idstr, 0).version_id)


def load_whole(machine: Machine, idstr: str, raw: bytes, version: int) -> None:
    """Load a section as a stream is loaded: what is left is not the footer that must follow."""
    incoming = BytesSource(raw)
    machine.registry.find(idstr, 0).load(incoming, version)
    if incoming.left:
        raise VMStateError(0, idstr, "a footer", f"{incoming.left} bytes are left", Kind.TRUNCATED)

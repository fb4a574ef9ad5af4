# SPDX-License-Identifier: Apache-2.0
"""Types and properties of the emulator's devices against those of real QEMU: names, kinds, defaults, life-times, parents.

`KNOWN` is what differs and may; an entry that no longer differs anywhere fails `test_what_is_known_still_differs`.
"""

from __future__ import annotations

from fnmatch import fnmatch
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from device_cases import RELEASES
from real_devices import BUILDS, device_classes, recorded, release, small_machine

from migmatrix.emulator.device import ancestors, declared
from migmatrix.emulator.errors import FatalError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.emulator.device import Device
    from migmatrix.emulator.properties import Property

# what only the emulator has: parts of the machine that are no device types in QEMU, examples, other architectures
OWN_TYPES = {
    "acpi-build", "cpu-timers", "emulator-stand-in", "example-legacy", "example-unmigratable", "example-versioned",
    "iterative-sections", "pci-display-base", "slirp", "arm-gicv3-its", "pl011", "s390-css",
}  # fmt: skip
OTHERWISE_NAMED = {
    "5.2.0": {"ICH9-SMB", "ps2-device", "ps2-kbd", "ps2-mouse"}
}  # no type, or another name, in 5.2
# pattern of types, pattern of properties: why they differ
KNOWN = {
    ("virtio-*-transitional", "disable-*"): "fixed for these names, where QEMU has no such property",
    ("vhost-user-blk-pci-*transitional", "disable-*"): "as above",
    ("virtio-mem", "memaddr"): "QEMU finds a place, the emulator has a fixed one",
    ("PIIX4_PM", "smb_io_base"): "the board sets it in QEMU",
    ("PIIX4_PM", "disable_s?"): "the board sets them in QEMU",
    ("ICH9-LPC", "memory-hotplug-support"): "an object's property in QEMU, which lists those of classes",
    ("apic", "legacy-instance-id"): "as above",
    ("q35-pcihost", "short_root_bus"): "as above",
    ("q35-pcihost", "MCFG"): "a size here, a number in QEMU",
    ("e1000e", "x-emulated-queues"): "the emulator's own",
    ("*-x86_64-cpu", "*"): "features by model: tests/emulator/core",
    ("pcie-pci-bridge", "shpc"): "always there in QEMU",
    ("migration", "*"): "tests/emulator/migration/test_migration_object.py",
    ("hpet", "hpet-offset-saved"): "until 11.0 in QEMU",
    ("vhost-user-blk", "discard"): "a feature, not yet a property in 5.2",
    ("vhost-user-blk", "write-zeroes"): "as above",
    ("*", "addr"): "QEMU calls the kind int32 in 7.2, str in 10.0",
    ("e1000e", "disable_vnet_hdr"): "a number in QEMU",
    ("ICH9-LPC", "smm-enabled"): "an object's property in QEMU 7.2",
    ("virtio-net-pci*", "vectors"): "5.2 has the number itself as default",
    (
        "virtio-balloon-pci*",
        "vectors",
    ): "a property when they got interrupts of their own (10.0); here always",
    ("virtio-rng-pci*", "vectors"): "as above (7.2)",
    ("virtio-mem-pci", "vectors"): "as above (10.0)",
}


def _known(type_name: str, prop: str) -> tuple[str, str] | None:
    return next((key for key in KNOWN if fnmatch(type_name, key[0]) and fnmatch(prop, key[1])), None)


def _real(build: str) -> Iterator[tuple[str, type[Device], dict[str, Any]]]:
    types = recorded(build)["types"]
    for name, cls in device_classes(RELEASES[build]):
        if name in types:
            yield name, cls, types[name]


def _ours(cls: type[Device], build: str) -> dict[str, Property]:
    asked: Any = SimpleNamespace(release=release(RELEASES[build]))
    return {n: p for n, p in declared(cls, asked).items() if not p.help.startswith("emulator only")}


def _default(prop: Property, build: str) -> Any:
    value = prop.default_in(RELEASES[build])
    return value if prop.name == "addr" else prop.kind.show(value)


def _differences(cls: type[Device], real: dict[str, Any], build: str) -> Iterator[str]:
    rows = {prop: (kind, default) for prop, kind, default in real["properties"]}
    for prop, ours in _ours(cls, build).items() if rows else ():
        if prop not in rows:
            yield f"{prop}: not in QEMU"
            continue
        kind, default = rows[prop]
        if ours.kind.name not in (kind, "link"):
            yield f"{prop}: {ours.kind.name}, {kind} in QEMU"
        if default is not None and default != _default(ours, build):
            yield f"{prop}: {_default(ours, build)!r}, {default!r} in QEMU"


@pytest.mark.parametrize("build", BUILDS)
def test_properties_are_those_of_the_release(build: str) -> None:
    """Every property has QEMU's kind and the type's default, and lives only where QEMU has it."""
    found = {
        f"{name}.{line}"
        for name, cls, real in _real(build)
        for line in _differences(cls, real, build)
        if _known(name, line.partition(":")[0]) is None
    }
    assert not found


def test_what_is_known_still_differs() -> None:
    used = {
        _known(name, line.partition(":")[0])
        for build in BUILDS
        for name, cls, real in _real(build)
        for line in _differences(cls, real, build)
    }
    assert {key for key in KNOWN if key not in used} == set()


@pytest.mark.parametrize("build", BUILDS)
def test_types_are_qemus(build: str) -> None:
    types = recorded(build)["types"]
    missing = {name for name, _ in device_classes(RELEASES[build]) if name not in types}
    assert missing <= OWN_TYPES | OTHERWISE_NAMED.get(build, set())


@pytest.mark.parametrize("build", BUILDS)
def test_a_compat_entry_reaches_whom_it_reaches_in_qemu(build: str) -> None:
    """Ancestors are what an entry or a `-global` may name: one too many applies it to a device that QEMU spares."""
    for name, cls, real in _real(build):
        extra = ancestors(cls) - {name, *real["parents"]} - OWN_TYPES
        assert not extra, name


@pytest.mark.parametrize(
    ("type_name", "parents"),
    [
        ("virtio-net-pci-transitional", {"virtio-net-pci-base", "virtio-pci", "pci-device"}),
        ("virtio-blk-pci", {"virtio-blk-pci-base", "virtio-pci", "pci-device"}),
        ("vhost-user-blk-pci", {"vhost-user-blk-pci-base", "virtio-pci", "pci-device"}),
        ("vhost-user-blk", {"virtio-device"}),
        ("virtio-blk-device", {"virtio-device"}),
        ("pcie-root-port", {"pci-device", "pcie-root-port-base"}),
        ("nec-usb-xhci", {"pci-xhci", "pci-device"}),
        ("pci-bridge", {"base-pci-bridge", "pci-device"}),
        ("e1000e", {"pci-device"}),
        ("qemu64-x86_64-cpu", {"x86_64-cpu"}),
        ("isa-fdc", {"isa-device"}),
    ],
)
@pytest.mark.parametrize("build", BUILDS)
def test_ancestors_that_entries_name_are_there(build: str, type_name: str, parents: set[str]) -> None:
    cls = release(RELEASES[build]).device_class(type_name)
    assert cls is not None
    assert parents <= ancestors(cls)
    assert parents <= set(recorded(build)["types"][type_name]["parents"])


GONE = [
    ("virtio-rng-pci", "migrate-extra"), ("virtio-rng-pci", "x-disable-pcie"), ("virtio-rng-pci", "x-pcie-pm-init"),
    ("virtio-rng-pci", "x-ignore-backend-features"), ("e1000", "extra_mac_registers"), ("VGA", "global-vmstate"),
    ("pcie-root-port", "disable-acs"), ("pcie-root-port", "x-migrate-msix"), ("ioh3420", "disable-acs"),
    ("virtio-balloon-pci", "qemu-4-0-config-size"), ("virtio-serial-pci", "emergency-write"),
]  # fmt: skip


@pytest.mark.parametrize(("type_name", "prop"), GONE)
def test_properties_go_with_the_machine_types_that_set_them(type_name: str, prop: str) -> None:
    words = ("-global", f"{type_name}.{prop}=on", "-device", f"{type_name},id=x")
    small_machine("10.0", "pc-q35-10.0", *words)
    with pytest.raises(FatalError, match=f"Property '.*{prop}' not found"):
        small_machine("11.1", "pc-q35-11.1", *words)

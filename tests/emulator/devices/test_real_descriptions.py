# SPDX-License-Identifier: Apache-2.0
"""What `-dump-vmstate` says of the emulator's devices, against what real QEMU says: fields, versions, subsections, all the way down.

Sizes are compared for plain numbers, where both mean bytes on the wire; QEMU's of structs are those of C objects. `KNOWN`
is what the emulator leaves out because no guest here makes it be sent, or names in another way.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from device_cases import RELEASES
from real_devices import BUILDS, device_classes, recorded

from migmatrix.emulator.dump import dump
from migmatrix.emulator.release import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# whose state is not modelled: one blocks migration, the other's is the host driver's
SHAPES = {"nvme", "vfio-pci"}
# in 11.1 these no longer have versions; a stream of an older section version is refused by the section's minimum instead
VERSIONLESS = {"mc146818rtc", "hpet"}
# what differs: (end of the path, what) to why
KNOWN = {
    ("ICH9-LPC", "without ICH9LPC/rst_cnt"): "a guest that resets through the LPC bridge",
    ("ICH9-LPC", "without ICH9LPC/smi_feat"): "a guest that negotiates SMI features",
    ("PIIX3", "without PIIX3/rcr"): "a guest that resets through the ISA bridge",
    ("e1000", "without unused"): "two pieces in a row here are one",
    ("piix3-ide.bmdma", "without ide bmdma_current"): "a transfer under way",
    ("piix3-ide.bmdma", "without ide bmdma/status"): "a transfer under way",
    ("virtio-gpu-device", "without virtio-gpu/blob"): "resources",
    ("vhost-user-blk", "without vhost-user-blk/inflight"): "requests of the other process",
    ("PIIX4_PM", "without acpi_pci_hotplug.acpi_pcihp_pci_status[0x0]"): "named without its index",
    ("PIIX4_PM", "with acpi_pci_hotplug.acpi_pcihp_pci_status"): "named without its index",
    ("vga", "without vga.endian"): "a guest that changes the byte order",
    ("ahci.dev", "without port.ifs[0]"): "named without its index",
    ("ahci.dev", "with port.ifs"): "named without its index",
    ("xhci.intr", "without ev_buffer_put"): "a part of 2.7 and older, never sent since",
    ("xhci.intr", "without ev_buffer_get"): "a part of 2.7 and older, never sent since",
    ("xhci.intr", "without ev_buffer"): "a part of 2.7 and older, never sent since",
}


def _fields(described: dict[str, Any]) -> Iterator[tuple[tuple[str, int], dict[str, Any]]]:
    """Fields by name and how often it came before: e1000's registers all are ``mac_reg``, ``mac_reg[N]`` here."""
    seen: dict[str, int] = defaultdict(int)
    for field in described.get("Fields", []):
        name = field["field"]
        name = "mac_reg" if name in {"mac_reg[0]", "mac_reg[1]", "mac_reg[2]"} else name
        yield (name, seen[name]), field
        seen[name] += 1


def _subsections(described: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {sub["name"]: sub for sub in described.get("Subsections", [])}


def differences(ours: dict[str, Any], real: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """(path, what) of every difference."""
    for key in ("name", "version_id", "minimum_version_id"):
        if ours[key] != real[key]:
            yield path, f"{key} {ours[key]}, {real[key]} in QEMU"
    mine, theirs = dict(_fields(ours)), dict(_fields(real))
    yield from ((path, f"with {name}") for name, _ in mine.keys() - theirs.keys())
    yield from ((path, f"without {name}") for name, _ in theirs.keys() - mine.keys())
    for place in mine.keys() & theirs.keys():
        yield from _field_differences(mine[place], theirs[place], f"{path}.{place[0]}")
    subs, real_subs = _subsections(ours), _subsections(real)
    yield from ((path, f"with {name}") for name in subs.keys() - real_subs.keys())
    yield from ((path, f"without {name}") for name in real_subs.keys() - subs.keys())
    for sub in subs.keys() & real_subs.keys():
        yield from differences(subs[sub], real_subs[sub], f"{path}/{sub}")


def _field_differences(ours: dict[str, Any], real: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    # that of a struct only says from which version on the device had it: none here reads older ones
    if "Description" not in real and ours["version_id"] != real["version_id"]:
        yield path, f"version {ours['version_id']}, {real['version_id']} in QEMU"
    if "Description" in ours and "Description" in real:
        yield from differences(ours["Description"], real["Description"], path)


def _both(build: str, directory: Path) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    dump(load(RELEASES[build]), "pc-q35-7.2", str(directory / "dump.json"))
    ours = json.loads((directory / "dump.json").read_text())
    real = recorded(build)["descriptions"]
    for name, _ in device_classes(RELEASES[build]):
        if name in ours and "Description" in real.get(name, {}) and name not in SHAPES:
            yield name, ours[name], real[name]


def _known(path: str, what: str) -> tuple[str, str] | None:
    if path.partition(".")[0] in VERSIONLESS and what.endswith(", 0 in QEMU"):
        return "", ""
    return next((key for key in KNOWN if path.endswith(key[0]) and what == key[1]), None)


@pytest.mark.parametrize("build", BUILDS)
def test_descriptions_are_the_real_ones(build: str, tmp_path: Path) -> None:
    found = [
        (path, what)
        for name, ours, real in _both(build, tmp_path)
        for path, what in differences(ours["Description"], real["Description"], name)
        if _known(path, what) is None
    ]
    assert not found


@pytest.mark.parametrize("build", BUILDS)
def test_enough_is_compared(build: str, tmp_path: Path) -> None:
    names = {name for name, _, _ in _both(build, tmp_path)}
    assert {"e1000", "e1000e", "i8042", "isa-fdc", "pcie-root-port", "virtio-blk-device", "VGA"} <= names
    assert len(names) > 35


def test_what_is_known_still_differs(tmp_path: Path) -> None:
    used = {
        _known(path, what)
        for build in BUILDS
        for name, ours, real in _both(build, tmp_path)
        for path, what in differences(ours["Description"], real["Description"], name)
    }
    assert set(KNOWN) - used == set()

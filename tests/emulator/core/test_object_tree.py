# SPDX-License-Identifier: Apache-2.0
"""Devices have the paths that they have in real QEMU's object tree (`info qom-tree` of Debian's builds, by `object-trees.json`).

The machines were started with ``-nodefaults`` and one device of the user's; what is in the tree and no device (buses,
containers, backends) is left out. Called ``ICH9 SMB`` in 5.2, that one is listed under its later name.
"""

import json
from pathlib import Path

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load

TREES = json.loads(Path(__file__).with_name("object-trees.json").read_text())


def machine(release: str, board: str, *words: str) -> Machine:
    return build_machine(
        load(release), parse(["--release", release, "-M", board, "-m", "16", "-nodefaults", *words])
    )


@pytest.mark.parametrize("key", TREES)
def test_paths_are_qemus(key: str) -> None:
    release, board = key.split()
    added = "ne2k_isa" if board == "isapc" else "virtio-rng-pci"
    built = machine(release, board, "-device", added)
    paths = {d.qom_path: d.type_name for d in built.walk() if d.qom_path}
    if release == "5.2":  # its keyboard and mouse are no objects
        paths = {path: kind for path, kind in paths.items() if "/ps2" not in path}
    assert paths == TREES[key]


def test_devices_of_users_are_numbered_apart() -> None:
    built = machine(
        "7.2", "q35", "-device", "virtio-rng-pci", "-device", "virtio-rng-pci,id=r", "-device", "e1000e"
    )
    paths = {
        d.qom_path for d in built.walk() if d.qom_path.startswith("/machine/periph") and d.parent is None
    }
    assert paths == {
        "/machine/peripheral-anon/device[0]",
        "/machine/peripheral/r",
        "/machine/peripheral-anon/device[1]",
    }


def test_what_is_no_object_is_found_by_no_path() -> None:
    assert machine("7.2", "none").find("") is None


@pytest.mark.parametrize("release", ["5.2", "7.2", "10.0", "11.1"])
@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ("pcie-root-port,id=port", "port"),
        ("pcie-root-port,id=chassis", "chassis"),
        ("pcie-root-port,id=addr", "addr"),
        ("pcie-pci-bridge,id=addr", "addr"),
        ("pcie-pci-bridge,id=port", ""),
        ("virtio-scsi-pci,id=addr", ""),
    ],
)
def test_a_bus_called_as_a_property_of_its_bridge_is_refused(release: str, words: str, taken: str) -> None:
    """A bridge's bus has its id as name and is its child: QEMU says this and aborts."""
    if not taken:
        machine(release, "q35", "-device", words)
        return
    kind = words.partition(",")[0]
    with pytest.raises(FatalError) as error:
        machine(release, "q35", "-device", words)
    said = f"attempt to add duplicate property '{taken}' to object (type '{kind}')"
    assert str(error.value) == f"-device {words}: {said}"

# SPDX-License-Identifier: Apache-2.0
"""Addresses on PCI buses, and how they show in section names."""

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load


def machine(*devices: str, board: str = "pc-q35", release: str = "7.2") -> Machine:
    given = [word for device in devices for word in ("-device", device)]
    argv = ["--release", release, "-M", f"{board}-{release}", "-m", "16", "-nodefaults", "-S", *given]
    return build_machine(load(release), parse(argv))


def names(made: Machine) -> list[str]:
    return [entry.idstr for entry in made.registry if entry.idstr.startswith("0000:")]


def test_devices_get_the_first_free_slot() -> None:
    found = names(machine("e1000", "virtio-rng-pci,addr=3", "e1000", "e1000"))
    assert [n for n in found if "e1000" in n] == [
        "0000:00:01.0/e1000",
        "0000:00:02.0/e1000",
        "0000:00:04.0/e1000",
    ]


def test_the_chipset_has_its_places() -> None:
    assert {
        "0000:00:00.0/mch",
        "0000:00:1f.0/ICH9LPC",
        "0000:00:1f.2/ich9_ahci",
        "0000:00:1f.3/ich9_smb",
    } <= set(names(machine()))
    assert {"0000:00:00.0/I440FX", "0000:00:01.0/PIIX3", "0000:00:01.1/ide", "0000:00:01.3/piix4_pm"} <= set(
        names(machine(board="pc-i440fx"))
    )


def test_a_path_goes_through_the_bridges() -> None:
    made = machine(
        "pcie-root-port,id=rp,chassis=1,slot=1,addr=4", "pcie-pci-bridge,id=pb,bus=rp", "e1000,bus=pb,addr=3"
    )
    assert "0000:00:04.0:00.0:03.0/e1000" in names(made)


def test_functions_share_a_slot() -> None:
    found = names(machine("e1000,addr=5.0,multifunction=on", "e1000,addr=5.1"))
    assert [n for n in found if "e1000" in n] == ["0000:00:05.0/e1000", "0000:00:05.1/e1000"]


@pytest.mark.parametrize(
    ("devices", "message"),
    [
        (
            ("e1000,addr=5,id=a", "e1000,addr=5"),
            "slot 5 function 0 not available for e1000, in use by e1000,id=a",
        ),
        (("e1000,addr=1f.0",), "slot 31 function 0 not available for e1000, in use by ICH9-LPC"),
        (("pci-bridge",), "Bridge chassis not specified"),
    ],
)
def test_what_does_not_fit_is_refused(devices: tuple[str, ...], message: str) -> None:
    with pytest.raises(FatalError, match=message):
        machine(*devices)


def test_bridges_come_before_the_devices_behind_them() -> None:
    order = [entry.idstr for entry in machine("e1000", "pcie-root-port,id=rp,chassis=1,slot=1").registry]
    assert order.index("0000:00:02.0/pcie-root-port") < order.index("0000:00:01.0/e1000")

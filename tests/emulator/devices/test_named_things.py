# SPDX-License-Identifier: Apache-2.0
"""Properties that name something else, and addresses of cards, as QEMU 5.2.0, 7.2.22 and 10.0.13 have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load

if TYPE_CHECKING:
    from migmatrix.emulator.device import Device

DISK = ("-blockdev", "null-co,node-name=d")
NET = ("-netdev", "hubport,id=n,hubid=0")


def build(*words: str, release: str = "7.2") -> Machine:
    return build_machine(load(release), parse(["-release", release, "-m", "16", "-nodefaults", *words]))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("virtio-blk-pci,drive=x",), "Property 'virtio-blk-device.drive' can't find value 'x'"),
        (("virtio-net-pci,netdev=x",), "Property 'virtio-net-device.netdev' can't find value 'x'"),
        (("e1000e,netdev=x",), "Property 'e1000e.netdev' can't find value 'x'"),
        (("ne2k_isa,netdev=x",), "Property 'ne2k_isa.netdev' can't find value 'x'"),
        (("ide-hd,drive=x",), "Property 'ide-hd.drive' can't find value 'x'"),
        (("nvme,serial=a,drive=x",), "Property 'nvme.drive' can't find value 'x'"),
        (("isa-debugcon,chardev=x",), "Property 'isa-debugcon.chardev' can't find value 'x'"),
        (("virtio-blk-pci,drive=d,iothread=x",), "Device 'x' not found"),
        (("virtio-scsi-pci,iothread=x",), "Device 'x' not found"),
        (("virtio-rng-pci,rng=x",), "Device 'x' not found"),
        (("virtio-scsi-pci,iothread=r",), "Invalid parameter type for 'iothread', expected: iothread"),
        (
            ("virtio-net-pci,netdev=n", "-device", "e1000e,netdev=n"),
            "Property 'e1000e.netdev' can't take value 'n', it's in use",
        ),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(words: tuple[str, ...], said: str) -> None:
    with pytest.raises(FatalError) as caught:
        build(*DISK, *NET, "-object", "rng-builtin,id=r", "-M", "pc-q35-7.2", "-device", *words)
    assert str(caught.value) == f"-device {words[-1]}: {said}"


def test_names_of_what_is_there_are_taken() -> None:
    objects = ("-object", "iothread,id=t", "-object", "rng-builtin,id=r", "-chardev", "null,id=c")
    cards = ("virtio-blk-pci,drive=d,iothread=/objects/t", "virtio-net-pci,netdev=n", "virtio-rng-pci,rng=r",
             "isa-debugcon,chardev=c", "virtio-blk-pci,drive=inner")  # fmt: skip
    inner = ("-blockdev", "raw,node-name=outer,file.driver=null-co,file.node-name=inner")
    words = [word for card in cards for word in ("-device", card)]
    assert build("-M", "pc-q35-7.2", *DISK, *NET, *inner, *objects, *words).ready


def _last_bytes(machine: Machine) -> list[str]:
    found: list[Device] = [d for d in machine.walk() if "mac" in d.props]
    return [d.get("mac") for d in found]


def test_addresses_of_cards_are_counted() -> None:
    cards = (
        "virtio-net-pci",
        "e1000e,mac=52:54:00:12:34:58",
        "e1000",
        "virtio-net-pci",
        "ne2k_isa,mac=02:00:00:00:00:01",
    )
    words = [word for card in cards for word in ("-device", card)]
    assert _last_bytes(build("-M", "pc-q35-7.2", *words)) == [
        "02:00:00:00:00:01", "52:54:00:12:34:56", "52:54:00:12:34:58", "52:54:00:12:34:57", "52:54:00:12:34:59",
    ]  # fmt: skip


def test_an_address_is_free_again_when_its_card_is_gone() -> None:
    machine = build("-M", "pc", "-device", "e1000,id=a", "-device", "e1000,id=b")
    first = machine.find("a")
    assert first is not None
    machine.remove(first)
    assert machine.create("virtio-net-pci").children[0].get("mac") == "52:54:00:12:34:56"


def test_a_serial_number_follows_from_the_address() -> None:
    machine = build("-M", "pc-q35-7.2", "-device", "virtio-net-pci", "-device", "e1000e,id=e")
    card = machine.find("e")
    space = card.space  # type: ignore[union-attr]  # a PCI device, which `find` cannot know
    assert space.read(0x144, 4) == 0xFF123457
    assert space.read(0x148, 4) == 0x525400FF

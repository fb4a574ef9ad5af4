# SPDX-License-Identifier: Apache-2.0
"""`acceptance` against real loads of guests that ran: never a certain refusal of what is taken, and seldom in doubt.

`MIGMATRIX_FIRMWARE_LOADS` and `MIGMATRIX_LINUX_LOADS` are how many loads to do, drawn by `MIGMATRIX_SEED`. Run with `-s`
to see the tables; with every load that is not as said.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

import needs
import pytest
from linux_guest import READY, fetch_linux
from real_loads import SUITES, Builds, Load, Plan, builds
from real_matrix import MATRIX, seed

from migmatrix.harness.config import load_matrix
from migmatrix.harness.select import glob_match
from migmatrix.vmstate.check.accept import Answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.slow,
    pytest.mark.usefixtures("container_engine"),
    pytest.mark.timeout(0),  # as many loads as are asked for
]

MACHINES: Final = (
    "pc-q35-5.2",
    "pc-q35-5.2",
    "pc-q35-7.2",
    "pc-q35-10.0",
    "pc-i440fx-5.2",
    "pc-i440fx-7.2",
    "pc-i440fx-10.0",
    "pc-q35-6.1",
    "pc-i440fx-8.1",
    "pc-q35-9.0",
)
SIGNS: Final = ("SeaBIOS (version", "Booting from", "No bootable device")  # early, later, at the end
FIRMWARE: Final = 30.0  # seconds; it takes one, on a host with nothing else to do
BOOT: Final = 240.0
LOADS_OF_ONE: Final = 2
DISK: Final = ("-blockdev", "null-co,node-name=disk,size=67108864,read-zeroes=on")
NET: Final = ("-netdev", "hubport,id=net,hubid=0")
LINUX: Final = {
    "blk": (*DISK, "-device", "virtio-blk-pci,drive=disk"),
    "scsi": (*DISK, "-device", "virtio-scsi-pci,id=s", "-device", "scsi-hd,bus=s.0,drive=disk"),
    "net": (*NET, "-device", "virtio-net-pci,netdev=net,romfile="),
    "rng+balloon": ("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"),
    "serial": (
        *("-chardev", "null,id=c", "-device", "virtio-serial-pci,id=v"),
        *("-device", "virtserialport,bus=v.0,chardev=c,name=port"),
    ),
    "input": ("-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci"),
    "nvme": (*DISK, "-device", "nvme,drive=disk,serial=z"),
    "transitional": (
        *(*DISK, "-device", "virtio-blk-pci-transitional,drive=disk"),
        *(*NET, "-device", "virtio-net-pci-non-transitional,netdev=net,romfile="),
    ),
    "packed": (
        *(*DISK, "-device", "virtio-blk-pci,drive=disk,packed=on"),
        *(*NET, "-device", "virtio-net-pci,netdev=net,packed=on,romfile="),
    ),
    "smp": ("-smp", "4", "-cpu", "max", *DISK, "-device", "virtio-blk-pci,drive=disk"),
    "hda+usb": ("-device", "qemu-xhci", "-device", "usb-tablet", "-device", "intel-hda"),
}
MICROVM: Final = (*DISK, "-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device")


def wanted(variable: str, default: int) -> int:
    return int(os.environ.get(variable, default))


def firmware_plans(draw: random.Random) -> Iterator[Plan]:
    """Machines with the devices of one to three profiles, whose firmware comes to a sign."""
    profiles = [p for p in load_matrix(MATRIX).profiles if "-nodefaults" in p.args]
    while True:
        machine = draw.choice(MACHINES)
        fitting = [p for p in profiles if any(glob_match(machine, glob) for glob in p.machines)]
        some = draw.sample(fitting, draw.choice((1, 1, 2, 3)))
        devices = [word for i, p in enumerate(some) for word in renamed(p.args, i) if word != "-nodefaults"]
        arguments = (
            "-nodefaults",
            "-m",
            "64",
            *devices,
            "-device",
            "isa-debugcon,iobase=0x402,chardev=console",
        )
        name = f"{machine} {'+'.join(p.name for p in some)}"
        yield Plan(machine, arguments, draw.choice(SIGNS), name, FIRMWARE)


def renamed(arguments: tuple[str, ...], number: int) -> list[str]:
    """The same with ids of its own, so that profiles can be put together."""
    ids = set(re.findall(r"(?:^|,)(?:id|node-name)=([\w-]+)", "\n".join(arguments), re.MULTILINE))
    word = re.compile(rf"(?<=[=,:]){'(' + '|'.join(sorted(ids)) + ')'}(?=[.,]|$)") if ids else None
    return [word.sub(rf"\g<1>x{number}", text) if word else text for text in arguments]


def linux_plans(draw: random.Random, directory: Path) -> Iterator[Plan]:
    """A Linux guest that uses its devices, on each machine with each set of them."""
    linux = fetch_linux(directory)
    if isinstance(linux, str):
        needs.missing(linux)
    every = [
        *((m, n, d, "") for m in ("pc-q35-5.2", "pc-i440fx-7.2", "pc-q35-10.0") for n, d in LINUX.items()),
        *[("microvm,acpi=off", "mmio", MICROVM, "")] * 2,
    ]
    draw.shuffle(every)
    for machine, name, devices, words in every:
        plain = ("-nodefaults", "-vga", "none") if not machine.startswith("microvm") else ("-nodefaults",)
        arguments = (*plain, "-m", "128", *devices, *linux.arguments(words))
        yield Plan(machine, arguments, READY, f"{machine} Linux {name}", BOOT)


def loads(lab: Builds, plans: Iterator[Plan], count: int, of_one: int, draw: random.Random) -> Iterator[Load]:
    """So many loads, `of_one` of each guest, between any two builds, which may be the same."""
    done = 0
    for plan in plans:
        source = draw.choice(list(SUITES))
        path = lab.ran(source, plan)
        if path is None:
            continue
        for destination in draw.sample(list(SUITES), of_one):
            load = lab.load(plan, source, path, destination)
            if load is not None and done < count:
                done += 1
                print(load, flush=True)
                yield load
        path.unlink()
        if done == count:
            return


def judged(found: list[Load]) -> Counter[tuple[str, bool]]:
    """How many of each (answer, taken); none refused for certain and taken, nor taken for sure and refused."""
    table = Counter((str(load.said.answer), load.real) for load in found)
    print(
        f"\n{len(found)} loads of {len({load.plan for load in found})} guests (answer, taken): {dict(table)}"
    )
    assert not [str(load) for load in found if load.real and load.said.answer is Answer.REFUSES]
    assert not [str(load) for load in found if not load.real and load.said.answer is Answer.TAKES]
    good = sum(n for (_, real), n in table.items() if real)
    assert 5 * table["may", True] < good
    return table


def open_directory(path: Path) -> Path:
    """A directory that the containers may write to."""
    path.chmod(0o777)
    return path


def test_guests_whose_firmware_ran(tmp_path: Path) -> None:
    count, draw = wanted("MIGMATRIX_FIRMWARE_LOADS", 12), random.Random(seed())
    with builds(open_directory(tmp_path)) as lab:
        found = list(loads(lab, firmware_plans(draw), count, LOADS_OF_ONE, draw))
    assert sum(judged(found).values()) == count


def test_linux_guests(tmp_path: Path) -> None:
    count, draw = wanted("MIGMATRIX_LINUX_LOADS", 4), random.Random(seed())
    with builds(open_directory(tmp_path)) as lab:
        found = list(loads(lab, linux_plans(draw, tmp_path), count, 3, draw))
    assert sum(judged(found).values()) == count

# SPDX-License-Identifier: Apache-2.0
"""The PCI devices' sections of QEMU 7.2.22 (Debian), never run: same bytes after power-on, and every value is kept.

`sections-7.2.22.json.gz` has them by board and section name; they were saved with the devices below on
``-M pc-q35-7.2`` and ``pc-i440fx-7.2``, ``-m 64``, with the ROMs of the q35 devices left out.
"""

import gzip
import json
from pathlib import Path

import pytest

from migmatrix.emulator.machine import Machine, build_machine
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import load
from migmatrix.vmstate.device.registry import Entry
from migmatrix.vmstate.device.source import BytesSource

Q35 = [
    "pcie-root-port,id=rp0,chassis=1,slot=1",
    "ioh3420,id=rp1,chassis=2,slot=2",
    "pcie-pci-bridge,id=pb",
    "e1000e,romfile=",
    "e1000,romfile=",
    "virtio-net-pci,romfile=",
    "virtio-blk-pci",
    "virtio-scsi-pci",
    "virtio-rng-pci",
    "virtio-balloon-pci",
    "virtio-gpu-pci",
    "virtio-serial-pci",
    "virtio-mem-pci,memdev=m0,memaddr=0x100000000",
    "VGA,romfile=",
    "qemu-xhci,bus=rp0",
    "virtio-net-pci,bus=rp1,romfile=",
    "virtio-blk-pci-transitional",
    "virtio-blk-pci-non-transitional",
]
I440FX = [
    "VGA",
    "cirrus-vga,romfile=",
    "e1000",
    "pci-bridge,chassis_nr=3,id=pb",
    "virtio-rng-pci,bus=pb,addr=2",
    "qemu-xhci",
    "nec-usb-xhci",
    "virtio-net-pci",
]
REAL = json.loads(gzip.decompress((Path(__file__).parent / "sections-7.2.22.json.gz").read_bytes()))
# registers that a card sets at power-on, its number in its address, memory slots (-m slots=2), a filled slot
NOT_SET = ("e1000", "ICH9LPC", "cirrus_vga", "virtio-net", "pci_bridge")
NOT_MODELLED = ("q35 0000:00:1f.0/ICH9LPC",)  # saved with memory slots, which are not modelled


def machine(board: str) -> Machine:
    devices = {"q35": Q35, "i440fx": I440FX}[board]
    argv = ["--release", "7.2", "-M", f"pc-{board}-7.2", "-m", "64", "-nodefaults", "-S"]
    for device in devices:
        argv += ["-device", device]
    if board == "q35":
        argv += ["-object", "memory-backend-ram,id=m0,size=64M"]
    made = build_machine(load("7.2"), parse(argv))
    made.reset()
    return made


@pytest.fixture(scope="module")
def machines() -> dict[str, Machine]:
    return {board: machine(board) for board in ("q35", "i440fx")}


def entry(machines: dict[str, Machine], key: str) -> tuple[Entry, bytes]:
    board, name = key.split()
    return machines[board].registry.find(name, 0), bytes.fromhex(REAL[key])


@pytest.mark.parametrize("key", REAL)
def test_power_on(machines: dict[str, Machine], key: str) -> None:
    ours, real = entry(machines, key)
    saved = ours.save().data
    if any(name in key for name in NOT_SET):
        size = 256 if "/virtio-" in key and "02.0:00.0" not in key else len(saved)
        assert saved[: min(size, 260)] == real[: min(size, 260)]
    else:
        assert saved.hex() == real.hex()


@pytest.mark.parametrize("key", [key for key in REAL if key not in NOT_MODELLED])
def test_every_value_is_kept(machines: dict[str, Machine], key: str) -> None:
    ours, real = entry(machines, key)
    source = BytesSource(real)
    ours.load(source, ours.version_id)
    assert not source.left
    assert ours.save().data.hex() == real.hex()

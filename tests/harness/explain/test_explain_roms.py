# SPDX-License-Identifier: Apache-2.0
"""Option ROMs of another size: both files and sizes are named, and `romsize` only where it can help."""

from __future__ import annotations

import pytest

from migmatrix.harness.explain.roms import rom_note
from migmatrix.harness.model import Cause
from migmatrix.harness.trials.qom import MachineView, Object

ROUTE = ("old", "new")


def view(file: str, *settable: str) -> MachineView:
    card = Object(
        "/machine/peripheral-anon/device[0]", "virtio-net-pci", {"romfile": file}, frozenset(settable)
    )
    return MachineView((card,))


def cause(message: str, kind: str = "ram-size", device: str = "0000:00:02.0/virtio-net-pci.rom") -> Cause:
    return Cause(kind, device, "", message)


LARGER = cause("Size mismatch: 0000:00:02.0/virtio-net-pci.rom: 0x80000 != 0x40000: Invalid argument")
SMALLER = cause("Size too large: 0000:00:02.0/virtio-net-pci.rom: 0x10000 > 0x8000: Invalid argument")


@pytest.mark.parametrize(
    ("views", "of", "said"),
    [
        (
            (view("efi-virtio.rom"), view("pxe-virtio.rom", "romsize", "romfile")),
            LARGER,
            (
                "virtio-net-pci: old loads 'efi-virtio.rom' into 524,288 bytes, new 'pxe-virtio.rom' into 262,144 bytes;"
                " romsize=524288 makes room for it on new"
            ),
        ),
        (
            (view("efi-virtio.rom"), view("pxe-virtio.rom", "romfile")),
            LARGER,
            (
                "virtio-net-pci: old loads 'efi-virtio.rom' into 524,288 bytes, new 'pxe-virtio.rom' into 262,144 bytes;"
                " give new the file that old has, by romfile="
            ),
        ),
        (
            (view("a.rom"), view("b.rom", "romsize")),
            cause("Size mismatch: virtio-net-pci.rom: 0x40000 != 0x80000", device="virtio-net-pci.rom"),
            (
                "virtio-net-pci: old loads 'a.rom' into 262,144 bytes, new 'b.rom' into 524,288 bytes;"
                " give new the file that old has, by romfile="
            ),
        ),
        (
            (MachineView(), MachineView()),
            SMALLER,
            (
                "virtio-net-pci: old loads a ROM into 65,536 bytes, new a ROM into 32,768 bytes;"
                " romsize=65536 on new, if it has that, else the file that old has"
            ),
        ),
        ((MachineView(), MachineView()), cause("Size mismatch: pc.ram: 0x1 != 0x2", device="pc.ram"), ""),
        ((MachineView(), MachineView()), cause("0x1 != 0x2", kind="value"), ""),
        ((MachineView(), MachineView()), cause("no sizes"), ""),
    ],
)
def test_the_note(views: tuple[MachineView, MachineView], of: Cause, said: str) -> None:
    assert rom_note(views, ROUTE, of) == said

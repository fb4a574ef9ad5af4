# SPDX-License-Identifier: Apache-2.0
"""Sizes, lengths and conditions of the fields that `-dump-vmstate` prints, against the records of real QEMU.

Names, versions and subsections are compared by `test_real_descriptions`. The tables below are all differences, compared for
equality: one that was mended must be taken out. QEMU's size is that of a C object, which is what is sent of plain
numbers only; structs are compared by their fields, and their length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from real_devices import BUILDS
from real_fields import pairs

if TYPE_CHECKING:
    from pathlib import Path

# those that print the length of arrays
WITH_LENGTHS = ("10.0.13", "11.1.3")
# end of the path: (bytes here, bytes in QEMU)
SIZES = {
    "fw_cfg_io.cur_offset": (2, 4),  # two bytes are sent of a number of four
    "fifo.data": (16, 0),  # 0: as many as the FIFO was made for, which only its state says
    "shpc": (160, 0),  # 0: a function of the controller sends it
}
# path: (length here, length in QEMU)
LENGTHS = {
    "PIIX4_PM.acpi_pci_hotplug.acpi_pcihp_pci_status": (
        None,
        256,
    ),  # the first of them, by name, and no other
    # QEMU takes the length from the state; it never changes
    "isa-fdc.state.fifo": (512, None),
    "ich9-ahci.ahci.dev": (6, None),
    **{f"{name}-xhci.xhci.intr": (16, None) for name in ("nec-usb", "pci", "qemu")},
    **{f"{name}-xhci.xhci.slots": (64, None) for name in ("nec-usb", "pci", "qemu")},
}
_ALWAYS = {
    "e1000.unused": (False, True),  # QEMU's first piece is of version 1 only; the emulator has the second
    "pcie-pci-bridge.shpc": (True, False),  # without the controller there is nothing to send
}
# 11.1 has no machine type left that switches these off, so QEMU dropped the conditions; here they are always true
CONDITIONS = {
    "5.2.0": _ALWAYS,
    "7.2.22": _ALWAYS,
    "10.0.13": _ALWAYS,
    "11.1.3": _ALWAYS
    | dict.fromkeys(
        (
            "ICH9-SMB.irq_enabled",
            "ICH9-SMB.smb",
            "PIIX4_PM.smb",
            "pcie-root-port.parent_obj.parent_obj.parent_obj.parent_obj",
        ),
        (True, False),
    ),
}


def _end(path: str, table: dict[str, Any]) -> str:
    return next((end for end in table if path.endswith(end)), path)


@pytest.mark.parametrize("build", BUILDS)
def test_a_plain_field_has_qemus_size(build: str, tmp_path: Path) -> None:
    found = {
        _end(path, SIZES): (ours["size"], real["size"])
        for path, ours, real in pairs(build, tmp_path)
        if "Description" not in ours and ours["size"] != real["size"]
    }
    assert found == SIZES


@pytest.mark.parametrize("build", WITH_LENGTHS)
def test_an_array_has_qemus_length(build: str, tmp_path: Path) -> None:
    found = {
        path: (ours.get("num"), real.get("num"))
        for path, ours, real in pairs(build, tmp_path)
        if ours.get("num") != real.get("num")
    }
    assert found == LENGTHS


@pytest.mark.parametrize("build", BUILDS)
def test_a_field_is_conditional_where_qemus_is(build: str, tmp_path: Path) -> None:
    found = {
        path: (ours["field_exists"], real["field_exists"])
        for path, ours, real in pairs(build, tmp_path)
        if ours["field_exists"] != real["field_exists"]
    }
    assert found == CONDITIONS[build]


@pytest.mark.parametrize("build", BUILDS)
def test_structs_are_structs_in_both(build: str, tmp_path: Path) -> None:
    odd = [
        path
        for path, ours, real in pairs(build, tmp_path)
        if ("Description" in ours) != ("Description" in real)
    ]
    assert not odd


@pytest.mark.parametrize("build", BUILDS)
def test_enough_fields_are_compared(build: str, tmp_path: Path) -> None:
    """A path that leads nowhere would leave the tests above empty."""
    every = [*pairs(build, tmp_path)]
    plain = [path for path, ours, _ in every if "Description" not in ours]
    assert len(plain) > 600
    assert len(every) - len(plain) > 80
    assert {"ioapic.ioredtbl", "isa-pit.channels.mode", "e1000e.core.mac", "ICH9-LPC.d.version_id"} <= {
        *plain
    }

# SPDX-License-Identifier: Apache-2.0
"""The device profiles that ship: shape and coverage."""

from __future__ import annotations

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
PROFILES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "machines" / "profiles.yaml").read_text())
LEGACY_NAMES = ("net", "blk", "scsi", "serial", "rng", "balloon", "9p")


def text(name: str) -> str:
    return " ".join(PROFILES[name]["args"])


@pytest.mark.parametrize("device", LEGACY_NAMES)
@pytest.mark.parametrize("variant", ["", "-transitional", "-non-transitional"])
def test_virtio_devices_under_all_their_names(device: str, variant: str) -> None:
    assert f"virtio-{device}-pci{variant}" in text(f"virtio-{device}{variant}")


@pytest.mark.parametrize(
    "device",
    [
        "e1000",
        "e1000e",
        "rtl8139",
        "vmxnet3",
        "pcnet",
        "igb",
        "tulip",
        "ne2k_pci",
        "pcie-root-port",
        "ioh3420",
        "pci-bridge",
        "pcie-pci-bridge",
        "x3130-upstream",
        "xio3130-downstream",
        "pxb-pcie",
        "scsi-hd",
        "scsi-cd",
        "lsi53c895a",
        "megasas",
        "mptsas1068",
        "pvscsi",
        "ich9-ahci",
        "nvme",
        "sd-card",
        "usb-tablet",
        "usb-kbd",
        "qemu-xhci",
        "nec-usb-xhci",
        "usb-storage",
        "VGA",
        "cirrus-vga",
        "qxl-vga",
        "vmware-svga",
        "bochs-display",
        "ramfb",
        "virtio-gpu-pci",
        "AC97",
        "ES1370",
        "intel-hda",
        "hda-duplex",
        "i6300esb",
        "ib700",
        "ipmi-bmc-sim",
        "isa-ipmi-kcs",
        "intel-iommu",
        "virtio-iommu-pci",
        "pc-dimm",
        "nvdimm",
        "virtio-mem-pci",
        "vmgenid",
        "vmcoreinfo",
        "pvpanic",
    ],
)
def test_device_families(device: str) -> None:
    assert any(f"-device {device}" in text(name) for name in PROFILES)


@pytest.mark.parametrize("name", [name for name in PROFILES if name != "default"])
def test_profiles_name_all_they_want(name: str) -> None:
    profile = PROFILES[name]
    assert profile["args"][0] == "-nodefaults"
    assert profile["description"]
    assert all(isinstance(arg, str) for arg in profile["args"])
    # nothing of the host: no files but those every build ships, no network, no sockets
    paths = re.findall(r"=(/[^, ]+)", text(name))
    assert set(paths) <= {"/usr/share/seabios"}
    assert not re.search(r"-chardev socket|-netdev (user|tap)", text(name))


@pytest.mark.parametrize("name", list(PROFILES))
def test_roms_hide_nothing(name: str) -> None:
    """Only the profiles made for it take the distribution's option ROM."""
    cards = [arg for arg in PROFILES[name]["args"] if "netdev=n" in arg and "ne2k_isa" not in arg]
    assert all("romfile=" in arg for arg in cards) != name.endswith("-rom") or not cards


def test_machine_globs_match_what_the_matrix_has() -> None:
    globs = {glob for profile in PROFILES.values() for glob in profile.get("machines", ())}
    assert all(fnmatch("pc-q35-7.2", g) or fnmatch("pc-i440fx-7.2", g) for g in globs)

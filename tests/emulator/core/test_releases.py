# SPDX-License-Identifier: Apache-2.0
"""Machine types, compat tables and boards by release; the reference lists are those of QEMU 10.0.13 and 11.1.3."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from migmatrix.emulator.devices import classes
from migmatrix.emulator.errors import FatalError
from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.migration.handlers import iterative
from migmatrix.emulator.options.parse import parse
from migmatrix.emulator.release import Release, data_root, freeze, load, thaw
from migmatrix.emulator.release_data import releases

if TYPE_CHECKING:
    from pathlib import Path

MATRIX = [r for r in releases(data_root()) if r not in {"2.4", "2.5", "2.6", "2.7", "2.8", "2.9", "2.10"}]


def _names(release: Release, board: str) -> list[str]:
    return [t.version for t in release.machine_types.values() if t.board == board]


def _values(release: str, machine: str, device: str, prop: str) -> list[str]:
    known = load(release)
    entries = known.compat_entries(known.machine_types[machine])
    return [e.value for e in entries if (e.device, e.property) == (device, prop)]


@pytest.mark.parametrize(
    ("release", "newest", "oldest", "deprecated"),
    [
        ("5.2", "5.2", "2.4", 0),
        ("7.2", "7.2", "2.4", 0),
        ("8.0.1", "8.0", "2.4", 0),
        ("10.0", "10.0", "2.4", 22),
        ("11.1", "11.1", "5.2", 9),
    ],
)
def test_machine_types_are_those_of_qemu(release: str, newest: str, oldest: str, deprecated: int) -> None:
    known = load(release)
    q35 = [t for t in known.machine_types.values() if t.board == "pc-q35"]
    assert (q35[0].version, q35[-1].version) == (newest, oldest)
    assert sum(bool(t.deprecated) for t in q35) == deprecated
    assert known.machine_type("q35") is q35[0]
    assert known.default_machine.name == f"pc-i440fx-{newest}"


def test_limits_of_processors_grow_with_the_machine_version() -> None:
    types = load("10.0").machine_types
    assert [types[f"pc-q35-{v}"].max_cpus for v in ("2.7", "8.0", "8.1", "9.0")] == [255, 288, 1024, 4096]
    assert types["pc-q35-5.0"].numa_mem_supported
    assert not types["pc-q35-5.1"].numa_mem_supported


@pytest.mark.parametrize(
    ("release", "machine", "device", "prop", "values"),
    [
        ("8.0", "pc-q35-7.2", "pci-device", "x-pcie-err-unc-mask", []),
        ("8.0.1", "pc-q35-7.2", "pci-device", "x-pcie-err-unc-mask", ["off"]),
        ("8.0.1", "pc-q35-8.0", "pci-device", "x-pcie-err-unc-mask", []),
        ("8.0", "pc-q35-7.2", "e1000e", "migrate-timadj", ["off"]),
        ("8.2", "pc-q35-8.1", "virtio-net-device", "host_uso", []),
        ("8.2", "pc-q35-8.0", "virtio-net-device", "host_uso", ["off"]),
        ("9.1", "pc-q35-8.1", "virtio-net-device", "host_uso", ["off"]),
        ("9.0", "pc-q35-8.2", "virtio-gpu-device", "x-scanout-vmstate-version", []),
        ("9.1", "pc-q35-8.2", "virtio-gpu-device", "x-scanout-vmstate-version", ["1"]),
        ("8.0", "pc-q35-7.1", "virtio-rng-pci", "vectors", ["0"]),
        ("6.1", "pc-q35-5.2", "virtio-net-pci-base", "vectors", []),
        ("6.1", "pc-q35-5.2", "virtio-net-pci", "vectors", ["3"]),
        ("6.2", "pc-q35-5.2", "virtio-net-pci-base", "vectors", ["3"]),
        ("11.1", "pc-q35-8.2", "virtio-iommu-pci", "aw-bits", ["39", "64"]),
        ("11.1", "pc-i440fx-8.2", "virtio-iommu-pci", "aw-bits", ["64"]),
        ("5.2", "pc-q35-5.1", "virtio-blk-device", "num-queues", ["1"]),
        ("5.1", "pc-q35-5.1", "virtio-blk-device", "num-queues", []),
    ],
)
def test_an_entry_applies_from_the_release_that_shipped_it(
    release: str, machine: str, device: str, prop: str, values: list[str]
) -> None:
    assert _values(release, machine, device, prop) == values


def test_4_0_1_has_the_table_of_4_0() -> None:
    types = load("10.0").machine_types
    assert types["pc-q35-4.0.1"].compat == types["pc-q35-4.0"].compat
    assert types["pc-q35-4.0"].compat[-1] == "hw_compat_4_0"


def test_capabilities_and_parameters_come_and_go() -> None:
    assert "zero-blocks" in load("10.0").capabilities
    assert "zero-blocks" not in load("11.1").capabilities
    assert "compress-level" in load("7.2").parameters
    assert load("10.0").parameters["zero-page-detection"] == "multifd"
    assert "mapped-ram" not in load("8.2").capabilities


def test_a_release_nobody_knows_is_refused() -> None:
    with pytest.raises(FatalError, match=r"unknown release '3\.7'"):
        load("3.7")


def test_a_frozen_release_is_the_same(tmp_path: Path) -> None:
    known = load("8.0")
    freeze(known, tmp_path / "r")
    assert thaw(tmp_path / "r").facts() == known.facts()
    (tmp_path / "half").write_bytes((tmp_path / "r").read_bytes()[:-9])
    with pytest.raises(FatalError, match="cannot read release file"):
        thaw(tmp_path / "half")


@pytest.mark.parametrize("release", MATRIX)
def test_every_board_is_complete(release: str) -> None:
    known = load(release)
    for machine in ("none", "isapc", "pc", "q35"):
        built = build_machine(known, parse(["-M", machine, "-m", "16"]))
        names = [(e.idstr, e.instance_id) for e in built.registry]
        assert names, machine
        if machine in ("pc", "q35"):
            assert len(names) == len(set(names))
            assert {"fw_cfg", "PCIBUS", "acpi_build", "ioapic"} <= {name for name, _ in names}


# QEMU's own streams, saved without a guest; globalstate and ram are the migration's
_PC_7_2 = [
    "timer",
    "slirp",
    "cpu_common",
    "cpu",
    "kvm-tpr-opt",
    "apic",
    "fw_cfg",
    "PCIHost",
    "PCIBUS",
    "0000:00:00.0/I440FX",
    "dma",
    "dma",
    "0000:00:01.0/PIIX3",
    "i8259",
    "i8259",
    "ioapic",
    "0000:00:02.0/vga",
    "hpet",
    "mc146818rtc",
    "i8254",
    "pcspk",
    "serial",
    "parallel_isa",
    "fdc",
    "ps2kbd",
    "ps2mouse",
    "pckbd",
    "vmmouse",
    "port92",
    "0000:00:03.0/e1000",
    "0000:00:01.1/ide",
    "i2c_bus",
    "0000:00:01.3/piix4_pm",
    "acpi_build",
]
_PC_10_0 = [
    "timer",
    "slirp",
    "cpu_common",
    "cpu",
    "kvm-tpr-opt",
    "apic",
    "0000:00:00.0/I440FX",
    "PCIHost",
    "PCIBUS",
    "fw_cfg",
    "dma",
    "dma",
    "mc146818rtc",
    "0000:00:01.1/ide",
    "i2c_bus",
    "0000:00:01.3/piix4_pm",
    "0000:00:01.0/PIIX3",
    "i8259",
    "i8259",
    "ioapic",
    "0000:00:02.0/vga",
    "hpet",
    "i8254",
    "pcspk",
    "serial",
    "parallel_isa",
    "fdc",
    "ps2kbd",
    "ps2mouse",
    "pckbd",
    "vmmouse",
    "port92",
    "0000:00:03.0/e1000",
    "acpi_build",
]


@pytest.mark.parametrize(("release", "order"), [("7.2", _PC_7_2), ("10.0", _PC_10_0)])
def test_sections_of_a_pc_are_in_qemus_order(release: str, order: list[str]) -> None:
    built = build_machine(load(release), parse(["-M", "pc", "-m", "16"]))
    whole = [
        e.idstr for e in built.registry if iterative(e) is None
    ]  # the others come in parts, before these
    assert whole == order


def test_blocks_that_firmware_reads() -> None:
    new = build_machine(load("7.2"), parse(["-M", "q35", "-m", "16", "-nodefaults"])).ram_blocks
    old = build_machine(load("5.2"), parse(["-M", "q35", "-m", "16", "-nodefaults"])).ram_blocks
    assert (new["/rom@etc/acpi/tables"].used_length, new["/rom@etc/acpi/tables"].max_size) == (
        0x20000,
        0x200000,
    )
    assert (old["/rom@etc/table-loader"].max_size, new["/rom@etc/table-loader"].max_size) == (0x1000, 0x10000)
    assert list(new)[:3] == ["pc.ram", "pc.bios", "pc.rom"]


def test_every_device_class_names_its_type() -> None:
    names = [cls.type_name for cls in classes()]
    assert "e1000e" in names
    assert all(names)


_START = """
import sys
sys.path.insert(0, sys.argv[1])
from migmatrix.emulator.machine import build_machine
from migmatrix.emulator.options.records import Options
from migmatrix.emulator.release import thaw
build_machine(thaw(sys.argv[2]), Options(machine="pc-q35-7.2", nodefaults=True, memory_bytes=1 << 24))
print(*sorted({"yaml", "dataclasses", "inspect", "asyncio", "logging", "argparse", "pathlib"} & set(sys.modules)))
"""


def test_a_frozen_release_starts_without_heavy_modules(tmp_path: Path) -> None:
    freeze(load("8.0"), tmp_path / "r")
    root = data_root().removesuffix("/migmatrix/data")
    argv = [sys.executable, "-I", "-S", "-c", _START, root, str(tmp_path / "r")]
    assert subprocess.run(argv, capture_output=True, text=True, check=True).stdout == "\n"

# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: ISC004 - each edit is two texts, a tuple of them has no third
"""The reference emulator with faults planted in it: what `migmatrix explore` is measured on.

Each fault is a change of the emulator's own source, compat table or board, as a change of QEMU's made one like it: it
prints nothing, and shows by what is sent and what is taken only. `plant` makes a copy of the sources with any of them,
and a bundle of that copy, as the harness makes one of the emulator as it is.

The searched pair is release `OLD` as it is and release `NEW` with the faults, on `MACHINES`. `key` is the finding that a
fault shows as, a glob, `witness` the smallest command line that shows it, on `machine`. No two faults have a key in
common, and each is in devices of its own as far as that goes, so that one build has them all and none hides another.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from migmatrix.harness.builds.bundle import Bundles, Sources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from migmatrix.harness.builds.bundle import Bundle
    from migmatrix.harness.run.pipeline import Prepared

__all__ = ["FAULTS", "MACHINES", "NEW", "OLD", "Fault", "matrix_of", "plant", "supervised"]

ROOT = Path(__file__).parents[2]
OLD, NEW = "10.0", "10.1"
Q35, I440FX = "pc-q35-10.0", "pc-i440fx-10.0"
MACHINES = ("pc-q35-7.2", Q35, "pc-i440fx-7.2", I440FX)
_DEVICES = "emulator/devices"


@dataclass(frozen=True)
class Fault:
    """One fault: in `file`, `before` becomes `after`, wherever it stands; `kind` is what real break it is like."""

    name: str
    kind: str
    file: str
    edits: tuple[tuple[str, str], ...]
    key: str
    witness: tuple[str, ...]
    machine: str = Q35

    def is_seen(self, keys: Iterable[str]) -> str | None:
        """The first of the keys of findings that this fault shows as."""
        return next((key for key in keys if fnmatchcase(key, self.key)), None)

    def apply(self, root: Path) -> None:
        """Change the file below `root`; AssertionError where the source no longer has what is replaced."""
        path = root / self.file
        text = path.read_text()
        for before, after in self.edits:
            assert before in text, f"{self.name}: {self.file} has no {before!r}"
            text = text.replace(before, after)
        path.write_text(text)


def _fault(name: str, kind: str, file: str, *edits: tuple[str, str], **more: Any) -> Fault:
    return Fault(name, kind, file, edits, **more)


def _dev(*words: str) -> tuple[str, ...]:
    return tuple(word for value in words for word in ("-device", value))


FAULTS = (
    _fault(
        "gpu-outputs", "a default that changed without an entry, on one device", f"{_DEVICES}/virtio/gpu.py",
        ('Property("max_outputs", UINT32, 1)', 'Property("max_outputs", UINT32, 2)'),
        key="equal-check virtio-gpu", witness=_dev("virtio-gpu-pci"),
    ),
    _fault(
        "vga-edid", "an option that adds a field", f"{_DEVICES}/pci/display.py",
        (
            '    vmstate = VMState(\n        "vga", (parent("dev"), struct("vga", VGA_WITH_VBE, attr="")),',
            '    edid_size = 0\n    vmstate = VMState(\n        "vga", (parent("dev"), struct("vga", VGA_WITH_VBE, attr=""),'
            ' uint32("edid_size", test=lambda vga, _: not vga.props["edid"])),',
        ),
        key="missing-footer vga", witness=_dev("VGA,edid=off"),
    ),
    _fault(
        "port-hotplug", "a field under a wrong condition", f"{_DEVICES}/pci/ports.py",
        ('port.trait("x-migrate-msix")', 'port.trait("x-migrate-msix") and port.props["hotplug"]'),
        key="missing-footer pcie-root-port", witness=_dev("pcie-root-port,hotplug=off,chassis=1"),
    ),
    _fault(
        "bridge-quiet", "two options that break only together", f"{_DEVICES}/pci/bridges.py",
        (
            'return bool(bridge.props["shpc"])\n\n\ndef _registers',
            'return bool(bridge.props["shpc"]) or bridge.props["msi"] == "off"\n\n\ndef _registers',
        ),
        key="missing-footer pci_bridge", witness=_dev("pci-bridge,chassis_nr=1,shpc=off,msi=off"),
    ),
    _fault(
        "balloon-memory", "two devices that break only together", f"{_DEVICES}/virtio/balloon.py",
        (
            "        subsections=(\n",
            '        subsections=(\n            VMState("virtio-balloon-device/plugged", (uint32("actual"),), 1, 1,'
            ' needed=lambda d: any(o.type_name == "virtio-mem" for o in d.machine.walk())),\n',
        ),
        key="missing-subsection virtio-balloon",
        witness=(
            "-m", "slots=4,maxmem=1G", "-object", "memory-backend-ram,id=m,size=128M",
            *_dev("virtio-balloon-pci", "virtio-mem-pci,memdev=m"),
        ),
    ),
    _fault(
        "e1000-bridged", "behind a bridge only", f"{_DEVICES}/pci/e1000.py",
        (
            'uint32("mac_reg[2]", attr="vlan", count=128),',
            'uint32("mac_reg[2]", attr="vlan", count=128), uint32("latency", test=lambda card, _:'
            " not card.pci_bus.root and not card.pci_bus.express),",
        ),
        key="missing-footer eN", witness=_dev("pci-bridge,id=b,chassis_nr=1", "e1000,bus=b,addr=1"),
    ),
    _fault(
        "serial-shared", "only with two of a device", f"{_DEVICES}/isa/serial.py",
        ("        uart.poll_msl = -1\n", "        uart.poll_msl = -1\n        uart.shared = any(\n"
         "            isinstance(d, Serial) and d.realized and d is not self for d in self.machine.walk()\n        )\n"),
        ("    subsections=(\n", '    subsections=(\n        _one("shared_irq", uint8("shared"), lambda s: bool(s.shared)),\n'),
        key="missing-subsection serial", witness=_dev("isa-serial", "isa-serial"),
    ),
    _fault(
        "ports-overflow", "a size that overflows", f"{_DEVICES}/virtio/serial.py",
        ('bytes(4 * ((int(self.props["max_ports"]) - 1) // 32))', 'bytes(4 * (int(self.props["max_ports"]) // 32))'),
        key="missing-footer virtio-console", witness=_dev("virtio-serial-pci,max_ports=32"),
    ),
    _fault(
        "parallel-mode", "a subsection that is always sent", f"{_DEVICES}/isa/parallel.py",
        (
            "    minimum_version_id=1,\n)",
            "    minimum_version_id=1,\n    subsections=("
            'VMState("parallel_isa/mode", (uint8("state.mode"),), 1, 1),),\n)',
        ),
        key="missing-subsection parallel_isa", witness=_dev("isa-parallel"),
    ),
    _fault(
        "ne2000-version", "a version without the minimum of before", f"{_DEVICES}/isa/ne2000.py",
        ("VMSTATE_NE2000),), 2, 0)", "VMSTATE_NE2000),), 3, 3)"),
        key="section-version neN", witness=("-netdev", "hubport,id=n,hubid=0", *_dev("ne2k_isa,netdev=n")),
    ),
    _fault(
        "port-renamed", "a section renamed", f"{_DEVICES}/pci/ports.py",
        ("ioh-3240-express-root-port", "ioh-3420-express-root-port"),
        key="missing-device ioh-N-express-root-port", witness=_dev("ioh3420,chassis=1"),
    ),
    _fault(
        "vmport-switch", "a machine option", "data/machines/boards.yaml",
        ("{type: vmmouse, switch: [vmport, i8042]}", "{type: vmmouse, switch: [i8042]}"),
        key="missing-device vmmouse", witness=("-machine", "vmport=off"),
    ),
    _fault(
        "kbd-throttle", "a -global of a built-in device", f"{_DEVICES}/isa/keyboard.py",
        (
            '(struct("kbd", _VMSTATE_CONTROLLER),), 3, 3)',
            '(struct("kbd", _VMSTATE_CONTROLLER), uint8("throttled", attr="kbd.throttle",'
            " test=lambda state, _: state.kbd.throttle)), 3, 3)",
        ),
        ("        kbd.pending = 0\n", '        kbd.pending = 0\n        kbd.throttle = int(self.props.get("kbd-throttle", False))\n'),
        key="missing-footer pckbd", witness=("-global", "i8042.kbd-throttle=on"),
    ),
    _fault(
        "memory-slots", "memory slots", f"{_DEVICES}/pci/q35.py",
        ("= machine.options.memory_slots", "= min(machine.options.memory_slots, 16)"),
        key="missing-footer ICHNLPC", witness=("-m", "64,slots=32,maxmem=4G"),
    ),
    _fault(
        "memory-entry", "only on one machine version: its table lacks an entry", "data/compat/hw_compat_7_2.yaml",
        ('  - {device: "virtio-mem", property: "x-early-migration", value: "false"}\n', ""),
        key="missing-device virtio-mem-device-early", machine="pc-q35-7.2",
        witness=("-m", "slots=4,maxmem=1G", "-object", "memory-backend-ram,id=m,size=128M",
                 *_dev("virtio-mem-pci,memdev=m")),
    ),
    _fault(
        "cirrus-check", "one direction only: what the old side sends is refused", f"{_DEVICES}/pci/display.py",
        (
            '    type_name = "cirrus-vga"\n',
            '    type_name = "cirrus-vga"\n\n    def init(self) -> None:\n        super().init()\n'
            "        self.cirrus_hidden_dac_lockindex = 5\n\n    def _check(self, _version: int) -> None:\n"
            "        if not self.cirrus_hidden_dac_lockindex:\n            raise HookError('', 22)\n\n",
        ),
        ('struct("cirrus_vga", VMSTATE_CIRRUS, attr="")),\n', 'struct("cirrus_vga", VMSTATE_CIRRUS, attr="")),\n        post_load=_check,\n'),
        ("description import VMState", "description import HookError, VMState"),
        key="post-load cirrus_vga", witness=_dev("cirrus-vga"),
    ),
    _fault(
        "rom-size", "the size of a ROM", f"{_DEVICES}/pci/device.py",
        ("size = padded if size and padded != _DEFAULT_ROM", "size = max(padded, 1 << 17) if size and padded != _DEFAULT_ROM"),
        key="ram-size *", witness=_dev("VGA,romsize=65536"),
    ),
    _fault(
        "disk-queues", "a default that changes with a count", f"{_DEVICES}/virtio/block.py",
        ("self.machine.smp.cpus if given", "min(self.machine.smp.cpus, 2) if given"),
        key="pci-config 0x9a", witness=("-smp", "4", *_dev("virtio-blk-pci")),
    ),
    _fault(
        "scsi-queues", "queues above a number", f"{_DEVICES}/virtio/scsi.py",
        (
            '    vmstate = backend("virtio-scsi", 1)\n',
            '    vmstate = backend("virtio-scsi", 1)\n    pending = 0\n    own = VMState(\n        "virtio-scsi-device",'
            ' (uint32("pending", test=lambda scsi, _: scsi.queues > 32),), 1, 1\n    )\n',
        ),
        ("__all__ =", "from migmatrix.vmstate.device.description import VMState\n"
         "from migmatrix.vmstate.device.fields import uint32\n\n__all__ ="),
        key="missing-footer virtio-scsi", witness=_dev("virtio-scsi-pci,num_queues=64"),
    ),
    _fault(
        "ats-aligned", "an option that matters behind a port only", f"{_DEVICES}/virtio/transport.py",
        ('aligned=self.trait("x-ats-page-aligned"))', "aligned=False)"),
        key="pci-config 0x1??", witness=_dev("pcie-root-port,id=p,chassis=1", "virtio-rng-pci,ats=on,bus=p"),
    ),
)  # fmt: skip


def plant(faults: Iterable[Fault], directory: Path, cache: Path | None = None) -> Bundle:
    """A bundle of the emulator with `faults`; its sources are copied to `directory`, which must not be there."""
    package = directory / "migmatrix"
    package.mkdir(parents=True)
    for name, where in (
        ("emulator", "emulator"),
        ("vmstate", "vmstate"),
        ("machines", "data/machines"),
        ("compat", "data/compat"),
    ):
        shutil.copytree(ROOT / name, package / where, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "migmatrix" / "__init__.py", package)
    for fault in faults:
        fault.apply(package)
    return Bundles(cache or directory / "cache", Sources(directory)).get()


def matrix_of(bundle: Bundle, **changes: Any) -> dict[str, Any]:
    """A matrix of the pair that is searched."""
    return {
        "builds": {
            "old": {"provider": "emulator", "release": OLD},
            "planted": {"provider": "binary", "path": str(bundle.binary(NEW))},
        },
        "engine": "process",
        "machines": list(MACHINES),
        "defaults": {"args": ["-m", "16", "-nodefaults"]},
        "profiles": {"define": {"bare": {"args": []}}},
        **changes,
    }


def supervised(prepared: Prepared, bundle: Bundle) -> Prepared:
    """The same with the planted build started by fork, as those of the emulator are."""
    builds = {
        id_: replace(build, supervisor=str(bundle.forkserver))
        if build.binary == str(bundle.binary(NEW))
        else build
        for id_, build in prepared.builds.items()
    }
    return replace(prepared, builds=builds)

# SPDX-License-Identifier: Apache-2.0
"""Properties of machine types (`-machine NAME=VALUE`): each is done, or refused by name, or changes nothing that migrates.

Names, kinds and life-times: `qom-list-properties` of pc-q35-5.2 and none in QEMU 5.2.0, 7.2.22, 10.0.13 and 11.1.3. What
`SILENT` says was seen for all but `spcr` in one pair of streams each: pc-q35-10.0 of 10.0.13, stopped, 64 MiB, with and
without the property. Sections and blocks are the same; values differ in CMOS bytes that firmware reads (`fd-bootchk`,
`max-ram-below-4g`) and in pages of the ACPI tables (`max-ram-below-4g`, `nvdimm`, `x-oem-id`, `x-oem-table-id`), which a load
replaces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from migmatrix.emulator.errors import FatalError, PropertyError
from migmatrix.emulator.properties import (
    BOOL,
    OFF_WORDS,
    ON_OFF_AUTO,
    SIZE,
    STRING,
    UINT64,
    Form,
    Kind,
    Property,
)
from migmatrix.vmstate.device.lifetime import lives

if TYPE_CHECKING:
    from migmatrix.emulator.options.keyvalue import Pairs

__all__ = ["DONE", "REFUSED", "SILENT", "MachineProps", "machine_properties", "read_machine_props"]

_GENERIC: Final = frozenset(
    ("append", "aux-ram-share", "confidential-guest-support", "dt-compatible", "dtb", "dump-guest-core", "dumpdtb",
     "firmware", "graphics", "initrd", "kernel", "mem-merge", "memory-backend", "memory-encryption", "phandle-start",
     "shim", "smp-cache", "suppress-vmdesc", "usb", "x-change-vmfd-on-reset"),
)  # fmt: skip


class _Prop(NamedTuple):
    kind: Kind
    since: str = ""
    why: str = ""  # of one that changes nothing: the reason


# What the emulator does: a switch leaves out the entries of boards.yaml that name it.
DONE: Final = {
    "acpi": _Prop(ON_OFF_AUTO),
    "hpet": _Prop(BOOL),
    "i8042": _Prop(BOOL, "7.0"),
    "pic": _Prop(ON_OFF_AUTO, "7.0"),
    "pit": _Prop(ON_OFF_AUTO),
    "sata": _Prop(BOOL),
    "smbus": _Prop(BOOL),
    "vmport": _Prop(ON_OFF_AUTO),
    "firmware": _Prop(STRING),
    "memory-backend": _Prop(STRING),
    "suppress-vmdesc": _Prop(BOOL),
}
_HOST: Final = "the host's memory or accelerator"
_TABLES: Final = "only text in tables that firmware reads, whose content the emulator does not make"
SILENT: Final = {
    "aux-ram-share": _Prop(BOOL, "9.2", _HOST),
    "bus-lock-ratelimit": _Prop(UINT64, "6.2", _HOST),
    "default-bus-bypass-iommu": _Prop(BOOL, "6.1", _TABLES),
    "dt-compatible": _Prop(STRING, "", "a device tree, which PCs do not have"),
    "dump-guest-core": _Prop(BOOL, "", _HOST),
    "fd-bootchk": _Prop(BOOL, "8.2", "a byte of CMOS memory that firmware reads"),
    "graphics": _Prop(BOOL, "", "a wish that firmware reads"),
    "hmat": _Prop(BOOL, "", _TABLES),
    "kernel-irqchip": _Prop(STRING, "", _HOST),
    "kvm-shadow-mem": _Prop(SIZE, "", _HOST),
    "max-fw-size": _Prop(SIZE, "6.0", "a limit of the firmware's file"),
    "max-ram-below-4g": _Prop(SIZE, "", "where memory lies: streams have no addresses"),
    "mem-merge": _Prop(BOOL, "", _HOST),
    "nvdimm": _Prop(BOOL, "", "slots for NVDIMMs, which the emulator does not have"),
    "phandle-start": _Prop(UINT64, "", "a device tree, which PCs do not have"),
    "smbios-entry-point-type": _Prop(STRING, "6.2", _TABLES),
    "spcr": _Prop(BOOL, "11.0", _TABLES),
    "x-oem-id": _Prop(STRING, "6.0", _TABLES),
    "x-oem-table-id": _Prop(STRING, "6.0", _TABLES),
}
# Real, and not the emulator's. The value is the only one that it can take, None when there is none.
REFUSED: Final[dict[str, tuple[str, str | None]]] = {
    "append": ("", None),
    "confidential-guest-support": ("6.0", None),
    "cxl": ("7.1", "off"),
    "dtb": ("", None),
    "dumpdtb": ("", None),
    "igd-passthru": ("", "off"),
    "initrd": ("", None),
    "kernel": ("", None),
    "memory-encryption": ("", None),
    "nvdimm-persistence": ("", None),
    "pcspk-audiodev": ("", None),
    "pflash0": ("", None),
    "pflash1": ("", None),
    "shim": ("9.2", None),
    "smm": ("", "on"),
    "smp-cache": ("10.0", None),
    "usb": ("", "off"),
    "wdat": ("11.1", "off"),
    "x-change-vmfd-on-reset": ("11.0", "off"),
    "x-south-bridge": ("8.2", "PIIX3"),
}
_VALUES: Final = ("suppress-vmdesc", "firmware", "memory-backend")  # no switches of parts of the board
_COMPOUND: Final = {"boot": "7.1", "cxl-fmw": "7.1", "memory": "7.1", "sgx-epc": "6.2", "smp": "6.1"}


class MachineProps(NamedTuple):
    """What `-machine` said: the switches that are off, the backend of guest memory, no description in streams.

    `firmware` is the file of the BIOS, None when nothing was said of it.
    """

    off: frozenset[str] = frozenset()
    memory_backend: str = ""
    suppress_vmdesc: bool = False
    firmware: str | None = None


def read_machine_props(given: Pairs, machine: str, release: str) -> MachineProps:
    """Check and read the properties of a command line for the machine type `machine`; FatalError in QEMU's words."""
    values = {name: _read(name, value, machine, release) for name, value in given}
    off = (name for name, value in values.items() if value in (False, "off") and name not in _VALUES)
    backend = str(values.get("memory-backend", ""))
    firmware = str(values["firmware"]) if "firmware" in values else None
    return MachineProps(frozenset(off), backend, bool(values.get("suppress-vmdesc", False)), firmware)


def _read(name: str, value: str, machine: str, release: str) -> object:
    head = name.partition(".")[0]
    known = DONE.get(name) or SILENT.get(name)
    since = known.since if known else REFUSED[name][0] if name in REFUSED else _COMPOUND.get(head, "999")
    if not lives(since, "", release) or (
        machine == "none" and name not in _GENERIC and head not in _COMPOUND
    ):
        raise FatalError(f"Property '{machine}-machine.{name}' not found")
    if known is None and (name, machine) != ("usb", "none"):  # which has no bus for a controller
        _refuse(name, value)
    if known is None:
        return value
    form = Form.of_device_option(release)  # both options learned the newer grammar within a year
    try:
        return Property(name, known.kind).read(value, form, f"{machine}-machine", release)
    except PropertyError as why:
        raise FatalError(str(why)) from why


def _refuse(name: str, value: str) -> None:
    """The value that the machine has anyhow is no wish; any other is one that cannot be met."""
    only = REFUSED.get(name, ("", None))[1]
    if value == only or (only == "off" and value in OFF_WORDS) or (name == "smm" and value == "auto"):
        return
    raise FatalError(f"-machine {name}={value}: the emulator cannot do this")


def machine_properties(machine: str, release: str) -> list[dict[str, str]]:
    """Name and type of each property of a machine type, those that can only be refused included."""
    known = {name: (prop.since, prop.kind.name) for name, prop in (DONE | SILENT).items()}
    refused = {
        name: (since, "bool" if only in ("on", "off") else "string")
        for name, (since, only) in REFUSED.items()
    }
    compound = {name: (since, name) for name, since in _COMPOUND.items()}
    rows = {**known, **refused, **compound}
    return [{"name": "type", "type": "string"}] + [
        {"name": name, "type": kind}
        for name, (since, kind) in rows.items()
        if lives(since, "", release) and (machine != "none" or name in _GENERIC or name in _COMPOUND)
    ]

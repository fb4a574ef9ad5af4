# SPDX-License-Identifier: Apache-2.0
"""The i440FX chipset: host bridge, PIIX3 (ISA bridge and IDE), PIIX4 power management."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from migmatrix.emulator.devices.isa.ide import VMSTATE_IDE_BUS, VMSTATE_IDE_DRIVE, reset_bus
from migmatrix.emulator.devices.pci.config import IO
from migmatrix.emulator.devices.pci.cpuhp import cpu_hotplug, start_cpu_hotplug
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.pcihp import STATUS, pcihp_fields
from migmatrix.emulator.devices.pci.q35 import MEMORY_HOTPLUG, PCIHostBridge, start_memory_hotplug
from migmatrix.emulator.devices.pci.smbus import APM, I2C_BUS, MIGRATES_SMBUS, PMSMB, i2c_bus, sends_smbus
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import clear, made
from migmatrix.emulator.properties import BOOL, UINT8, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, int64, struct, timer, uint8, uint16, uint32, unused

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.config import ConfigSpace

__all__ = ["I440FX", "PIIX3", "PIIX3IDE", "PIIX4PM", "I440FXHost"]

_BASE: Final = "acpi_pci_hotplug"
_CHANNELS: Final = 2
_PIIX3_REGISTERS: Final = (
    (0x4C, 1, 0x4D), (0x4E, 1, 0x03), (0x60, 4, 0x80808080), (0x69, 1, 0x02), (0x70, 1, 0x80), (0x76, 2, 0x0C0C),
    (0x78, 1, 0x02), (0xA0, 1, 0x08), (0xA8, 1, 0x0F),
)  # fmt: skip
_PM_REGISTERS: Final = ((0x40, 1, 0x01), (0x5F, 1, 0x10), (0x63, 1, 0x60), (0x90, 2, 0xB101), (0xD2, 1, 0x09))


class I440FXHost(PCIHostBridge):
    """The host bridge."""

    type_name = "i440FX-pcihost"
    properties: ClassVar[tuple[Property, ...]] = (Property("x-pci-hole64-fix", BOOL, True, since="2.11"),)


class I440FX(PCIDevice):
    """The memory controller, function 0.0."""

    type_name = "i440FX"
    user_creatable = False
    identity: ClassVar[Identity] = Identity(0x8086, 0x1237, 0x0600, revision=2)
    vmstate = VMState("I440FX", (parent("parent_obj"), unused(1)), version_id=3, minimum_version_id=3)

    def configure(self, space: ConfigSpace) -> None:
        """Memory in units of 8 MiB, as firmware reads it; system management memory is closed."""
        space.write(0x57, 1, min(self.machine.memory_bytes >> 23, 0xFF))
        space.write(0x72, 1, 0x02)


class PIIX3(PCIDevice):
    """The ISA bridge, function 1.0."""

    type_name = "PIIX3"
    user_creatable = False
    multifunction = True
    identity: ClassVar[Identity] = Identity(0x8086, 0x7000, 0x0601, status=0x0200)
    vmstate = VMState(
        "PIIX3",
        (parent("dev"), int32("pci_irq_levels_vmstate", attr="levels", count=4, version=3)),
        version_id=3,
        minimum_version_id=2,
    )

    def init(self) -> None:
        """No interrupt is pending."""
        self.levels = [0] * 4

    def configure(self, space: ConfigSpace) -> None:
        """Registers after power-on; all are the guest's."""
        for offset, size, value in _PIIX3_REGISTERS:
            space.write(offset, size, value)


_BMDMA: Final = VMState(
    "ide bmdma",
    (
        uint8("cmd"),
        uint8("migration_compat_status"),
        uint32("addr"),
        int64("migration_retry_sector_num"),
        uint32("migration_retry_nsector"),
        uint8("migration_retry_unit"),
    ),
    version_id=3,
)


class PIIX3IDE(PCIDevice):
    """Two IDE channels, function 1.1; drives have no sections of their own."""

    type_name = "piix3-ide"
    identity: ClassVar[Identity] = Identity(0x8086, 0x7010, 0x0101, interface=0x80, status=0x0280)
    bars = ((4, IO, 0x10),)
    vmstate = VMState(
        "ide",
        (
            parent("parent_obj"),
            struct("bmdma", _BMDMA, count=_CHANNELS),
            struct("bus", VMSTATE_IDE_BUS, attr="channels", count=_CHANNELS, version=1),
            struct("bus[0].ifs", VMSTATE_IDE_DRIVE, attr="first.ifs", count=2, version=3),
            struct("bus[1].ifs", VMSTATE_IDE_DRIVE, attr="second.ifs", count=2, version=3),
        ),
        version_id=3,
    )

    def init(self) -> None:
        """Idle channels without drives."""
        self.bmdma = [made(_BMDMA) for _ in range(_CHANNELS)]
        self.first, self.second = (made(VMSTATE_IDE_BUS) for _ in range(_CHANNELS))
        self.channels = [self.first, self.second]
        for channel in self.channels:
            channel.ifs = [made(VMSTATE_IDE_DRIVE) for _ in range(2)]
            reset_bus(channel, ("none", "none"))


def _indexed(pm: PIIX4PM, _version: int) -> bool:
    return not pm.props["x-not-migrate-acpi-index"]


def _bridged(pm: PIIX4PM, _version: int) -> bool:
    return bool(pm.props["acpi-pci-hotplug-with-bridge-support"])


def _flat(pm: PIIX4PM, version: int) -> bool:
    return not _bridged(pm, version)


_SELECT, _STATUS, _INDEX = pcihp_fields(_BASE, "pcihp", test=_bridged)


class PIIX4PM(PCIDevice):
    """Power management and SMBus, function 1.3."""

    type_name = "PIIX4_PM"
    user_creatable = False
    hotpluggable = False
    identity: ClassVar[Identity] = Identity(0x8086, 0x7113, 0x0680, revision=3, status=0x0280, pin=1)
    bars = ()
    properties: ClassVar[tuple[Property, ...]] = (
        Property("smb_io_base", UINT32, 0xB100),
        Property("disable_s3", UINT8, 1),
        Property("disable_s4", UINT8, 1),
        Property("s4_val", UINT8, 2),
        Property("acpi-pci-hotplug-with-bridge-support", BOOL, True),
        Property("acpi-root-pci-hotplug", BOOL, True, since="5.2"),
        Property("memory-hotplug-support", BOOL, True, since="2.4"),
        Property("smm-compat", BOOL, False, since="6.0"),
        Property("smm-enabled", BOOL, False, since="6.0"),
        Property("x-not-migrate-acpi-index", BOOL, False, since="6.2.92"),
        MIGRATES_SMBUS,
    )
    vmstate: ClassVar[VMState] = VMState(
        "piix4_pm",
        (
            parent("parent_obj"),
            uint16("ar.pm1.evt.sts", attr="pm1_sts"),
            uint16("ar.pm1.evt.en", attr="pm1_en"),
            uint16("ar.pm1.cnt.cnt", attr="pm1_cnt"),
            struct("apm", APM),
            struct("smb", PMSMB, test=sends_smbus, since="4.0"),
            timer("ar.tmr.timer", attr="tmr_timer"),
            int64("ar.tmr.overflow_time", attr="overflow_time"),
            struct("ar.gpe", VMState("gpe", (uint16("sts"), uint16("en")), 1, 1), attr="gpe"),
            struct(f"{_BASE}.acpi_pcihp_pci_status", STATUS, attr="pcihp.root", count=1, test=_flat),
            _SELECT,
            _STATUS,
            uint32(_INDEX.name, attr=_INDEX.attr, since="6.2.50", until="6.2.92"),
            uint32(_INDEX.name, attr=_INDEX.attr, test=_indexed, since="6.2.92"),
        ),
        version_id=3,
        minimum_version_id=3,
        subsections=(
            VMState(
                "piix4_pm/memhp",
                (struct("acpi_memory_hotplug", MEMORY_HOTPLUG),),
                version_id=1,
                minimum_version_id=1,
                needed=lambda pm: pm.props["memory-hotplug-support"],
            ),
            cpu_hotplug("piix4_pm/cpuhp"),
        ),
    )

    def init(self) -> None:
        """Registers after power-on."""
        clear(self.vmstate, self)
        self.cpuhp_state = start_cpu_hotplug(self.machine)
        start_memory_hotplug(self.machine, self)
        self.smb, self.i2c = made(PMSMB), i2c_bus()
        self.pm1_sts, self.smb.smb_auxctl, self.smb.op_done = 1, 2, True

    def realize(self) -> None:
        """The bus's section comes before the controller's."""
        self.register(I2C_BUS, self.i2c, path="")
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """Registers after power-on; all are the guest's."""
        for offset, size, value in _PM_REGISTERS:
            space.write(offset, size, value)

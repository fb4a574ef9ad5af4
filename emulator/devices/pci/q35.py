# SPDX-License-Identifier: Apache-2.0
"""The q35 chipset: host bridge with its MCH, LPC bridge, as PCI functions 0.0 and 1f.0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.pci.bus import PCIBUS, PCIBus, PCIEBus
from migmatrix.emulator.devices.pci.cpuhp import cpu_hotplug, start_cpu_hotplug
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.pcihp import pcihp_fields
from migmatrix.emulator.devices.pci.smbus import APM
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import made
from migmatrix.emulator.properties import BOOL, SIZE, UINT8, UINT16, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import boolean, int64, struct, timer, uint8, uint16, uint32, unused

if TYPE_CHECKING:
    from migmatrix.emulator.devices.pci.config import ConfigSpace
    from migmatrix.emulator.machine import Machine

__all__ = ["ICH9LPC", "MCH", "MEMORY_HOTPLUG", "PCIHostBridge", "Q35Host", "start_memory_hotplug"]

_LINES: Final = 8
_CHIP_CONFIG: Final = 0x4000
_TSEG: Final = 0x50  # register: megabytes of system management memory that firmware may take
_MCH_REGISTERS: Final = ((0x63, 1, 0xB0), (0x9D, 2, 0x3802))
_LPC_REGISTERS: Final = ((0x40, 1, 0x01), (0x60, 4, 0x80808080), (0x68, 4, 0x80808080))

PCIHOST: Final = VMState(
    "PCIHost",
    (uint32("config_reg"),),
    version_id=1,
    minimum_version_id=1,
    needed=lambda host: host.props.get("x-config-reg-migration-enabled", False),
)
_MEMORY_SLOT: Final = VMState(
    "memory hotplug device state",
    (boolean("is_enabled"), boolean("is_inserting"), uint32("ost_event"), uint32("ost_status")),
    version_id=1,
    minimum_version_id=1,
)
MEMORY_HOTPLUG: Final = VMState(
    "memory hotplug state",
    (uint32("selector"), struct("devs", _MEMORY_SLOT, count="slots")),
    version_id=1,
    minimum_version_id=1,
)


def start_memory_hotplug(machine: Machine, state: Any) -> None:
    """As many slots as `-m slots=` says, all empty."""
    hotplug = state.acpi_memory_hotplug
    hotplug.slots = machine.options.memory_slots
    hotplug.devs = [made(_MEMORY_SLOT) for _ in range(hotplug.slots)]


_TCO: Final = VMState(
    "tco io device status",
    (
        uint16("tco.rld", attr="rld"), uint8("tco.din", attr="din"), uint8("tco.dout", attr="dout"),
        *(uint16(f"tco.{n}", attr=n) for n in ("sts1", "sts2", "cnt1", "cnt2")),
        *(uint8(f"tco.{n}", attr=n) for n in ("msg1", "msg2", "wdcnt")),
        uint16("tco.tmr", attr="tmr"), uint8("sw_irq_gen"), timer("tco_timer"), int64("expire_time"),
        uint8("timeouts_no"),
    ),
    version_id=1,
    minimum_version_id=1,
)  # fmt: skip
_TCO_RESET: Final[dict[str, Any]] = {"rld": 0, "cnt2": 8, "tmr": 4, "sw_irq_gen": 3, "expire_time": -1}
_PM: Final = VMState(
    "ich9_pm",
    (
        uint16("acpi_regs.pm1.evt.sts", attr="pm1_sts"),
        uint16("acpi_regs.pm1.evt.en", attr="pm1_en"),
        uint16("acpi_regs.pm1.cnt.cnt", attr="pm1_cnt"),
        timer("acpi_regs.tmr.timer", attr="tmr_timer"),
        int64("acpi_regs.tmr.overflow_time", attr="overflow_time"),
        uint8("acpi_regs.gpe.sts", attr="gpe_sts", count=16),
        uint8("acpi_regs.gpe.en", attr="gpe_en", count=16),
        uint32("smi_en"),
        uint32("smi_sts"),
    ),
    version_id=1,
    minimum_version_id=1,
    subsections=(
        VMState(
            "ich9_pm/memhp",
            (struct("acpi_memory_hotplug", MEMORY_HOTPLUG),),
            version_id=1,
            minimum_version_id=1,
        ),
        VMState("ich9_pm/tco", (struct("tco_regs", _TCO),), version_id=1, minimum_version_id=1),
        VMState(
            "ich9_pm/pcihp",
            pcihp_fields("acpi_pci_hotplug", "pcihp"),
            version_id=1,
            minimum_version_id=1,
            needed=lambda pm: pm.with_pcihp,
            since="6.1",
        ),
        cpu_hotplug("ich9_pm/cpuhp"),
    ),
)


class PCIHostBridge(Device):
    """What every host bridge has: the address register at 0xCF8, which was not sent before 5.1."""

    type_name = "pci-host-bridge"
    abstract = True
    user_creatable = False
    lines: ClassVar[int] = 4
    bus_class: ClassVar[type[PCIBus]] = PCIBus
    bus_name: ClassVar[str] = "pci.0"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("x-config-reg-migration-enabled", BOOL, True, since="5.1"),
    )
    vmstate = PCIHOST

    def init(self) -> None:
        """The root bus."""
        self.config_reg = 0
        self.root = self.bus_class(self.bus_name, self, lines=self.lines)
        self.add_bus(self.root)

    def realize(self) -> None:
        """The bridge's own section is only there in releases that have one; then the bus."""
        super().realize()
        self.register(PCIBUS, self.root, path="")


class Q35Host(PCIHostBridge):
    """q35's host bridge; its root bus is PCI Express."""

    type_name = "q35-pcihost"
    lines = _LINES
    bus_class = PCIEBus
    bus_name = "pcie.0"
    properties: ClassVar[tuple[Property, ...]] = (
        Property("MCFG", SIZE, 0xB0000000),
        Property("pci-hole64-size", SIZE, 1 << 35),
        Property("short_root_bus", UINT8, 0),
        Property("below-4g-mem-size", SIZE, 0),
        Property("above-4g-mem-size", SIZE, 0),
        Property("x-pci-hole64-fix", BOOL, True, since="2.11"),
    )


class MCH(PCIDevice):
    """The memory controller, function 0.0."""

    type_name = "mch"
    user_creatable = False
    identity: ClassVar[Identity] = Identity(0x8086, 0x29C0, 0x0600)
    properties: ClassVar[tuple[Property, ...]] = (
        Property("extended-tseg-mbytes", UINT16, 16, since="2.10", changes=(("10.2", 64),)),
        Property("smbase-smram", BOOL, True, since="5.0"),
    )
    vmstate = VMState("mch", (parent("parent_obj"), unused(1)), version_id=1, minimum_version_id=1)

    def configure(self, space: ConfigSpace) -> None:
        """Registers after power-on; all are the guest's."""
        for offset, size, value in _MCH_REGISTERS:
            space.write(offset, size, value)
        space.write(_TSEG, 2, int(self.props.get("extended-tseg-mbytes", 0)))


class ICH9LPC(PCIDevice):
    """The LPC bridge, function 1f.0: power management, SMI, chip configuration registers."""

    type_name = "ICH9-LPC"
    user_creatable = False
    identity: ClassVar[Identity] = Identity(0x8086, 0x2918, 0x0601, revision=2)
    multifunction = True
    properties: ClassVar[tuple[Property, ...]] = (
        Property("noreboot", BOOL, True, changes=(("8.0", False),)),
        Property("smm-compat", BOOL, False, since="6.0"),
        Property("smm-enabled", BOOL, False, since="6.0"),
        Property("x-smi-broadcast", BOOL, True, since="2.9"),
        Property("x-smi-cpu-hotplug", BOOL, True, since="5.2"),
        Property("x-smi-cpu-hotunplug", BOOL, True, since="6.0"),
        Property("x-smi-swsmi-timer", BOOL, True, since="9.2"),
        Property("x-smi-periodic-timer", BOOL, True, since="9.2"),
        Property("memory-hotplug-support", BOOL, True),
        Property("acpi-pci-hotplug-with-bridge-support", BOOL, True, since="6.1"),
        Property("x-keep-pci-slot-hpc", BOOL, True, since="6.1"),
    )
    vmstate = VMState(
        "ICH9LPC",
        (
            parent("d"),
            struct("apm", APM),
            struct("pm", _PM),
            uint8("chip_config", count=_CHIP_CONFIG),
            uint32("sci_level"),
        ),
        version_id=1,
        minimum_version_id=1,
    )

    def init(self) -> None:
        """Registers after power-on."""
        self.apm, self.pm = made(APM), made(_PM)
        vars(self.pm.tco_regs).update(_TCO_RESET)
        self.pm.cpuhp_state = start_cpu_hotplug(self.machine)
        start_memory_hotplug(self.machine, self.pm)
        self.chip_config, self.sci_level = [0] * _CHIP_CONFIG, 0

    def realize(self) -> None:
        """Whether slots behind bridges are hotplugged by ACPI decides about a subsection."""
        self.pm.with_pcihp = self.props.get("acpi-pci-hotplug-with-bridge-support", False)
        super().realize()

    def configure(self, space: ConfigSpace) -> None:
        """Interrupt routing is off."""
        for offset, size, value in _LPC_REGISTERS:
            space.write(offset, size, value)

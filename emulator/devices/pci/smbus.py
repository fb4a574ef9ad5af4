# SPDX-License-Identifier: Apache-2.0
"""SMBus controllers and what they share: the registers `pmsmb`, APM, the i2c bus section.

Row 2.7 of the track record is here: a development version sent one more byte of `i2c_bus`.
"""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.pci.config import IO
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import Part, made
from migmatrix.emulator.properties import BOOL, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import boolean, struct, uint8, uint32

__all__ = ["APM", "I2C_BUS", "ICH9SMB", "MIGRATES_SMBUS", "PMSMB", "SMBusEeprom", "i2c_bus", "sends_smbus"]

_BYTES: Final = ("smb_stat", "smb_ctl", "smb_cmd", "smb_addr", "smb_data0", "smb_data1")
_FLAGS: Final = ("i2c_enable", "op_done", "in_i2c_block_read", "start_transaction_on_status_read")
_DATA: Final = 32

APM: Final = VMState("APM State", (uint8("apmc"), uint8("apms")), version_id=1, minimum_version_id=1)
PMSMB: Final = VMState(
    "pmsmb",
    (
        *map(uint8, _BYTES),
        uint32("smb_index"),
        uint8("smb_data", count=_DATA),
        uint8("smb_auxctl"),
        uint8("smb_blkdata"),
        *map(boolean, _FLAGS),
    ),
    version_id=1,
    minimum_version_id=1,
)
I2C_BUS: Final = VMState(
    "i2c_bus",
    (
        uint8("saved_address"),
        # sent by development versions only; the release took it out again
        uint8("broadcast", since="2.6.50", until="2.6.91"),
    ),
    version_id=1,
    minimum_version_id=1,
)


# In QEMU a flag of the machine class (smbus_no_migration_support), for machines up to 3.1; here an entry of that table.
MIGRATES_SMBUS: Final = Property(
    "x-migrate-smbus", BOOL, True, since="4.0", help="emulator only: send the SMBus registers"
)


def sends_smbus(device: PCIDevice, _version: int) -> bool:
    """Whether the registers are sent at all."""
    return bool(device.props["x-migrate-smbus"])


def i2c_bus() -> Part:
    """An idle bus."""
    bus = made(I2C_BUS)
    bus.saved_address = 0xFF
    return bus


class ICH9SMB(PCIDevice):
    """q35's SMBus controller, 1f.3."""

    type_name = "ICH9-SMB"
    user_creatable = False
    identity: ClassVar[Identity] = Identity(0x8086, 0x2930, 0x0C05, revision=2, pin=1, header=0)
    multifunction = True
    bars = ((4, IO, 0x20),)
    properties: ClassVar[tuple[Property, ...]] = (MIGRATES_SMBUS,)
    vmstate = VMState(
        "ich9_smb",
        (
            parent("dev"),
            boolean("irq_enabled", test=sends_smbus, since="4.0"),
            struct("smb", PMSMB, test=sends_smbus, since="4.0"),
        ),
        version_id=1,
        minimum_version_id=1,
    )

    def init(self) -> None:
        """Idle, with an empty bus."""
        self.irq_enabled = False
        self.smb = made(PMSMB)
        self.smb.op_done = True
        self.i2c = i2c_bus()

    def realize(self) -> None:
        """The section of its bus, then its own."""
        self.register(I2C_BUS, self.i2c, path="")
        super().realize()


class SMBusEeprom(Device):
    """One of eight memories that describe memory modules.

    QEMU sends its section once a guest has read it, which no guest program here does: only its place is modelled.
    """

    type_name = "smbus-eeprom"
    user_creatable = False

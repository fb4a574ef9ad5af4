# SPDX-License-Identifier: Apache-2.0
"""q35's SATA controller, `ich9-ahci`: six ports, each with the registers of an IDE bus and of one drive."""

from __future__ import annotations

from typing import ClassVar, Final

from migmatrix.emulator.devices.isa.ide import VMSTATE_IDE_BUS, VMSTATE_IDE_DRIVE, reset_bus
from migmatrix.emulator.devices.pci import capabilities as caps
from migmatrix.emulator.devices.pci.config import IO, MEM, ConfigSpace
from migmatrix.emulator.devices.pci.device import Identity, PCIDevice
from migmatrix.emulator.devices.pci.state import parent
from migmatrix.emulator.devices.state import Part, made
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import boolean, int32, int32_equal, struct, uint8, uint32, uint64

__all__ = ["ICH9AHCI"]

_PORTS: Final = 6
_SLOTS: Final = 32
_NCQ_COMMANDS: Final = (0x60, 0x61, 0x63, 0x64, 0x65)  # Serial ATA, native command queuing
_REGISTERS: Final = (
    "lst_addr", "lst_addr_hi", "fis_addr", "fis_addr_hi", "irq_stat", "irq_mask", "cmd", "tfdata", "sig",
    "scr_stat", "scr_ctl", "scr_err", "scr_act", "cmd_issue",
)  # fmt: skip
_CONTROL: Final = ("cap", "ghc", "irqstatus", "impl", "version")
_NCQ: Final = VMState(
    "ncq state",
    (
        uint32("sector_count"), uint64("lba"), uint8("tag"), uint8("cmd"), uint8("slot"), boolean("used"),
        boolean("halt"),
    ),
    version_id=1,
)  # fmt: skip
_PORT: Final = VMState(
    "ahci port",
    (
        struct("port", VMSTATE_IDE_BUS),
        struct("port.ifs", VMSTATE_IDE_DRIVE, count=1),
        uint32("port_state"),
        uint32("finished"),
        *(uint32(f"port_regs.{name}", attr=name) for name in _REGISTERS),
        boolean("done_first_drq"),
        int32("busy_slot"),
        boolean("init_d2h_sent"),
        struct("ncq_tfs", _NCQ, count=_SLOTS),
    ),
    version_id=1,
)


def _check(controller: ICH9AHCI, _version: int) -> None:
    """What QEMU refuses without a word: commands that cannot be, and a slot that is not there."""
    for port in controller.ports:
        for command in port.ncq_tfs:
            if command.used != command.halt:
                raise HookError("")
            if command.halt and (command.cmd not in _NCQ_COMMANDS or command.slot != command.tag):
                raise HookError("")
        if not -1 <= port.busy_slot < _SLOTS:
            raise HookError("")


_AHCI: Final = VMState(
    "ahci",
    (
        struct("dev", _PORT, attr="ports", count=_PORTS),
        *(uint32(f"control_regs.{name}", attr=name) for name in _CONTROL),
        uint32("idp_index"),
        int32_equal("ports", attr="port_count"),
    ),
    version_id=1,
    post_load=_check,
)


def _port() -> Part:
    port = made(_PORT)
    reset_bus(port.port, ("none",))
    vars(port).update(tfdata=0x7F, sig=0xFFFFFFFF, cmd=6, busy_slot=-1)
    return port


class ICH9AHCI(PCIDevice):
    """The controller, function 1f.2."""

    type_name = "ich9-ahci"
    aliases = ("ahci",)
    identity: ClassVar[Identity] = Identity(0x8086, 0x2922, 0x0106, revision=2, interface=1, pin=1)
    bars = ((4, IO, 0x20), (5, MEM, 0x1000))
    vmstate = VMState(
        "ich9_ahci",
        (parent("parent_obj"), struct("ahci", _AHCI, attr="")),
        version_id=1,
    )

    def init(self) -> None:
        """Registers after power-on, no drives."""
        self.ports = [_port() for _ in range(_PORTS)]
        self.port_count = _PORTS
        self.cap, self.ghc, self.irqstatus, self.impl, self.version = 0xC0141F05, 0x80000000, 0, 0x3F, 0x10000
        self.idp_index = 0

    def configure(self, space: ConfigSpace) -> None:
        """SATA first, then MSI, which therefore leads the list."""
        space.write(0x90, 1, 0x40)
        caps.sata(space, 0xA8)
        caps.msi(space, 1, 0x80, wide=True, maskable=False)

# SPDX-License-Identifier: Apache-2.0
"""IDE: a channel with two drives. QEMU: `hw/ide/core.c`, `hw/ide/isa.c`; the document's example of subsections.

``ide_drive/pio_state`` is only sent in the middle of a transfer by the processor (status bit DRQ, or a retry that
is pending), so nearly every stream is readable by releases that do not know it. `ide_bus_fields` are the fields
that any controller with such channels sends (``isa-ide``, ``ide``, ``ahci``).
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.state import Timeline, any_set
from migmatrix.emulator.properties import STRING, UINT32, Property
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import boolean, buffer, int32, int64, struct, uint8, uint32

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import Field

__all__ = ["VMSTATE_IDE_BUS", "VMSTATE_IDE_DRIVE", "IsaIde", "ide_bus_fields", "reset_bus"]

DRIVES: Final = 2
NO_UNIT: Final = 0xFFFFFFFF  # a drive takes the first free place
_IDENTIFY_BYTES: Final = 512
_IO_BUFFER_BYTES: Final = 256 * 512 + 4
_TRANSFER_ENDS: Final = 6  # read, write, stop, two of ATAPI, dummy
_STATUS_DRQ: Final = 0x08
_RETRY_PIO: Final = 0x08
_STATUS_READY: Final = 0x50  # drive ready, seek complete
_SELECT_LBA: Final = 0xA0
_MULTIPLE: Final = 16
_SIGNATURES: Final = {"none": (0xFF, 0xFF), "disk": (0x00, 0x00), "cdrom": (0x14, 0xEB)}


def _identified(drive: Any, _version: int) -> bool:
    return bool(drive.identify_set)


def _pio_needed(drive: Any) -> bool:
    return bool(drive.status & _STATUS_DRQ or drive.channel.error_status & _RETRY_PIO)


def _pio_loaded(drive: Any, _version: int) -> None:
    """What a hostile stream could point outside of the buffer."""
    end = drive.cur_io_buffer_offset + drive.cur_io_buffer_len
    if (
        drive.end_transfer_fn_idx >= _TRANSFER_ENDS
        or not 0 <= drive.cur_io_buffer_offset <= end <= _IO_BUFFER_BYTES
    ):
        raise HookError("transfer outside of the buffer", errno.EINVAL)


def _old_media_change(drive: Any, version: int) -> None:
    """Before version 3 a changed medium was only told by sense data."""
    unit_attention, may_have_changed = 0x06, 0x28
    if version < 3 and (drive.sense_key, drive.asc) == (unit_attention, may_have_changed):  # noqa: PLR2004
        drive.cdrom_changed = 1


VMSTATE_IDE_DRIVE = VMState(
    "ide_drive",
    (
        int32("mult_sectors"),
        int32("identify_set"),
        buffer("identify_data", _IDENTIFY_BYTES, test=_identified),
        uint8("feature"),
        uint8("error"),
        uint32("nsector"),
        uint8("sector"),
        uint8("lcyl"),
        uint8("hcyl"),
        uint8("hob_feature"),
        uint8("hob_sector"),
        uint8("hob_nsector"),
        uint8("hob_lcyl"),
        uint8("hob_hcyl"),
        uint8("select"),
        uint8("status"),
        uint8("lba48"),
        uint8("sense_key"),
        uint8("asc"),
        uint8("cdrom_changed", version=3),
    ),
    version_id=3,
    minimum_version_id=0,
    post_load=_old_media_change,
    subsections=(
        VMState(
            "ide_drive/pio_state",
            (
                int32("req_nb_sectors"),
                uint8("io_buffer", count="io_buffer_total_len", version=1),
                int32("cur_io_buffer_offset"),
                int32("cur_io_buffer_len"),
                uint8("end_transfer_fn_idx"),
                int32("elementary_transfer_size"),
                int32("packet_transfer_size"),
            ),
            1, 1, needed=_pio_needed, post_load=_pio_loaded,
        ),
        VMState(
            "ide_drive/tray_state", (boolean("tray_open"), boolean("tray_locked")), 1, 1,
            needed=any_set("tray_open", "tray_locked"),
        ),
        VMState(
            "ide_drive/atapi/gesn_state", (boolean("events.new_media"), boolean("events.eject_request")), 1, 1,
            needed=any_set("events.new_media", "events.eject_request"),
        ),
    ),
)  # fmt: skip

VMSTATE_IDE_BUS = VMState(
    "ide_bus",
    (uint8("cmd"), uint8("unit")),
    version_id=1,
    minimum_version_id=1,
    subsections=(
        VMState(
            "ide_bus/error",
            (
                int32("error_status"),
                int64("retry_sector_num", version=2),
                uint32("retry_nsector", version=2),
                uint8("retry_unit", version=2),
            ),
            2, 1, needed=any_set("error_status"),
        ),
    ),
)  # fmt: skip


def ide_bus_fields(name: str) -> tuple[Field, ...]:
    """The channel `name` and its two drives, as controllers send them."""
    return (
        struct(name, VMSTATE_IDE_BUS, version=1),
        struct(f"{name}.ifs", VMSTATE_IDE_DRIVE, count=DRIVES, version=3),
    )


def reset_bus(channel: Any, drives: tuple[str, ...]) -> None:
    """Power-on state of a channel; `drives` says for each place whether it has a ``disk``, ``cdrom`` or ``none``."""
    for drive, kind in zip(channel.ifs, drives, strict=True):
        drive.channel = channel
        drive.mult_sectors = _MULTIPLE
        drive.nsector = drive.sector = 1
        drive.lcyl, drive.hcyl = _SIGNATURES[kind]
        drive.select = _SELECT_LBA
        drive.status = _STATUS_READY
        drive.io_buffer_total_len = _IO_BUFFER_BYTES
        drive.io_buffer = bytearray(_IO_BUFFER_BYTES)  # a list would be a megabyte


VMSTATE_IDE_ISA = VMState("isa-ide", ide_bus_fields("bus"), 3, 0)

# Both channels said instance 0 until they were counted, so a stream of two channels loads twice into the first.
_INSTANCE: Final = Timeline(0, ("8.2", None))


def free_unit(bus: Bus) -> int:
    """The lowest unit that no device of the bus has."""
    taken = {device.props["unit"] for device in bus.devices}
    return next(unit for unit in range(DRIVES) if unit not in taken)


class IdeBus(Bus):
    """Two places for drives."""

    kind = "IDE"

    def __init__(self, name: str, parent: Device) -> None:
        super().__init__(name, parent, limit=DRIVES)

    def kinds_of_drives(self) -> tuple[str, str]:
        """For each place ``disk``, ``cdrom`` or ``none``."""
        found = {
            device.props["unit"]: device.drive for device in self.devices if isinstance(device, IdeDrive)
        }
        return found.get(0, "none"), found.get(1, "none")


class IsaIde(IsaDevice):
    """A channel on the ISA bus."""

    type_name = "isa-ide"
    properties = (
        Property("iobase", UINT32, 0x1F0),
        Property("iobase2", UINT32, 0x3F6),
        Property("irq", UINT32, 14),
    )
    vmstate = VMSTATE_IDE_ISA

    def init(self) -> None:
        """Offer a bus; find the instance id of the release."""
        super().init()
        self.instance_id = _INSTANCE.at(self.machine.release.name)
        number = sum(isinstance(bus, IdeBus) for bus in self.machine.all_buses())
        self.channel = IdeBus(f"ide.{number}", self)
        self.add_bus(self.channel)

    def reset(self) -> None:
        """Power-on state."""
        super().reset()
        reset_bus(self.state.bus, self.channel.kinds_of_drives())


class IdeDrive(Device):
    """What a channel holds; its state is in the channel's section."""

    type_name = "ide-device"
    abstract = True
    bus = "IDE"
    drive = "none"
    properties = (Property("unit", UINT32, NO_UNIT), Property("drive", STRING))

    def realize(self) -> None:
        """Appear on the channel, in the first free place if no unit is given."""
        if self.props["unit"] == NO_UNIT and self.parent_bus is not None:
            self.props["unit"] = free_unit(self.parent_bus)
        super().realize()
        if self.parent_bus is not None and self.parent_bus.parent is not None:
            self.parent_bus.parent.reset()


class IdeDisk(IdeDrive):
    """A hard disk."""

    type_name = "ide-hd"
    drive = "disk"


class IdeCdrom(IdeDrive):
    """A CD-ROM drive without a medium."""

    type_name = "ide-cd"
    drive = "cdrom"

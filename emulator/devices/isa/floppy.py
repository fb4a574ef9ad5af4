# SPDX-License-Identifier: Apache-2.0
"""The floppy controller with two drives, no disk in them. QEMU: `hw/block/fdc.c`.

Shows subsections inside an array of structs, and a check: a stream with another number of drives is refused.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.bus import Bus
from migmatrix.emulator.device import Device
from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.isa.rtc import Rtc
from migmatrix.emulator.devices.state import any_set
from migmatrix.emulator.properties import STRING, UINT32, Property
from migmatrix.vmstate.device.description import VMState
from migmatrix.vmstate.device.fields import int32, struct, timer, uint8, uint8_equal, uint32

__all__ = ["VMSTATE_FDC", "FloppyController"]

_DRIVES: Final = 2
_SECTOR_BYTES: Final = 512
_SRA_NO_SECOND_DRIVE, _SRB_ALWAYS = 0x40, 0xC0
_DOR_ENABLED: Final = 0x0C  # not in reset, DMA and interrupt on
_DOR_SELECTED: Final = 0x03
_MSR_READY, _MSR_BUSY, _MSR_TO_HOST, _MSR_NO_DMA = 0x80, 0x10, 0x40, 0x20
_CONFIG_RESET: Final = 0x60  # FIFO off, implied seeks
_PHASE_COMMAND, _PHASE_EXECUTION, _PHASE_RESULT = 1, 2, 3
_PHASE_UNKNOWN: Final = 0
_KIND_288: Final = 5


def _media_changed_needed(drive: Any) -> bool:
    return bool(drive.has_disk and drive.media_changed != 1)


def _derived_phase(fdc: Any) -> int:
    """The phase that a load finds without the subsection."""
    if fdc.msr & _MSR_NO_DMA:
        return _PHASE_EXECUTION
    if not fdc.msr & _MSR_READY:
        return _PHASE_EXECUTION
    if fdc.msr & _MSR_TO_HOST:
        return _PHASE_RESULT
    return _PHASE_COMMAND


def _phase_needed(fdc: Any) -> bool:
    return bool(fdc.phase != _derived_phase(fdc))


def _result_timer_needed(fdc: Any) -> bool:
    return fdc.result_timer is not None


def _before_save(fdc: Any) -> None:
    fdc.dor_vmstate = fdc.dor | fdc.cur_drv


def _before_load(fdc: Any) -> None:
    fdc.phase = _PHASE_UNKNOWN


def _after_load(fdc: Any, _version: int) -> None:
    fdc.cur_drv = fdc.dor_vmstate & _DOR_SELECTED
    fdc.dor = fdc.dor_vmstate & ~_DOR_SELECTED
    if fdc.phase == _PHASE_UNKNOWN:
        fdc.phase = _derived_phase(fdc)


VMSTATE_DRIVE = VMState(
    "fdrive",
    (uint8("head"), uint8("track"), uint8("sect")),
    version_id=1,
    minimum_version_id=1,
    subsections=(
        VMState("fdrive/media_changed", (uint8("media_changed"),), 1, 1, needed=_media_changed_needed),
        # in 5.2 behind a property that only machine types up to 1.0 set; always sent since
        VMState("fdrive/media_rate", (uint8("media_rate"),), 1, 1),
        VMState("fdrive/perpendicular", (uint8("perpendicular"),), 1, 1, needed=any_set("perpendicular")),
    ),
)

_VMSTATE_CONTROLLER = VMState(
    "fdc",
    (
        uint8("sra"),
        uint8("srb"),
        uint8("dor_vmstate"),
        uint8("tdr"),
        uint8("dsr"),
        uint8("msr"),
        uint8("status0"),
        uint8("status1"),
        uint8("status2"),
        uint8("fifo", count=_SECTOR_BYTES),
        uint32("data_pos"),
        uint32("data_len"),
        uint8("data_state"),
        uint8("data_dir"),
        uint8("eot"),
        uint8("timer0"),
        uint8("timer1"),
        uint8("precomp_trk"),
        uint8("config"),
        uint8("lock"),
        uint8("pwrd"),
        uint8_equal("num_floppies"),
        struct("drives", VMSTATE_DRIVE, count=_DRIVES, version=1),
    ),
    version_id=2,
    minimum_version_id=2,
    pre_save=_before_save,
    pre_load=_before_load,
    post_load=_after_load,
    subsections=(
        VMState("fdc/reset_sensei", (int32("reset_sensei"),), 1, 1, needed=any_set("reset_sensei")),
        VMState("fdc/result_timer", (timer("result_timer"),), 1, 1, needed=_result_timer_needed),
        VMState("fdc/phase", (uint8("phase"),), 1, 1, needed=_phase_needed),
    ),
)

VMSTATE_FDC = VMState("fdc", (struct("state", _VMSTATE_CONTROLLER),), 2, 2)


class FloppyController(IsaDevice):
    """The controller; its drives have no disk."""

    type_name = "isa-fdc"
    vmstate = VMSTATE_FDC

    def init(self) -> None:
        """Offer a bus for drives."""
        super().init()
        self.add_bus(Bus("floppy-bus.0", self, kind="floppy-bus", limit=_DRIVES))

    def reset(self) -> None:
        """Enabled, waiting for a command."""
        super().reset()
        fdc = self.state.state
        fdc.sra = _SRA_NO_SECOND_DRIVE
        fdc.srb = _SRB_ALWAYS
        fdc.dor, fdc.cur_drv = _DOR_ENABLED, 0
        fdc.msr = _MSR_READY
        fdc.data_len = 1
        fdc.config = _CONFIG_RESET
        fdc.num_floppies = _DRIVES
        fdc.phase = _PHASE_COMMAND
        drives = [device for device in self.buses[0].devices if isinstance(device, Floppy)]
        for place, drive in enumerate(fdc.drives):
            drive.has_disk = False
            drive.media_changed = 1
            drive.sect = int(place < len(drives))


class Floppy(Device):
    """A floppy drive without a disk; its state is in the controller's section."""

    type_name = "floppy"
    bus = "floppy-bus"
    properties = (Property("unit", UINT32, 0xFFFFFFFF), Property("drive", STRING))

    def realize(self) -> None:
        """Appear at the controller and in the clock's memory."""
        super().realize()
        if self.parent_bus is not None and self.parent_bus.parent is not None:
            self.parent_bus.parent.reset()
        for device in self.machine.walk():
            if isinstance(device, Rtc):
                device.set_floppy(_KIND_288)

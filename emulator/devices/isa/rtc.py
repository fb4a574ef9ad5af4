# SPDX-License-Identifier: Apache-2.0
"""The CMOS clock with its 128 bytes of memory (mc146818). QEMU: `hw/rtc/mc146818rtc.c`.

1. Its time follows the host's clock also while the guest stands (``clock=host``, QEMU's default), so two saves of
   one guest differ in it: `vmstate.view.volatile` lists what. What a stream said is kept as it was.
2. Bytes that the board writes (memory size, drives) are the board's business: `set_cmos`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.devices.state import Timeline, any_set, clear
from migmatrix.emulator.properties import INT32, Property
from migmatrix.vmstate.device.description import Bump, VMState
from migmatrix.vmstate.device.fields import buffer, int64, timer, uint8, uint16, uint32, uint64, unused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["VMSTATE_RTC", "Rtc"]

_SECOND: Final = 1_000_000_000
_DAY: Final = 86_400
_CMOS_BYTES: Final = 128
_REG_A, _REG_B, _REG_D = 0x0A, 0x0B, 0x0D
_CENTURY: Final = 0x32
_RATES: Final = 0x26  # time base 32768 Hz, square wave of 1024 Hz
_MODE_24H: Final = 0x02
_VALID: Final = 0x80  # memory and time are good
_KIB, _MIB, _WORD = 1 << 10, 1 << 20, 0xFFFF
_BASE_KIB: Final = 640
_FLOPPIES, _EQUIPMENT = 0x10, 0x14
_USUAL_EQUIPMENT: Final = 0x06  # a floating point unit and a PS/2 mouse
_FLOPPY_EQUIPMENT: Final = Timeline(0x07, ("10.0", 0x06))  # 10.0.2 and newer no longer count the drive


VMSTATE_RTC = VMState(
    "mc146818rtc",
    (
        buffer("cmos_data", _CMOS_BYTES),
        uint8("cmos_index"),
        unused(7 * 4),
        timer("periodic_timer"),
        int64("next_periodic_time"),
        unused(3 * 8),
        uint32("irq_coalesced", version=2),
        uint32("period", version=2),
        uint64("base_rtc", version=3),
        uint64("last_update", version=3),
        int64("offset", version=3),
        timer("update_timer", version=3),
        uint64("next_alarm_time", version=3),
    ),
    version_id=3,
    minimum_version_id=1,
    # 10.0.13 still reads version 1, 11.1.3 only 3; which release between them stopped was not seen
    bumps=(Bump("11.0", 3, 3),),
    subsections=(
        VMState(
            "mc146818rtc/irq_reinject_on_ack_count", (uint16("irq_reinject_on_ack_count"),), 1, 1,
            needed=any_set("irq_reinject_on_ack_count"),
        ),
    ),
)  # fmt: skip


def _bcd(number: int) -> int:
    return number // 10 << 4 | number % 10


class Rtc(IsaDevice):
    """The clock, on the host's time when it is made, and what the board writes of memory and processors."""

    type_name = "mc146818rtc"
    user_creatable = False
    properties = (Property("base_year", INT32, 1980),)
    vmstate = VMSTATE_RTC

    def init(self) -> None:
        """Set time, modes and the board's bytes."""
        super().init()
        state = self.state
        clear(VMSTATE_RTC, state)
        now = time.time_ns()
        state.cmos_data = bytearray(_CMOS_BYTES)
        self.set_cmos(_time_registers(now // _SECOND))
        self.set_cmos({_REG_A: _RATES, _REG_B: _MODE_24H, _REG_D: _VALID})
        self.set_cmos(_board_bytes(self.machine.memory_bytes, self.machine.smp.cpus))
        state.base_rtc = now // _SECOND
        state.last_update = now
        state.update_timer = now + _SECOND
        state.next_alarm_time = now - now % (_DAY * _SECOND) + _DAY * _SECOND

    def reset(self) -> None:
        """The battery keeps everything."""

    def set_cmos(self, values: Mapping[int, int]) -> None:
        """Write bytes of the memory by index."""
        for index, value in values.items():
            self.state.cmos_data[index] = value

    def set_floppy(self, kind: int) -> None:
        """A first floppy drive of this kind (5: 2.88 MB)."""
        self.set_cmos({_FLOPPIES: kind << 4, _EQUIPMENT: _FLOPPY_EQUIPMENT.at(self.machine.release.name)})


def _board_bytes(memory: int, processors: int) -> dict[int, int]:
    """What a PC board writes: sizes of memory, equipment, boot order (disk, CD-ROM, floppy)."""
    extended = min(max(memory // _KIB - 1024, 0), _WORD)
    above_16m = min(max(memory - 16 * _MIB, 0) // (64 * _KIB), _WORD)
    words = {0x15: _BASE_KIB, 0x17: extended, 0x30: extended, 0x34: above_16m}
    split = {at + half: word >> 8 * half & 0xFF for at, word in words.items() for half in (0, 1)}
    return {**split, _EQUIPMENT: _USUAL_EQUIPMENT, 0x38: 0x30, 0x3D: 0x12, 0x5F: processors - 1}


def _time_registers(seconds: int) -> dict[int, int]:
    """Registers of a UTC time in BCD: seconds, minutes, hours, weekday, day, month, year, century."""
    utc = time.gmtime(seconds)
    weekday = (utc.tm_wday + 1) % 7 + 1  # Sunday is 1
    return {
        0: _bcd(utc.tm_sec), 2: _bcd(utc.tm_min), 4: _bcd(utc.tm_hour), 6: weekday, 7: _bcd(utc.tm_mday),
        8: _bcd(utc.tm_mon), 9: _bcd(utc.tm_year % 100), _CENTURY: _bcd(utc.tm_year // 100),
    }  # fmt: skip

# SPDX-License-Identifier: Apache-2.0
"""The serial port (16550A). QEMU: `hw/char/serial.c`, `hw/char/serial-isa.c`.

Subsections appear when a guest uses the port; a receive buffer, say, is only sent while it holds something.
"""

from __future__ import annotations

from typing import Any, Final

from migmatrix.emulator.devices.isa.base import IsaDevice
from migmatrix.emulator.properties import STRING, UINT32, Property
from migmatrix.vmstate.device.description import HookError, VMState
from migmatrix.vmstate.device.fields import buffer, int32, struct, timer, uint8, uint16, uint32

__all__ = ["VMSTATE_SERIAL", "Serial"]

_FIFO_BYTES: Final = 16
_MAX_RETRY: Final = 4
_IER_TRANSMIT: Final = 0x02
_IIR_NONE, _IIR_THR, _IIR_ID = 0x01, 0x02, 0x06
_MCR_OUT2: Final = 0x08
_LSR_THR_EMPTY, _LSR_IDLE = 0x20, 0x40
_MSR_ALL_ON: Final = 0xB0  # carrier, data set ready, clear to send
_RESET_DIVIDER: Final = 12  # 9600 baud

VMSTATE_FIFO8 = VMState(
    "Fifo8", (buffer("data", _FIFO_BYTES, version=1), uint32("head"), uint32("num")), 1, 1
)


def _thr_ipending_needed(state: Any) -> bool:
    """Needed while it is not what a load without it derives."""
    if not state.ier & _IER_TRANSMIT:
        return False  # the load does not look at it
    return bool(state.thr_ipending != ((state.iir & _IIR_ID) == _IIR_THR))


def _tsr_needed(state: Any) -> bool:
    return bool(state.tsr_retry)


def _receiving_needed(state: Any) -> bool:
    return bool(state.recv_fifo.num)


def _sending_needed(state: Any) -> bool:
    return bool(state.xmit_fifo.num)


def _timer_needed(state: Any) -> bool:
    return state.fifo_timeout_timer is not None


def _timeout_needed(state: Any) -> bool:
    return bool(state.timeout_ipending)


def _poll_needed(state: Any) -> bool:
    return bool(state.poll_msl >= 0)


def _before_save(state: Any) -> None:
    state.fcr_vmstate = state.fcr


def _before_load(state: Any) -> None:
    state.thr_ipending = -1
    state.poll_msl = -1
    state.tsr_retry = 0


def _after_load(state: Any, version: int) -> None:
    if version < 3:  # noqa: PLR2004 - the first version with the FIFO's register
        state.fcr_vmstate = 0
    if state.thr_ipending == -1:
        state.thr_ipending = int((state.iir & _IIR_ID) == _IIR_THR)
    _check_transmitter(state)
    state.fcr = state.fcr_vmstate


def _check_transmitter(state: Any) -> None:
    """A byte waits to be sent again exactly while the transmitter is not empty."""
    waits = state.tsr_retry > 0
    if waits == bool(state.lsr & _LSR_IDLE):
        found = f"tsr empty, tsr_retry={state.tsr_retry}" if waits else "tsr not empty, tsr_retry=0"
        raise HookError(f"inconsistent state in serial device ({found}")
    state.tsr_retry = min(state.tsr_retry, _MAX_RETRY)


def _one(name: str, field: Any, needed: Any, **more: Any) -> VMState:
    fields = field if isinstance(field, tuple) else (field,)
    return VMState(f"serial/{name}", fields, 1, 1, needed=needed, **more)


VMSTATE_SERIAL = VMState(
    "serial",
    (
        uint16("divider", version=2),
        uint8("rbr"),
        uint8("ier"),
        uint8("iir"),
        uint8("lcr"),
        uint8("mcr"),
        uint8("lsr"),
        uint8("msr"),
        uint8("scr"),
        uint8("fcr_vmstate", version=3),
    ),
    version_id=3,
    minimum_version_id=2,
    pre_save=_before_save,
    pre_load=_before_load,
    post_load=_after_load,
    subsections=(
        _one("thr_ipending", int32("thr_ipending"), _thr_ipending_needed),
        _one("tsr", (uint32("tsr_retry"), uint8("thr"), uint8("tsr")), _tsr_needed),
        _one("recv_fifo", struct("recv_fifo", VMSTATE_FIFO8, version=1), _receiving_needed),
        _one("xmit_fifo", struct("xmit_fifo", VMSTATE_FIFO8, version=1), _sending_needed),
        _one("fifo_timeout_timer", timer("fifo_timeout_timer"), _timer_needed),
        _one("timeout_ipending", int32("timeout_ipending"), _timeout_needed),
        _one("poll", (int32("poll_msl"), timer("modem_status_poll")), _poll_needed),
    ),
)

VMSTATE_SERIAL_ISA = VMState("serial", (struct("state", VMSTATE_SERIAL),), 3, 2)


class Serial(IsaDevice):
    """A serial port with nothing at its other end."""

    type_name = "isa-serial"
    properties = (
        Property("index", UINT32, 2**32 - 1),
        Property("iobase", UINT32, 2**32 - 1),
        Property("irq", UINT32, 2**32 - 1),
        Property("chardev", STRING),
    )
    vmstate = VMSTATE_SERIAL_ISA

    def reset(self) -> None:
        """9600 baud, ready to send, the other end present."""
        super().reset()
        uart = self.state.state
        uart.divider = _RESET_DIVIDER
        uart.iir = _IIR_NONE
        uart.mcr = _MCR_OUT2
        uart.lsr = _LSR_THR_EMPTY | _LSR_IDLE
        uart.msr = _MSR_ALL_ON
        uart.fcr = 0
        uart.poll_msl = -1

# SPDX-License-Identifier: Apache-2.0
"""Standard VGA registers, which every VGA card sends first. QEMU: `hw/display/vga.c`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from migmatrix.vmstate.device.fields import buffer, int32, uint8, uint32

if TYPE_CHECKING:
    from migmatrix.vmstate.device.description import Field

__all__ = ["vga_registers"]

_FILE: Final = 256  # bytes of a register file; most are never used
_ATTRIBUTES: Final = 21
_PALETTE: Final = 768


def vga_registers(
    prefix: str = "", *, after_gr_index: tuple[Field, ...] = (), gr_start: int = 0
) -> tuple[Field, ...]:
    """Fields of the registers; `prefix` is ``vga.`` for a card that has them in a struct of that name.

    A card may send fields of its own `after_gr_index`, and with them the first `gr_start` graphics registers.
    """
    return (
        uint32(f"{prefix}latch"),
        uint8(f"{prefix}sr_index"),
        buffer(f"{prefix}sr", _FILE),
        uint8(f"{prefix}gr_index"),
        *after_gr_index,
        buffer(f"{prefix}gr", _FILE - gr_start, start=gr_start),
        uint8(f"{prefix}ar_index"),
        buffer(f"{prefix}ar", _ATTRIBUTES),
        int32(f"{prefix}ar_flip_flop"),
        uint8(f"{prefix}cr_index"),
        buffer(f"{prefix}cr", _FILE),
        uint8(f"{prefix}msr"),
        uint8(f"{prefix}fcr"),
        uint8(f"{prefix}st00"),
        uint8(f"{prefix}st01"),
        uint8(f"{prefix}dac_state"),
        uint8(f"{prefix}dac_sub_index"),
        uint8(f"{prefix}dac_read_index"),
        uint8(f"{prefix}dac_write_index"),
        buffer(f"{prefix}dac_cache", 3),
        buffer(f"{prefix}palette", _PALETTE),
        int32(f"{prefix}bank_offset"),
    )

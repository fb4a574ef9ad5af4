# SPDX-License-Identifier: Apache-2.0
"""A guest in place of the firmware that writes to memory without a pause, and says on the debug port that it goes on.

How many pages the machine's own firmware changes depends on the host's load, and a migration ends when they are few.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BUSY_PAGES", "busy_rom"]

# From 64 KiB on; a byte of every 16 is changed, so that an XBZRLE page is some 700 bytes. A source sends some 16 pages at
# one go and then waits a tenth of a second, in which the guest of a busy host may not run: next to nothing must not be left.
BUSY_PAGES: Final = 128
_SIZE: Final = 64 << 10
_RESET: Final = 0xFFF0
_CODE: Final = (
    "b11f"  # 0: mov cl, 31, so that memory is another one each time that the port is written to, which takes long
    "b80010"  # 2: mov ax, 0x1000
    "8ed8"  # 5: mov ds, ax
    "31db"  # xor bx, bx
    "fe07"  # 9: inc byte [bx]
    "83c310"  # add bx, 16
    "73f9"  # jnc 9
    "050010"  # add ax, 0x1000
    "3d0090"  # cmp ax, 0x9000
    "72ed"  # jb 5
    "0f20c0"  # mov eax, cr0
    "663500000100"  # xor eax, 0x10000: write protection, of which all that it does here is to flush the TLB, without
    "0f22c0"  # mov cr0, eax: which QEMU 5.2 does not see that a page is written to again
    "fec9"  # dec cl
    "75da"  # jnz 2
    "ba0204"  # mov dx, 0x402
    "b02e"  # mov al, '.'
    "ee"  # out dx, al
    "ebd0"  # jmp 0
)


def busy_rom() -> bytes:
    """A ROM for `-bios`: real mode, entered at the reset vector."""
    rom = bytearray(bytes.fromhex(_CODE).ljust(_SIZE, b"\xf4"))
    rom[_RESET : _RESET + 3] = b"\xe9" + (_SIZE - _RESET - 3).to_bytes(2, "little")  # jmp 0
    return bytes(rom)

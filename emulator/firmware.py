# SPDX-License-Identifier: Apache-2.0
"""What ROM blocks hold: a file of the user's (`-bios`, `romfile=`), or a few bytes of our own that do nothing.

1. Firmware is memory: a migration brings the source's, and a reset leaves it. Only a new process reads a file again.
2. A side that waits for a stream does not load a BIOS, as QEMU does not; option ROMs are there at once.
3. A file of a distribution's need not be on this host. Its name stands for its size, with our own bytes in it.

QEMU: `x86_bios_rom_init`, `rom_reset`, `pci_add_option_rom`. Sizes and words as 5.2 to 11.1 have them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from migmatrix.emulator.errors import FatalError

if TYPE_CHECKING:
    from migmatrix.emulator.machine import Machine
    from migmatrix.emulator.memory import RamBlock

__all__ = ["bios_size", "fill_bios", "fill_option_rom"]

_UNIT: Final = 65536  # a BIOS has so many bytes, or a multiple
_PACKAGED: Final = {"bios.bin": 131072, "bios-256k.bin": 262144}
_SECTOR: Final = 512
# at the reset vector, 16 bytes before the end: cli, hlt, and back; a name; the last byte makes the sum 0
_RESET: Final = b"\xfa\xf4\xeb\xfc" + b"migmatrix".ljust(11)
# signature, length in sectors, and as its first instruction a return
_OPTION: Final = b"\x55\xaa\x01\xcb" + b"migmatrix"


def _summed(data: bytes) -> bytes:
    """With one more byte, so that all add up to a multiple of 256, as those of a ROM do."""
    return data + bytes((-sum(data) & 0xFF,))


def _given(machine: Machine) -> str | None:
    """The file that the user named; None when nothing was said."""
    return machine.props.firmware if machine.props is not None else None


def bios_size(machine: Machine, usual: int) -> int:
    """Bytes of the board's BIOS, `usual` when the user named none; FatalError in QEMU's words."""
    given = _given(machine)
    if given is None:
        return usual
    size = _file_size(given)
    if size <= 0 or size % _UNIT:
        raise FatalError(f"could not load PC BIOS '{given}'", program="qemu")
    return size


def _file_size(path: str) -> int:
    if os.path.isfile(path):  # noqa: PTH113 - pathlib is not for the start
        return os.path.getsize(path)  # noqa: PTH202 - as above
    return _PACKAGED.get(path.rpartition("/")[2], 0)


def fill_bios(machine: Machine, block: RamBlock) -> None:
    """Put the BIOS into its block."""
    if machine.options.incoming is not None:
        return
    given = _given(machine)
    if given is not None and os.path.isfile(given):  # noqa: PTH113 - as above
        _read(given, block)
    elif block.used_length >= len(_RESET):
        block.store(block.used_length - len(_RESET) - 1, _summed(_RESET))


def fill_option_rom(block: RamBlock, path: str) -> None:
    """Put an option ROM into its block: that of `path`, or ours for a packaged one (`path` is "")."""
    if path:
        _read(path, block)
    else:
        block.store(0, _summed(_OPTION.ljust(_SECTOR - 1, b"\0")))


def _read(path: str, block: RamBlock) -> None:
    """The rest of the block stays zero."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - as above
            block.store(0, file.read(block.used_length))
    except OSError as err:
        raise FatalError(f"could not read '{path}': {err.strerror}") from err

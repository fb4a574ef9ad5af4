# SPDX-License-Identifier: Apache-2.0
"""Guest memory in a file.

The emulator has blocks and no map of physical addresses. What lies below `_LOW` is the main block on every board, but for
the windows of video memory and ROMs below 1 MiB, of which it saves the memory beneath.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from migmatrix.emulator.qmp.table import Arguments, Call, command
from migmatrix.emulator.qmp.types import INT, STR, Member, generic

if TYPE_CHECKING:
    from migmatrix.emulator.memory import RamBlock

__all__: list[str] = []

_LOW: Final = 2 << 30
_AT_ONCE: Final = 1 << 20


@command("pmemsave", Member("val", INT), Member("size", INT), Member("filename", STR))
def pmemsave(call: Call, arguments: Arguments) -> Any:
    """Save `size` bytes from the physical address `val` on; waits for pages that are missing."""
    start, size, name = arguments["val"], arguments["size"], arguments["filename"]
    block = call.machine.main_ram
    most = min(block.used_length, _LOW) if block else 0
    if not 0 <= start <= start + size <= most:
        raise generic(f"the emulator saves memory from address 0 to {most:#x} only")
    try:
        _save(block, start, start + size, Path(name))
    except OSError as error:
        raise generic(f"Could not open '{name}': {error.strerror}") from error
    return {}


def _save(block: RamBlock | None, start: int, end: int, path: Path) -> None:
    with path.open("wb") as file:
        while block and start < end:
            start += file.write(block.read(start, min(_AT_ONCE, end - start)))

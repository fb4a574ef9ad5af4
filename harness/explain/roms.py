# SPDX-License-Identifier: Apache-2.0
"""Option ROMs of another size: which file each side loads, and which way out there is. Pure.

QEMU names a card's ROM block ``ADDRESS/TYPE.rom``, and its message the size that comes in before its own
(`qemu_ram_resize`). `romsize` gives a smaller file more room, never a larger file less.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.model import Cause
    from migmatrix.harness.trials.qom import MachineView, Object

__all__ = ["is_rom", "rom_note"]

_SIZES = re.compile(r"0x(?P<sent>[0-9a-f]+) (?:!=|>) 0x(?P<own>[0-9a-f]+)")


def is_rom(cause: Cause) -> bool:
    """Whether a ROM of another size was refused."""
    return cause.kind == "ram-size" and cause.device.endswith(".rom") and bool(_SIZES.search(cause.message))


def rom_note(views: tuple[MachineView, MachineView], route: Sequence[str], cause: Cause) -> str:
    """What to know of a refused ROM, as one sentence; empty for any other failure."""
    sizes = _SIZES.search(cause.message)
    if not is_rom(cause) or sizes is None:
        return ""
    type_ = cause.device.rpartition("/")[2].removesuffix(".rom")
    sent, own = (int(sizes[name], 16) for name in ("sent", "own"))
    source, destination = (view.find(type_, 0) for view in views)
    first, last = route[0], route[-1]
    found = (
        f"{first} loads {_file(source)} into {sent:,} bytes, {last} {_file(destination)} into {own:,} bytes"
    )
    if destination is not None and "romsize" in destination.settable and sent > own:
        return f"{type_}: {found}; romsize={sent} makes room for it on {last}"
    if destination is None and sent > own:  # its properties could not be read
        return f"{type_}: {found}; romsize={sent} on {last}, if it has that, else the file that {first} has"
    return f"{type_}: {found}; give {last} the file that {first} has, by romfile="


def _file(card: Object | None) -> str:
    name = card.values.get("romfile") if card is not None else None
    return repr(name) if name else "a ROM"

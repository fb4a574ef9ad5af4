# SPDX-License-Identifier: Apache-2.0
"""Migration: moves a machine's state. Start with `Migration` in `control`.

`outgoing` and `incoming` are the two threads; `savestate` and `loadstate` write and read a stream; `ram_save` and
`ram_load` move memory; `handlers` defines iterative devices; `transports` opens channels; `messages` has the texts of
refusals; `states` is the table of statuses, `traits` that of differences between releases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from migmatrix.emulator.migration.control import Migration

__all__ = ["Migration"]


def __getattr__(name: str) -> Any:
    """Load `Migration` when it is first asked for: a machine that starts only registers its sections."""
    if name != "Migration":
        raise AttributeError(name)
    from migmatrix.emulator.migration.control import Migration  # noqa: PLC0415 - see above

    return Migration

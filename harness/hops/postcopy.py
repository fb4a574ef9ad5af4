# SPDX-License-Identifier: Apache-2.0
"""When a source is asked for postcopy: at once, or after so many passes of precopy.

Precopy must not end before. Asked for at once, it is held to a trickle, and its first pass never ends. Of a guest that
writes while it migrates any number of passes can be waited for: it is too fast for a link that is slow enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import InfrastructureError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.model import Mode

__all__ = ["go_postcopy", "hold_back", "limit"]

# Bytes per second; postcopy has a limit of its own, which is off.
_TRICKLE: Final[Mapping[str, Any]] = {"max-bandwidth": 4096}
# Over its first pass. A source stops its guest only when next to nothing is left to send (milliseconds) ...
_SLOW: Final[Mapping[str, Any]] = {"downtime-limit": 1, "max-bandwidth": 512 << 10}
# ... and from then on sends fewer pages in a tenth of a second than firmware writes in it.
_SLOWER: Final[Mapping[str, Any]] = {"max-bandwidth": 64 << 10}
# A link that is to break must not carry all of memory before, be the host ever so busy: bytes per second, and milliseconds,
# in which a source otherwise sends what is left at one go. Memory of zeros is some bytes for each page.
_BREAKABLE: Final[Mapping[str, Any]] = {"max-postcopy-bandwidth": 4096, "downtime-limit": 1}


async def hold_back(source: Emulator, mode: Mode) -> None:
    """Keep precopy from finishing before it is time; what the mode itself sets stays."""
    await limit(
        source, mode, {**(_BREAKABLE if mode.cut_within else {}), **(_SLOW if mode.passes else _TRICKLE)}
    )


async def go_postcopy(source: Emulator, mode: Mode) -> None:
    """Ask for postcopy when it is time; a migration that was faster is nobody's fault but ours."""
    if mode.passes > 1:
        await source.passes(1)
        await limit(source, mode, _SLOWER)
    if mode.passes:
        await source.passes(mode.passes)
    await source.qmp.execute("migrate-start-postcopy")
    if await source.migration_status("postcopy-active") != "postcopy-active":
        raise InfrastructureError("the migration ended before postcopy could begin")


async def limit(source: Emulator, mode: Mode, limits: Mapping[str, Any]) -> None:
    """Set parameters of the source, but those that the mode itself sets."""
    own = mode.side(source.role).parameters
    told = {name: value for name, value in limits.items() if name not in own}
    await source.qmp.execute("migrate-set-parameters", told)

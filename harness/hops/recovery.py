# SPDX-License-Identifier: Apache-2.0
"""Breaks the link of a migration in its postcopy phase, and has both sides go on over a new one.

1. The moment is a number of bytes from the source to the destination, counted from when both sides are in that phase and
   the destination has loaded its devices: before, no version can recover, and the guest is lost. It is drawn by the
   mode's seed and the leg's key, so that it is the same whenever the leg is done again.
2. Both sides must say that they are paused before either is told to go on: the destination to wait at a new socket
   (out of band: its main thread may wait for memory), then the source to resume there.
3. What a side does in between is evidence, and judged like any migration.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from migmatrix.harness.errors import InfrastructureError
from migmatrix.harness.hops.postcopy import limit
from migmatrix.harness.hops.sides import both

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.hops.emulator import Emulator
    from migmatrix.harness.hops.transports import Link
    from migmatrix.harness.model import Mode

__all__ = ["CUT", "cut_and_recover", "moment"]

# The fact of a leg whose link was cut: after how many bytes.
CUT = "cut"
_ACTIVE: Final = "postcopy-active"
_PAUSED: Final = "postcopy-paused"
# Bytes per second up to the byte at which it breaks.
_FLOW: Final[Mapping[str, Any]] = {"max-postcopy-bandwidth": 64 << 10}


def moment(mode: Mode, key: str) -> int:
    """After how many bytes to cut the link of the leg of this key."""
    return random.Random(f"{mode.cut_seed} {key}").randrange(mode.cut_within)  # noqa: S311 - no secret


async def cut_and_recover(
    link: Link, mode: Mode, source: Emulator, destination: Emulator, count: int, deadline: float
) -> None:
    """Cut the link after `count` bytes of postcopy, and recover; Problem when a side does not get that far."""
    sides = source, destination
    await both(*(side.race(_reach(side, _ACTIVE), deadline) for side in sides))
    # Its main thread answers when it is through with the package of devices.
    await destination.race(destination.qmp.execute("query-status"), deadline)
    link.break_after(count)
    await source.race(limit(source, mode, _FLOW), deadline)
    await both(*(side.race(_reach(side, _PAUSED), deadline) for side in sides))
    await source.race(_let_go(source), deadline)
    await destination.race(link.listen_again(destination), deadline)
    await source.race(link.send_again(source), deadline)


async def _reach(side: Emulator, status: str) -> None:
    if await side.migration_status(status) != status:
        raise InfrastructureError(
            f"the migration ended before its link was cut (no {status}): let `within` be less"
        )


async def _let_go(source: Emulator) -> None:
    """What is left may go as fast as it can."""
    await source.qmp.execute("migrate-set-parameters", {"max-postcopy-bandwidth": 0})

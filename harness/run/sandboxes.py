# SPDX-License-Identifier: Apache-2.0
"""Which sandboxes a leg needs, known before it runs, so that they can be opened at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.engines.base import Needs, Role
from migmatrix.harness.hops.transports import needs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.plan import Leg

__all__ = ["sandboxes"]


def sandboxes(leg: Leg) -> Iterator[tuple[str, Role, Needs]]:
    """The sandboxes in which a leg's emulators run: build id, role, needs."""
    needs = needs_of(leg.mode) if leg.mode.live else Needs()
    if leg.source is not None:
        yield leg.source, Role.SOURCE, needs
    loads = leg.incoming is not None or leg.source is not None
    yield leg.build, Role.DESTINATION if loads else Role.SOURCE, needs

# SPDX-License-Identifier: Apache-2.0
"""Whose emulators those of some evidence are, in the words of the cell that rests on it.

A leg's key holds what a build is and not how a matrix calls it, so evidence that a store kept bears the names of the
run that made it. The place of an emulator in a path tells the name in this one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from migmatrix.harness.model import LegEvidence

__all__ = ["named_by"]


def named_by(builds: Sequence[str], leg: LegEvidence) -> LegEvidence:
    """A leg whose emulators, in the order of their start, bear the names of `builds`."""
    emulators = tuple(
        emulator if emulator.build == name else replace(emulator, build=name)
        for emulator, name in zip(leg.emulators, builds, strict=False)
    )
    again = named_by(builds, leg.again) if leg.again else None
    return replace(leg, emulators=(*emulators, *leg.emulators[len(emulators) :]), again=again)

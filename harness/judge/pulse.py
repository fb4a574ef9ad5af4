# SPDX-License-Identifier: Apache-2.0
"""The judgement of what `pulse` said on the emulators of a leg; pure.

1. A machine that does not work (`guest-broken`) comes before one that looks different (`abi-changed`): a check that
   failed, a program that stopped or began anew, output with wrong sums.
2. Only the emulator that loaded the guest can have changed what it sees; what changes by itself is not counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from migmatrix.harness.model import Cause, Stage
from migmatrix.harness.pulse.changes import registers
from migmatrix.harness.pulse.heard import PULSE, changes_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from migmatrix.harness.model import LegEvidence

__all__ = ["guest_cause"]


def guest_cause(evidence: LegEvidence) -> tuple[Cause, str] | None:
    """Why a leg whose stages all went well fails nevertheless, and the build on which; None when nothing is wrong."""
    said: list[Mapping[str, Any]] = evidence.facts.get(PULSE, [])
    sides = list(zip(evidence.emulators, said, strict=False))
    for emulator, facts in sides:
        if cause := _broken(facts, arrived=_arrived(evidence) and emulator is sides[-1][0]):
            return cause, emulator.build
    if sides and _arrived(evidence) and (cause := _changed(sides[-1][1])):
        return cause, sides[-1][0].build
    return None


def _arrived(evidence: LegEvidence) -> bool:
    """Whether the last emulator loaded the guest."""
    return any(stage.stage in (Stage.LOAD, Stage.MIGRATE) for stage in evidence.stages)


def _broken(facts: Mapping[str, Any], *, arrived: bool) -> Cause | None:
    for line in facts.get("said", []):
        match line:
            case ["panic", why, value]:
                return Cause("guest-broken", field=why, message=f"pulse stopped: {why} ({value})")
            case ["bad", name, expected, found]:
                words = f"{name.replace('-', ' ')}: expected {expected}, found {found}"
                return Cause("guest-broken", field=name, message=words)
    if arrived and facts.get("starts"):
        return Cause("guest-broken", field="start", message="pulse began anew after the hop")
    if facts.get("damaged"):
        return Cause("guest-broken", field="console", message=f"{facts['damaged']} lines with a wrong sum")
    return None


def _changed(facts: Mapping[str, Any]) -> Cause | None:
    found = registers(changes_of(facts.get("said", [])))
    if not found:
        return None
    first = found[0]
    name = " ".join(filter(None, (first.device, first.name)))
    more = f", and {len(found) - 1} more" if found[1:] else ""
    words = f"{name} was {first.old or 'not there'}, is {first.new or 'gone'}{more}"
    return Cause("abi-changed", first.device, first.name, words)

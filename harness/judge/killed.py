# SPDX-License-Identifier: Apache-2.0
"""Whom somebody outside killed, and how far the migration was then: the words behind the cause `killed`.

What a side said last is looked up in its course. That says what can be had of the guest: see "Killed sides" in
`docs/live-modes.md`. It is no verdict: an emulator that somebody killed is the host's, at every moment.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.judge.classify import from_outside, signal_name
from migmatrix.harness.judge.courses import course_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from migmatrix.harness.model import EmulatorEvidence, LegEvidence

__all__ = ["killed_sides"]


def killed_sides(evidence: LegEvidence) -> str:
    """Each side that was killed, with its build, the signal, and the status that it told last."""
    return ", ".join(_told(emulator) for emulator in _killed(evidence))


def _killed(evidence: LegEvidence) -> Iterator[EmulatorEvidence]:
    return (e for e in evidence.emulators if e.exit is not None and from_outside(e.exit))


def _told(emulator: EmulatorEvidence) -> str:
    status = _status(emulator)
    when = f"while {status!r}" if status else "before its migration"
    return f"{emulator.role} {emulator.build!r} by {signal_name(-(emulator.exit or 0))} {when}"


def _status(emulator: EmulatorEvidence) -> str:
    """The last status of its last migration in this role, "" before the first."""
    courses = [words for role, words in course_of(emulator) if role.value == emulator.role]
    return next((word for word in reversed(courses[-1]) if word.islower()), "") if courses else ""

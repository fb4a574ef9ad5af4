# SPDX-License-Identifier: Apache-2.0
"""Who was killed, by what and how far the migration was, from evidence alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from judge_evidence import emulator, leg

from migmatrix.harness.judge import judge_leg
from migmatrix.harness.model import EmulatorEvidence, QmpMessage, Stage, Verdict

LIVE = (Stage.START, Stage.MIGRATE)
OUTSIDE = "ended by SIGKILL from outside (an operator, or the kernel for memory)"
COMMANDS = {"source": "migrate", "destination": "migrate-incoming"}


def side(role: str, build: str, exit_status: int | None, *statuses: str) -> EmulatorEvidence:
    """A side that told these statuses of its migration, and ended so."""
    made = emulator("", exit_status=exit_status, role=role, build=build)
    events = [QmpMessage(0.2, "<", {"event": "MIGRATION", "data": {"status": status}}) for status in statuses]
    began = [QmpMessage(0.1, ">", {"execute": COMMANDS[role], "arguments": {}})] if statuses else []
    return replace(made, qmp=(*began, *events))


@pytest.mark.parametrize(
    ("sides", "told"),
    [
        (
            (side("source", "a", -9, "setup", "active"), side("destination", "b", 1, "setup", "active")),
            "source 'a' by SIGKILL while 'active'",
        ),
        (
            (
                side("source", "a", None, "setup", "active", "postcopy-active", "postcopy-paused"),
                side("destination", "b", -9, "setup", "active", "postcopy-active"),
            ),
            "destination 'b' by SIGKILL while 'postcopy-active'",
        ),
        (
            (side("source", "a", -9, "setup", "postcopy-active"), side("destination", "b", -9)),
            "source 'a' by SIGKILL while 'postcopy-active', destination 'b' by SIGKILL before its migration",
        ),
    ],
    ids=["source", "destination", "both"],
)
def test_each_side_that_was_killed_is_told_with_its_status(
    sides: tuple[EmulatorEvidence, EmulatorEvidence], told: str
) -> None:
    judged = judge_leg(leg(*sides, names=LIVE, problem="exited"))
    assert judged.cause is not None
    assert (judged.verdict, judged.stage, judged.cause.kind) == (Verdict.ERROR, Stage.MIGRATE, "killed")
    assert judged.cause.message == f"{OUTSIDE} in migrate: {told}"

# SPDX-License-Identifier: Apache-2.0
"""Builders of evidence for the tests of the judge; real records, nothing replaced."""

from __future__ import annotations

from typing import TYPE_CHECKING

from migmatrix.harness.model import EmulatorEvidence, LegEvidence, Stage, StageEvidence, StreamInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

SECONDS = 0.25
STREAM = StreamInfo("0" * 64, 1000)
NORMAL = (Stage.START, Stage.LOAD, Stage.CHECK)
FIRST = (Stage.START, Stage.SAVE)


def emulator(
    stderr: str = "",
    *,
    exit_status: int | None = None,
    role: str = "destination",
    build: str = "b",
    version: str = "10.0.13",
) -> EmulatorEvidence:
    return EmulatorEvidence(role, build, version, ("qemu-system-x86_64",), stderr, exit_status)


def stages(
    names: Sequence[Stage], problem: str = "", detail: str = "", role: str = ""
) -> tuple[StageEvidence, ...]:
    """All went well but the last one, which has the problem if there is one."""
    good = [StageEvidence(name, SECONDS) for name in names[:-1]]
    return (*good, StageEvidence(names[-1], SECONDS, problem, detail, role))


def leg(
    *emulators: EmulatorEvidence,
    names: Sequence[Stage] = NORMAL,
    problem: str = "",
    detail: str = "",
    role: str = "",
    key: str = "k",
    infrastructure: str = "",
    free_bytes: int | None = None,
) -> LegEvidence:
    return LegEvidence(
        key,
        stages(names, problem, detail, role),
        emulators or (emulator(),),
        None if problem or infrastructure else STREAM,
        infrastructure,
        free_bytes,
    )

# SPDX-License-Identifier: Apache-2.0
"""The verdict on what `pulse` said: broken before changed, and changes only of who loaded it."""

from __future__ import annotations

from typing import Any

import pytest

from migmatrix.harness.judge.leg import judge_leg
from migmatrix.harness.model import EmulatorEvidence, LegEvidence, Stage, StageEvidence, Verdict

CHANGED = ["was", "pci", "00:02.0", "0000", "0100"]
WELL = {"beats": 3, "last": 9, "rounds": 2}
SNAPSHOT = (Stage.START, Stage.LOAD, Stage.CHECK)
FIRST = (Stage.START, Stage.RUN, Stage.SAVE)
LIVE = (Stage.START, Stage.RUN, Stage.MIGRATE, Stage.CHECK)


def judged(stages: tuple[Stage, ...], *said: dict[str, Any]) -> tuple[str, ...]:
    emulators = tuple(EmulatorEvidence("", f"b{n}", "10.0.2", ()) for n in range(len(said)))
    evidence = LegEvidence(
        "k", tuple(StageEvidence(s, 0.1) for s in stages), emulators, facts={"pulse": list(said)}
    )
    found = judge_leg(evidence)
    if found.cause is None:
        assert found.verdict is Verdict.PASS
        return ()
    assert found.verdict is Verdict.FAIL
    cause = found.cause
    return str(found.stage), found.build, cause.kind, cause.device, cause.field, cause.message


@pytest.mark.parametrize(
    ("stages", "said", "wanted"),
    [
        (SNAPSHOT, [WELL], ()),
        (
            SNAPSHOT,
            [{**WELL, "said": [CHANGED, ["was", "smram", "30000", "00", "01"]]}],
            ("check", "b0", "abi-changed", "pci 00:02.0", "0x0", "pci 00:02.0 0x0 was 00, is 01, and 1 more"),
        ),
        (FIRST, [{**WELL, "said": [CHANGED], "starts": 1}], ()),  # nobody loaded it
        (LIVE, [{**WELL, "said": [CHANGED], "starts": 1}, WELL], ()),  # told before the hop
        (
            LIVE,
            [WELL, {**WELL, "said": [["gone", "acpi", "HPET.0", "00"]]}],
            ("check", "b1", "abi-changed", "acpi HPET.0", "", "acpi HPET.0 was 00, is gone"),
        ),
        (
            SNAPSHOT,
            [{**WELL, "said": [CHANGED, ["bad", "tsc-backwards", "20", "1f"]]}],
            ("check", "b0", "guest-broken", "", "tsc-backwards", "tsc backwards: expected 20, found 1f"),
        ),
        (
            FIRST,
            [{**WELL, "said": [["panic", "exception", "6000000"]]}],
            ("run", "b0", "guest-broken", "", "exception", "pulse stopped: exception (6000000)"),
        ),
        (
            SNAPSHOT,
            [{**WELL, "starts": 1}],
            ("check", "b0", "guest-broken", "", "start", "pulse began anew after the hop"),
        ),
        (
            SNAPSHOT,
            [{**WELL, "damaged": 2}],
            ("check", "b0", "guest-broken", "", "console", "2 lines with a wrong sum"),
        ),
    ],
)
def test_verdicts(stages: tuple[Stage, ...], said: list[dict[str, Any]], wanted: tuple[str, ...]) -> None:
    assert judged(stages, *said) == wanted


def test_one_that_was_never_heard_is_no_failure_of_an_emulator() -> None:
    stage = StageEvidence(Stage.RUN, 60.0, "absent", "pulse was not heard", "source", 60.0)
    evidence = LegEvidence("k", (stage,), (EmulatorEvidence("source", "b0", "10.0.2", ()),))
    found = judge_leg(evidence)
    assert (found.verdict, found.cause and found.cause.kind) == (Verdict.ERROR, "guest-absent")
